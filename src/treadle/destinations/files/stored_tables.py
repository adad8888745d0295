"""Tables of files as they are: their records, and the rows that readers see."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from treadle.destinations.arrow_inspection import ReadColumns
from treadle.destinations.files.errors import describe
from treadle.destinations.files.object_names import (
    JSON_LINES,
    OWNERS,
    PARQUET,
    TABLES,
    name_relation_folder,
    name_schema_records,
    name_table_records,
)
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.parquet_format import (
    SQL_TYPES,
    make_schema,
    read_parquet,
    read_rejections,
)
from treadle.destinations.files.record_chain import RecordChain
from treadle.destinations.files.table_record import OwnerRecord, TableRecord
from treadle.destinations.layout import REJECTED, REJECTED_COLUMNS
from treadle.destinations.scanned_engine import ScannedColumn
from treadle.errors import OperatorError
from treadle.tables.model import Column, PhysicalRelation, Relation, Table, TableState
from treadle.tables.profiles import FILES
from treadle.tables.schema_owner import SchemaOwner

REJECTIONS = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
"""The rejected records of a schema, which are lines of JSON."""


class RelationFiles:
    """The rows of a relation, read anew for each scan.

    Args:
        store: of the files.
        schema: of the relation.
        relation: with the columns that are read; others that a file has are left out.
    """

    def __init__(self, store: ObjectStore, schema: str, relation: Relation) -> None:
        self._store = store
        self._folder = name_relation_folder(schema, relation.name)
        self._relation = relation

    def list_columns(self) -> list[ScannedColumn]:
        """Return the columns; see `ScannedTable`."""
        return [
            ScannedColumn(column.name, SQL_TYPES[column.type]) for column in self._relation.columns
        ]

    def scan(self) -> "RelationFiles":
        """Return what gives streams of the rows; see `ScannedTable`."""
        return self

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a stream of all rows; see the Arrow PyCapsule interface."""
        reader: Any = self.read(self._relation.columns)
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream

    def read(self, columns: Sequence[Column]) -> "pa.RecordBatchReader":
        """Return a reader of some columns of all rows."""
        return pa.RecordBatchReader.from_batches(make_schema(columns), self._give(columns))

    def _give(self, columns: Sequence[Column]) -> "Iterator[pa.RecordBatch]":
        for key in self._store.list_keys(self._folder):
            try:
                yield from self._read_file(key, columns)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise OperatorError(
                    f"the file {key} cannot be read: {describe(error)}. It is damaged, or not one "
                    "of treadle's; put a copy of it back, or move it elsewhere"
                ) from error

    def _read_file(self, key: str, columns: Sequence[Column]) -> "Iterator[pa.RecordBatch]":
        if self._relation.name == REJECTED:
            data = self._store.get(key) if key.endswith(f".{JSON_LINES}") else None
            if data is not None:
                yield read_rejections(data).select([column.name for column in columns])
        elif key.endswith(f".{PARQUET}"):
            source = self._store.open(key)
            if source is not None:
                yield from read_parquet(source, columns)

    def read_named(self) -> ReadColumns:
        """Return a function that reads columns by name, under other names."""
        held = {FILES.fold(column.name): column for column in self._relation.columns}

        def read(columns: Sequence[str], names: Sequence[str]) -> pa.Table:
            wanted = [held[FILES.fold(name)] for name in columns]
            once = list({column.name: column for column in wanted}.values())
            rows = self.read(once).read_all()
            arrays = [rows.column(column.name) for column in wanted]
            return pa.table(arrays, names=list(names))

        return read


class StoredTables:
    """The tables of a store; see `ScannedTables`.

    Args:
        store: of the files.
        chain: of the records of tables.
        owners: of schemas.
    """

    display_name = "files"

    def __init__(
        self,
        store: ObjectStore,
        chain: RecordChain[TableRecord],
        owners: RecordChain[OwnerRecord],
    ) -> None:
        self._store = store
        self._chain = chain
        self._owners = owners

    def fold(self, name: str) -> str:
        """Return a name in the form in which names are compared."""
        return FILES.fold(name)

    def list_schemas(self) -> list[str]:
        """Return the schemas that were prepared for sources."""
        return sorted(self.read_owners())

    def read_owners(self) -> dict[str, SchemaOwner]:
        """Return the schemas with their owners."""
        return {
            record.schema: record.owner
            for record in self._owners.read_all(OWNERS)
            if record.owner is not None
        }

    def list_tables(self, schema: str) -> list[str]:
        """Return the relations of a schema, by name."""
        found = [relation.name for relation in self.read_relations(schema).values()]
        return sorted([*found, REJECTED])

    def find_table(self, schema: str, name: str) -> RelationFiles | None:
        """Return a relation of a schema; None where there is none."""
        if name == REJECTED:
            return RelationFiles(self._store, schema, REJECTIONS)
        found = self.read_relations(schema).get(FILES.fold(name))
        return None if found is None else RelationFiles(self._store, schema, found)

    def read_relations(self, schema: str) -> Mapping[str, Relation]:
        """Return folded name -> relation, of all tables of a schema."""
        return {
            FILES.fold(relation.name): relation
            for record in self.read_schema(schema)
            for relation in list_relations(record.table)
        }

    def read_schema(self, schema: str) -> list[TableRecord]:
        """Return the records of the tables of a schema."""
        return self._chain.read_all(name_schema_records(schema))

    def read_all(self) -> list[TableRecord]:
        """Return the records of all tables."""
        return self._chain.read_all(TABLES)

    def read(self, schema: str, table: str) -> TableRecord | None:
        """Return the record of a table; None where there is none."""
        return self._chain.read(name_table_records(schema, FILES.fold(table)))

    def describe(self, record: TableRecord | None) -> TableState:
        """Return the state of a table.

        A relation is there as long as readers find a file of it. Where the root is there, its
        subtables are: a subtable without files is one without rows.
        """
        if record is None:
            return TableState(0, None, {})
        entry = record.table
        relations = list_relations(entry)
        held = relations
        if relations and not self._is_there(record, relations[0]):
            held = tuple(each for each in relations[1:] if self._is_there(record, each))
        return TableState(
            record.revision, entry, {each.name: describe_relation(each) for each in held}
        )

    def _is_there(self, record: TableRecord, relation: Relation) -> bool:
        if not record.filled.get(relation.name):
            return True
        return self._store.holds_any(name_relation_folder(record.schema, relation.name))


class AskedTables(StoredTables):
    """The tables as one question finds them: each schema is read once."""

    def __init__(
        self,
        store: ObjectStore,
        chain: RecordChain[TableRecord],
        owners: RecordChain[OwnerRecord],
    ) -> None:
        super().__init__(store, chain, owners)
        self._relations: dict[str, Mapping[str, Relation]] = {}

    def read_relations(self, schema: str) -> Mapping[str, Relation]:
        """Return what the first call found; see `StoredTables.read_relations`."""
        if schema not in self._relations:
            self._relations[schema] = super().read_relations(schema)
        return self._relations[schema]


def list_relations(table: Table | None) -> tuple[Relation, ...]:
    """Return the relations of a catalogue entry; none where there is none."""
    return () if table is None else table.relations


def describe_relation(relation: Relation) -> PhysicalRelation:
    """Return a relation as a destination's own catalogue would show it."""
    return PhysicalRelation(
        {column.name: column.type for column in relation.columns}, frozenset(relation.key)
    )
