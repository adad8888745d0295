"""The reading side of a session: counts and compares files, and shows the changes of a plan."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.destinations.arrow_engine import ArrowEngine
from treadle.destinations.arrow_inspection import compare_rows, count_batches
from treadle.destinations.files.errors import FAULTS, translate
from treadle.destinations.files.object_names import (
    PARQUET,
    decode_folder,
    encode_folder,
    name_owner_records,
    name_relation_folder,
)
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.parquet_format import JSON_NOTE, SQL_TYPES
from treadle.destinations.files.record_chain import RecordChain
from treadle.destinations.files.stored_tables import (
    AskedTables,
    RelationFiles,
    StoredTables,
    list_relations,
)
from treadle.destinations.files.table_record import OwnerRecord, TableRecord
from treadle.destinations.layout import REJECTED
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
from treadle.destinations.scanned_engine import ScannedEngine, quote
from treadle.destinations.sql.schema_changes import group_additions
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    Column,
    CreateRelation,
    LoadPlan,
    PhysicalRelation,
    Relation,
)
from treadle.tables.schema_owner import SchemaOwner

_LOGICAL: Final = (
    (pa.types.is_boolean, ColumnType.BOOLEAN),
    (lambda type_: type_ == pa.int64(), ColumnType.BIGINT),
    (lambda type_: type_ == pa.float64(), ColumnType.DOUBLE),
    (lambda type_: type_ == pa.decimal128(38, 9), ColumnType.DECIMAL),
    (lambda type_: pa.types.is_string(type_) or pa.types.is_large_string(type_), ColumnType.TEXT),
    (
        lambda type_: pa.types.is_timestamp(type_) and type_.tz is not None,
        ColumnType.TIMESTAMP,
    ),
)


class FilesInspection:
    """One session on a store as far as it is only read; see `Inspection`.

    Args:
        store: of the files; closed with this.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._tables = RecordChain(store, TableRecord)
        self._owners = RecordChain(store, OwnerRecord)
        self._stored = StoredTables(store, self._tables, self._owners)
        self._engine = ArrowEngine()
        self._is_closed = False

    def close(self) -> None:
        """Let go of the store and the engine."""
        if not self._is_closed:
            self._is_closed = True
            self._engine.close()
            self._store.close()

    @contextmanager
    def _working(self) -> Iterator[ObjectStore]:
        """Give the store, and say what its errors mean."""
        if self._is_closed:
            raise DestinationUnavailableError("the session on the files is closed")
        try:
            yield self._store
        except FAULTS as error:
            raise translate(error) from error

    def _read_status(self, schema: str) -> SchemaStatus:
        return SchemaStatus(self._store.holds_any(encode_folder(schema)), self._read_owner(schema))

    def _read_owner(self, schema: str) -> SchemaOwner | None:
        record = self._owners.read(name_owner_records(schema))
        return None if record is None else record.owner

    def schema_status(self, schema: str) -> SchemaStatus:
        """Return whether a schema is there and whose it is."""
        with self._working():
            return self._read_status(schema)

    def unknown_relations(self, schema: str) -> Mapping[str, PhysicalRelation]:
        """Return the folders with Parquet files that no catalogue entry names; see `Adoption`."""
        with self._working() as store:
            known = {
                encode_folder(relation.name)
                for record in self._stored.read_schema(schema)
                for relation in list_relations(record.table)
            }
            return describe_foreign(store, schema, known | {REJECTED})

    def list_log_ids(self, prefix: str) -> list[str]:
        """Return the logs that there are offsets of, of those whose names begin so."""
        with self._working():
            found = {
                mark.log_id for record in self._stored.read_all() for mark in record.marks.values()
            }
        return sorted(log_id for log_id in found if log_id.startswith(prefix))

    def relations(self, schema: str) -> list[str]:
        """Return the tables in a schema that treadle knows, and folders of others."""
        with self._working() as store:
            found = set(self._stored.list_tables(schema))
            known = {encode_folder(name) for name in found}
            if not store.holds_any(name_relation_folder(schema, REJECTED)):
                found.discard(REJECTED)
            return sorted(found | describe_foreign(store, schema, known).keys())

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation; see `Inspection.counts`."""
        with self._working():
            read = self._require(schema, relation.name).read_named()
            return count_batches(self._engine.run, read, relation.key, since)

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of two relations; see `Inspection.compare`."""
        with self._working():
            here = None if pair.here is None else self._require(schema, pair.here).read_named()
            there = None if pair.there is None else self._require(other, pair.there).read_named()
            return compare_rows(self._engine.run, here, there, pair)

    def _require(self, schema: str, name: str) -> RelationFiles:
        found = self._stored.find_table(schema, name)
        if found is None:
            raise PlanOutdatedError(f"there is no table {name!r} in the schema {schema!r}")
        return found

    def ddl(self, plan: LoadPlan, shown_as: str | None = None) -> list[str]:
        """Return what a load changes, as statements that DuckDB could read; none is ever run."""
        return list_changes(plan, shown_as or plan.schema)

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's; see `Inspection.query`."""
        with self._working(), self._open_engine() as engine:
            return engine.query(sql)

    def _open_engine(self) -> ScannedEngine:
        return ScannedEngine(AskedTables(self._store, self._tables, self._owners))

    @contextmanager
    def stream_query(self, sql: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, row by row; see `Inspection.stream_query`."""
        with self._working():
            engine = self._open_engine()
            found = engine.stream(sql)
        with engine:
            yield found

    def count_query(self, sql: str, seconds: float) -> int | None:
        """Count the rows of a statement of the operator's; see `Inspection.count_query`."""
        with self._working(), self._open_engine() as engine:
            return engine.count(sql, seconds)

    def clock(self) -> int | None:
        """Return None: the time of loads is this machine's."""
        return None


def describe_foreign(
    store: ObjectStore, schema: str, known: Collection[str]
) -> Mapping[str, PhysicalRelation]:
    """Return the relations of folders in a schema that are not among those that treadle knows.

    Args:
        store: of the files.
        schema: the source's.
        known: folders.
    """
    place = encode_folder(schema)
    found = {}
    for folder in store.list_folders(place):
        name = decode_folder(folder)
        if folder not in known and name is not None:
            found[name] = _describe_folder(store, f"{place}/{folder}")
    return found


def describe_table(store: ObjectStore, schema: str, name: str) -> Mapping[str, PhysicalRelation]:
    """Return a relation by name, as its files are; nothing where there are none."""
    folder = name_relation_folder(schema, name)
    return {name: _describe_folder(store, folder)} if name and store.holds_any(folder) else {}


def _describe_folder(store: ObjectStore, folder: str) -> PhysicalRelation:
    """Return the columns of the last Parquet file of a folder; none where there is no such file."""
    keys = [key for key in store.list_keys(folder) if key.endswith(f".{PARQUET}")]
    source = store.open(keys[-1]) if keys else None
    if source is None:
        return PhysicalRelation({}, frozenset())
    try:
        schema = pq.read_schema(source)
    except pa.ArrowInvalid:  # somebody else's, and no Parquet
        return PhysicalRelation({}, frozenset())
    return PhysicalRelation(
        {
            field.name: ColumnType.JSON
            if field.metadata == JSON_NOTE
            else find_logical_type(field.type)
            for field in schema
        },
        frozenset(),
    )


def find_logical_type(type_: "pa.DataType") -> ColumnType | None:
    """Return the logical type of a column; None for a type that treadle never makes."""
    return next((logical for fits, logical in _LOGICAL if fits(type_)), None)


def list_changes(plan: LoadPlan, schema: str) -> list[str]:
    """Return what a load changes in the columns of tables, as statements of DuckDB."""
    return [
        statement
        for change in group_additions(plan.changes)
        for statement in _describe(change, schema)
    ]


def _define(column: Column) -> str:
    return f"{quote(column.name)} {SQL_TYPES[column.type]}"


def _describe(change: object, schema: str) -> Iterator[str]:
    match change:
        case list():
            for each in change:
                if isinstance(each, AddColumn):
                    place = quote(schema, each.relation)
                    yield f"ALTER TABLE {place} ADD COLUMN {_define(each.column)}"
        case CreateRelation(relation, False):
            columns = ", ".join(map(_define, relation.columns))
            yield f"CREATE TABLE {quote(schema, relation.name)} ({columns})"
