"""Validation by JSON schema draft 4, with the texts of import-api.md 10.

The texts are those of the Java library everit-org/json-schema 1.5: its failure tree, its order,
its words. `schema_loader` makes nodes of a schema (`scalar_nodes`, `container_nodes`,
`combined_nodes`); a node explains what is wrong with a value. Nodes are slow, so
`schema_validator` asks a typed decoder and a fast validator first, and nodes see only the records
that those doubt.
"""
