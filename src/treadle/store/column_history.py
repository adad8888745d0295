"""When loads made the columns of a table, and which fields they left out.

The loader sends the columns of a table when they changed, and when its process begins. What was
known of them before is kept here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Executable, Row, bindparam, select

from treadle.store.database import StoreTransaction, make_insert
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation, LoadReport
from treadle.store.schema import kept_columns
from treadle.store.schema_event import LEFT_OUT_MAX, LeftOutField, SchemaChangeKind

ColumnTimes = tuple[tuple[int | None, ...], ...]
"""For each relation the times of its columns, in their order: microseconds since 1970, or None."""

# Made once: SQLAlchemy takes as long to build a statement as SQLite takes to run it.
_KEPT: Final = select(kept_columns).where(
    kept_columns.c.table_id == bindparam("at_table_id", type_=BigInteger)
)


@cache
def _keep_row(dialect: str) -> Executable:
    """Return the statement of a dialect that writes a row of `kept_columns`, new or not."""
    statement = make_insert(dialect, kept_columns)
    return statement.on_conflict_do_update(
        index_elements=["table_id"],
        set_={
            column.name: statement.excluded[column.name]
            for column in kept_columns.c
            if column.name != "table_id"
        },
    )


@dataclass(frozen=True, slots=True)
class TableCatalogue:
    """What is known of the columns of a table without its destination.

    Attributes:
        times: of the columns, in their order.
        left_out: fields that loads left out.
    """

    columns: KeptColumns
    times: ColumnTimes
    left_out: tuple[LeftOutField, ...]


def read_catalogue(row: Row[Any] | None) -> TableCatalogue:
    """Return what is in a row of `kept_columns`; nothing where there is none."""
    columns = read_columns(row)
    return TableCatalogue(columns, read_times(row, columns), read_left_out(row))


def read_columns(row: Row[Any] | None) -> KeptColumns:
    """Return the columns in a row of `kept_columns`; none where there is none."""
    if row is None:
        return KeptColumns((), ())
    kept = {"key_fields": row.key_fields, "relations": row.relations}
    return msgspec.convert(kept, KeptColumns)


def read_times(row: Row[Any] | None, columns: KeptColumns) -> ColumnTimes:
    """Return when the columns in a row were made; None for those of earlier releases."""
    if row is None or row.seen is None:
        return tuple((None,) * len(relation.columns) for relation in columns.relations)
    return msgspec.convert(row.seen, ColumnTimes)


def read_left_out(row: Row[Any] | None) -> tuple[LeftOutField, ...]:
    """Return the left-out fields in a row."""
    if row is None or row.left_out is None:
        return ()
    return msgspec.convert(row.left_out, tuple[LeftOutField, ...])


def find_times(
    held: KeptColumns, times: ColumnTimes, columns: KeptColumns, at: int | None
) -> ColumnTimes:
    """Return when the columns of a table were made.

    A column that splits gets another name, and one that is widened another type: both stay what
    they were.

    Args:
        held: the columns as they were.
        times: of those.
        columns: as they are.
        at: the time of columns that were not there before; None where that is not known.
    """
    known: dict[tuple[tuple[str, ...], str, str], int | None] = {}
    for relation, its in zip(held.relations, times, strict=False):
        for column, time in zip(relation.columns, its, strict=False):
            known.setdefault((relation.path, column.name, ""), time)
            known[relation.path, column.field, column.type] = time

    def find(relation: KeptRelation, column: KeptColumn) -> int | None:
        place = (relation.path, column.field, column.type)
        return known[place] if place in known else known.get((relation.path, column.name, ""), at)

    return tuple(
        tuple(find(relation, column) for column in relation.columns)
        for relation in columns.relations
    )


def merge_left_out(
    held: Sequence[LeftOutField],
    notes: Sequence[Mapping[str, Any]],
    made: set[tuple[str, str]],
    load: LoadReport,
) -> tuple[tuple[LeftOutField, ...], tuple[LeftOutField, ...]]:
    """Return the left-out fields of a table, and those of them that are new.

    Args:
        held: those that were known.
        notes: of the load, as its report has them.
        made: (relation, field) of columns that the load made: they are no longer left out.
        load: that left fields out.
    """
    kept = [one for one in held if (one.relation, one.field) not in made]
    known = {(one.relation, one.field) for one in kept}
    fresh = [
        LeftOutField(note["table"], note["field"], note["reason"], load.finished_at, load.id)
        for note in notes
        if (note["table"], note["field"]) not in known
    ][: max(0, LEFT_OUT_MAX - len(kept))]
    return (*kept, *fresh), tuple(fresh)


def keep_columns(tx: StoreTransaction, table: Row[Any], load: LoadReport) -> list[dict[str, Any]]:
    """Keep the columns that a load left a table with, if they are not those that are kept.

    Args:
        tx: of the load.
        table: its row before the load.
        load: its report, with columns.

    Returns:
        The fields that were never left out before, as changes of the schema.
    """
    columns = load.columns
    if columns is None:
        return []
    row = tx.connection.execute(_KEPT, {"at_table_id": table.id}).one_or_none()
    held, left_out = read_columns(row), read_left_out(row)
    times = read_times(row, held)
    # Nobody knows since when columns are there that an earlier release made.
    is_known = row is not None or table.loads == 0
    seen = find_times(held, times, columns, load.finished_at if is_known else None)
    kept, fresh = merge_left_out(
        left_out, load.details.get("left_out", ()), _find_made(held, columns), load
    )
    if row is None or row.seen is None or (held, times, left_out) != (columns, seen, kept):
        values: dict[str, Any] = msgspec.to_builtins(columns)
        values |= {"seen": msgspec.to_builtins(seen), "left_out": msgspec.to_builtins(kept)}
        tx.connection.execute(
            _keep_row(tx.connection.dialect.name), {"table_id": table.id, **values}
        )
    return [
        {
            "kind": SchemaChangeKind.FIELD_LEFT_OUT.value,
            "relation": one.relation,
            "field": one.field,
            "reason": one.reason,
        }
        for one in fresh
    ]


def _find_made(held: KeptColumns, columns: KeptColumns) -> set[tuple[str, str]]:
    """Return (relation, field) of the columns that were not there before."""
    before = {
        (relation.path, column.field, column.type)
        for relation in held.relations
        for column in relation.columns
    }
    return {
        (relation.name, column.field)
        for relation in columns.relations
        for column in relation.columns
        if (relation.path, column.field, column.type) not in before
    }
