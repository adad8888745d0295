"""Writes tests of keys, where those that dbt has do not do: keys of several columns, odd names.

dbt's own tests are given the name of a column, which they do not quote whatever it is.
"""

from treadle.dbt_project.loaded_source import ModelledRelation
from treadle.dbt_project.quoting import is_plain_name, quote_identifier


def has_own_test(modelled: ModelledRelation) -> bool:
    """Return whether the key of a relation is tested by a file of its own."""
    key = modelled.relation.key
    return len(key) > 1 or (len(key) == 1 and not is_plain_name(key[0]))


def write_test(modelled: ModelledRelation) -> str:
    """Return the SQL that finds keys that are there several times, or that lack a column."""
    key = modelled.relation.key
    named = [f"key_{number}" for number in range(1, len(key) + 1)]
    selected = ",\n".join(
        f"        {quote_identifier(column)} as {name}"
        for column, name in zip(key, named, strict=True)
    )
    missing = "".join(f"\n    or {name} is null" for name in named)
    columns = ", ".join(named)
    return (
        f"with keys as (\n    select\n{selected}\n"
        f"    from {{{{ source('{modelled.source}', '{modelled.name}') }}}}\n)\n"
        f"select {columns}, count(*) as row_count\nfrom keys\ngroup by {columns}\n"
        f"having count(*) > 1{missing}\n"
    )
