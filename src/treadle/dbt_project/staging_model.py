"""Writes staging models: views that read a table as it is meant to be read.

A field that is split is one column again, named as the field. A subtable is joined to what its rows
belong to, by key, indexes and sequence (loading.md 7.3). That hides rows that a newer record no
longer has, and brings the fields of the rows above.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treadle.dbt_project.loaded_source import ModelledRelation
from treadle.dbt_project.model_names import NAME_BYTES_MAX, append_digest
from treadle.dbt_project.quoting import quote_identifier
from treadle.dbt_project.split_folding import fold_columns
from treadle.tables.names import BATCHED_AT, SEPARATOR, SEQUENCE, level_column, pair_source_keys

COLUMNS_MAX: Final = 1600
"""Most columns of a view of PostgreSQL."""

_JOINED: Final = """\
with child as (
    select * from {source}
),
parent as (
    select * from {{{{ ref('{parent}') }}}}
)
select
{selected}
from child
join parent
    on {conditions}
"""

ORDINARY: Final = 2
"""Rank of a field that is not in the key and that treadle did not add."""


@dataclass(frozen=True, slots=True)
class StagedColumn:
    """A column of a staging model.

    Attributes:
        name: that it has there.
        value: SQL.
        rank: see `ModelledRelation.rank_field`.
        is_own: of the relation itself, and not of one above.
    """

    name: str
    value: str
    rank: int
    is_own: bool = True


def list_columns(modelled: ModelledRelation) -> list[StagedColumn]:
    """Return the columns of a staging model, in order."""
    pairs = list_pairs(modelled)
    own = [
        StagedColumn(
            columns[0].field,
            fold_columns(columns, "child." if pairs else ""),
            modelled.rank_field(columns[0].field),
        )
        for columns in modelled.fields
    ]
    upper = _list_upper(modelled.parent, own) if pairs and modelled.parent is not None else []
    if len(own) + len(upper) > COLUMNS_MAX:
        return own
    # Sorted by rank as they are, so what is of the rows above goes before what ends each row.
    return sorted([*own, *upper], key=lambda column: column.rank)


def _list_upper(parent: ModelledRelation, own: Sequence[StagedColumn]) -> list[StagedColumn]:
    """Return the fields of the rows above, each with the name of its table before its own."""
    path = parent.relation.path
    prefix = path[-1] if path else parent.relation.name
    taken = {column.name.lower() for column in own}
    found = []
    for column in list_columns(parent):
        if column.rank != ORDINARY:
            continue
        name = f"{prefix}{SEPARATOR}{column.name}" if column.is_own else column.name
        if name.lower() in taken or len(name.encode()) > NAME_BYTES_MAX:
            name = append_digest(name, name, taken)
        taken.add(name.lower())
        value = f"parent.{quote_identifier(column.name)}"
        found.append(StagedColumn(name, value, ORDINARY, is_own=False))
    return found


def list_pairs(modelled: ModelledRelation) -> list[tuple[str, str]]:
    """Return the columns by which a row is joined to the one above: its own, and the other's.

    Rows that are only appended may have one key several times, each of another load.

    Returns:
        None at all for a root, and where the user dropped one of the columns.
    """
    parent = modelled.parent
    if parent is None:
        return []
    there = {column.name for column in modelled.relation.columns}
    above = {column.name for column in parent.relation.columns}
    keys = [column.name for column in modelled.table.keys]
    try:
        own_keys = pair_source_keys(keys, there)
        keys_above = pair_source_keys(keys, above) if parent.relation.path else ()
    except ValueError:  # as many columns as keys are not there
        return []
    pairs = [(own, dict(keys_above)[key] if parent.relation.path else key) for key, own in own_keys]
    pairs += [(name, name) for name in map(level_column, range(len(parent.relation.path)))]
    pairs += [(SEQUENCE, SEQUENCE)]
    pairs += [(BATCHED_AT, BATCHED_AT)] if modelled.table.append else []
    if not keys or any(own not in there or other not in above for own, other in pairs):
        return []
    return pairs


def write_model(modelled: ModelledRelation) -> str:
    """Return the SQL of a staging model, with a line feed at its end."""
    selected = ",\n".join(f"    {_select(column)}" for column in list_columns(modelled))
    source = f"{{{{ source('{modelled.source}', '{modelled.name}') }}}}"
    pairs = list_pairs(modelled)
    if not pairs or modelled.parent is None:
        return f"select\n{selected}\nfrom {source}\n"
    conditions = "\n    and ".join(
        f"child.{quote_identifier(own)} = parent.{quote_identifier(other)}" for own, other in pairs
    )
    return _JOINED.format(
        source=source, parent=modelled.parent.model, selected=selected, conditions=conditions
    )


def _select(column: StagedColumn) -> str:
    name = quote_identifier(column.name)
    bare = column.value.removeprefix("child.").removeprefix("parent.")
    return column.value if bare == name else f"{column.value} as {name}"
