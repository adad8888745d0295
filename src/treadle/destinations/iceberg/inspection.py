"""Counts and compares the rows of Iceberg tables, and shows the changes of a plan."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.table import Table

from treadle.destinations.arrow_inspection import ReadColumns, compare_rows, count_batches
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.schema_types import SQL_TYPES
from treadle.destinations.iceberg.table_load import read_all
from treadle.destinations.layout import (
    CAUSE_COLUMNS,
    PRIVATE_SCHEMA,
    REJECTED_COLUMNS,
)
from treadle.destinations.protocol import RelationPair, RowCounts, RowDiff
from treadle.destinations.sql.schema_changes import group_additions
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    Relation,
    RenameColumn,
    SchemaChange,
    WidenColumn,
)


def is_unused_rejections(table: Table) -> bool:
    """Return whether `_sdc_rejected` is as `prepare` makes it and has no rows."""
    made = [column.name for column in REJECTED_COLUMNS]
    held = [field.name for field in table.schema().fields]
    if held not in (made, made[: -len(CAUSE_COLUMNS)]):
        return False
    return not any(batch.num_rows for batch in read_all(table).read_rows(["reason"]))


def count_rows(search: KeySearch, table: Table, relation: Relation, since: int) -> RowCounts:
    """Count the rows of a live root relation; see `Inspection.counts`."""
    live = read_all(table)

    def read(columns: Sequence[str], names: Sequence[str]) -> pa.Table:
        return live.read_rows(columns, names).read_all()

    return count_batches(search.run, read, relation.key, since)


def compare_tables(
    search: KeySearch, here: Table | None, there: Table | None, pair: RelationPair
) -> RowDiff:
    """Compare the rows of two relations; see `Inspection.compare`."""

    def make_reader(table: Table | None) -> ReadColumns | None:
        if table is None:
            return None
        live = read_all(table)
        return lambda columns, names: live.read_rows(columns, names).read_all()

    return compare_rows(search.run, make_reader(here), make_reader(there), pair)


# --- the changes of a plan, for people ------------------------------------------------------------


def list_changes(
    plan: LoadPlan, schema: str, *, makes_schema: bool, rejections: Relation | None
) -> list[str]:
    """Return the changes of a load as statements of Spark.

    Args:
        plan: of the load.
        schema: as it is shown.
        makes_schema: the schema is made first.
        rejections: the table of rejected records, where it is made first.
    """
    found = []
    if makes_schema:
        found.append(f"CREATE NAMESPACE {quote(schema)}")
    if rejections is not None:
        found.append(_create(schema, rejections))
    for change in group_additions(plan.changes):
        found += _describe(change, schema)
    return found


def quote(*parts: str) -> str:
    """Return a name as Spark has it."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def _define(column: Column) -> str:
    missing = "" if column.nullable else " NOT NULL"
    return f"{quote(column.name)} {SQL_TYPES[column.type]}{missing}"


def _create(schema: str, relation: Relation) -> str:
    columns = ", ".join(map(_define, relation.columns))
    return f"CREATE TABLE {quote(schema, relation.name)} ({columns}) USING iceberg"


def _set_key(place: str, key: Sequence[str]) -> str:
    return f"ALTER TABLE {place} SET IDENTIFIER FIELDS {', '.join(map(quote, key))}"


def _describe(change: SchemaChange | list[AddColumn], schema: str) -> Iterator[str]:
    def place(name: str, private: bool = False) -> str:
        return quote(PRIVATE_SCHEMA if private else schema, name)

    match change:
        case list():
            added = ", ".join(_define(each.column) for each in change)
            where = place(change[0].relation, change[0].private)
            yield f"ALTER TABLE {where} ADD COLUMNS ({added})"
        case CreateRelation(relation, private):
            yield _create(PRIVATE_SCHEMA if private else schema, relation)
            if relation.key:
                yield _set_key(place(relation.name, private), relation.key)
        case RenameColumn(name, old, new, private):
            yield f"ALTER TABLE {place(name, private)} RENAME COLUMN {quote(old)} TO {quote(new)}"
        case WidenColumn(name, column, _, private):
            widened = f"ALTER COLUMN {quote(column.name)} TYPE {SQL_TYPES[column.type]}"
            yield f"ALTER TABLE {place(name, private)} {widened}"
        case ChangeKey(name, old, key):
            if old:
                fields = ", ".join(map(quote, old))
                yield f"ALTER TABLE {place(name)} DROP IDENTIFIER FIELDS {fields}"
            if key:
                yield _set_key(place(name), key)
        case EmptyRelation(name):
            yield f"DELETE FROM {place(name)}"  # noqa: S608 - shown, never run
        case CopyStage():
            live = ", ".join(quote(name) for _, name in change.columns)
            staged = ", ".join(quote(name) for name, _ in change.columns)
            stage = quote(change.schema or PRIVATE_SCHEMA, change.stage)
            yield (
                f"INSERT INTO {place(change.relation)} ({live}) SELECT {staged} FROM {stage}"  # noqa: S608
            )
        case DropStage(name):
            yield f"DROP TABLE {place(name, True)}"
