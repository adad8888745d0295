"""Validation by JSON schema draft 4, with the texts of import-api.md 10.

The texts are those of the Java library everit-org/json-schema 1.5: its failure tree, its order,
its words. `loading` makes nodes of a schema (`values`, `containers`, `combined`); a node explains
what is wrong with a value. `conformity` asks a fast validator first, so that nodes see only what
that one doubts.
"""
