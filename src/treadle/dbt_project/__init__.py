"""Writes files of a dbt project about what is loaded: sources, staging models, tests. Pure.

`loaded_source` has the values, `project_files` makes all files of them and compares them with those
that are there. `sources_file`, `staging_model` and `key_test` each write one kind of file, with
`split_folding` for fields that are split, `model_names` for names and `quoting` for what a name may
break: SQL, Jinja and YAML.
"""
