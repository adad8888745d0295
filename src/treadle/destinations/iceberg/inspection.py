"""The reading side of a session: counts and compares tables, and shows the changes of a plan."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
from pyiceberg.table import Table

from treadle.destinations.arrow_inspection import ReadColumns, compare_rows, count_batches
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.errors import ERRORS, translate
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.live_rows import read_all
from treadle.destinations.iceberg.schema_owners import OwnerRecords
from treadle.destinations.iceberg.schema_types import SQL_TYPES, describe_schema
from treadle.destinations.iceberg.statement_engine import StatementEngine
from treadle.destinations.iceberg.table_head import is_pending, read_heads
from treadle.destinations.iceberg.table_load import REJECTIONS
from treadle.destinations.layout import (
    CAUSE_COLUMNS,
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
)
from treadle.destinations.protocol import (
    DestinationUnavailableError,
    PlanOutdatedError,
    QueryResult,
    QueryStream,
    RelationPair,
    RowCounts,
    RowDiff,
    SchemaStatus,
)
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
    PhysicalRelation,
    Relation,
    RenameColumn,
    SchemaChange,
    WidenColumn,
)
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import ICEBERG


class IcebergInspection:
    """One connection to a catalogue as far as it is only read; see `Inspection`.

    Args:
        catalogue: that is open; closed with this.
        profile: of the catalogue.
    """

    def __init__(self, catalogue: IcebergCatalogue, profile: DestinationProfile) -> None:
        self._catalogue = catalogue
        self._owners = OwnerRecords(catalogue, profile)
        self._search = KeySearch()
        self._is_closed = False

    def close(self) -> None:
        """Close the catalogue and the engine."""
        if not self._is_closed:
            self._is_closed = True
            self._search.close()
            self._catalogue.close()

    @contextmanager
    def _working(self) -> Iterator[IcebergCatalogue]:
        """Give the catalogue, and say what its errors mean."""
        if self._is_closed:
            raise DestinationUnavailableError("the session on the Iceberg catalogue is closed")
        try:
            yield self._catalogue
        except ERRORS as error:
            raise translate(error) from error

    def schema_status(self, schema: str) -> SchemaStatus:
        """Return whether a schema is there and whose it is."""
        with self._working():
            return self._owners.read_status(schema)

    def unknown_relations(self, schema: str) -> Mapping[str, PhysicalRelation]:
        """Return the relations that no catalogue entry names; see `Adoption`."""
        with self._working() as catalogue:
            known = {
                ICEBERG.fold(relation.name)
                for head in read_heads(catalogue)
                if head.schema == schema and head.record.entry is not None
                for relation in head.record.entry.relations
            }
            found: dict[str, PhysicalRelation] = {}
            for name in catalogue.list_tables(schema):
                if ICEBERG.fold(name) in known or name == REJECTED:
                    continue
                table = catalogue.load(schema, name)
                if table is not None and not is_pending(table):
                    found[name] = describe_schema(table.schema(), table.properties)
            return found

    def list_log_ids(self, prefix: str) -> list[str]:
        """Return the logs that there are offsets of, of those whose names begin so."""
        with self._working() as catalogue:
            heads = read_heads(catalogue)
            found = {mark.log_id for head in heads for mark in head.record.marks.values()}
        return sorted(log_id for log_id in found if log_id.startswith(prefix))

    def relations(self, schema: str) -> list[str]:
        """Return the tables and views in a schema; see `Inspection.relations`."""
        with self._working() as catalogue:
            found = [*catalogue.list_tables(schema), *catalogue.list_views(schema)]
            if REJECTED in found:
                table = catalogue.load(schema, REJECTED)
                if table is not None and is_unused_rejections(table):
                    found.remove(REJECTED)
            return sorted(found)

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation; see `Inspection.counts`."""
        with self._working():
            table = self._require(schema, relation.name)
            return count_rows(self._search, table, relation, since)

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of two relations; see `Inspection.compare`."""
        with self._working():
            here = None if pair.here is None else self._require(schema, pair.here)
            there = None if pair.there is None else self._require(other, pair.there)
            return compare_tables(self._search, here, there, pair)

    def _require(self, schema: str, name: str) -> Table:
        table = self._catalogue.load(schema, name)
        if table is None:
            raise PlanOutdatedError(f"there is no table {name!r} in the schema {schema!r}")
        return table

    def ddl(self, plan: LoadPlan, shown_as: str | None = None) -> list[str]:
        """Return the changes of a load as statements of Spark; see `Inspection.ddl`.

        Iceberg has no statements of its own. The load makes these changes by the library.
        """
        with self._working() as catalogue:
            makes_schema = not catalogue.holds_schema(plan.schema)
            makes_rejections = makes_schema or catalogue.load(plan.schema, REJECTED) is None
        return list_changes(
            plan,
            shown_as or plan.schema,
            makes_schema=makes_schema,
            rejections=REJECTIONS if makes_rejections else None,
        )

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's; see `Inspection.query`."""
        with self._working() as catalogue, StatementEngine(catalogue) as engine:
            return engine.query(sql)

    @contextmanager
    def stream_query(self, sql: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, row by row; see `Inspection.stream_query`."""
        with self._working() as catalogue:
            engine = StatementEngine(catalogue)
            found = engine.stream(sql)
        with engine:
            yield found

    def count_query(self, sql: str, seconds: float) -> int | None:
        """Count the rows of a statement of the operator's; see `Inspection.count_query`."""
        with self._working() as catalogue, StatementEngine(catalogue) as engine:
            return engine.count(sql, seconds)

    def clock(self) -> int | None:
        """Return None: the time of loads is this machine's."""
        return None


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
