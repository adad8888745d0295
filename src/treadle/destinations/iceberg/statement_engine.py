"""Statements of people on Iceberg tables, by DuckDB in memory over Arrow.

A table that a statement names is a view, whose rows are read from the files each time that it is
scanned. Nothing is copied, and nothing can be written: the engine reaches no file and no network.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, Self

import duckdb
import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.live_rows import read_all
from treadle.destinations.iceberg.schema_types import list_key
from treadle.destinations.iceberg.table_head import is_pending
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.protocol import (
    DestinationUnavailableError,
    MissingRelationError,
    QueryResult,
    QueryStream,
    ValueBatch,
)
from treadle.errors import OperatorError, TreadleError
from treadle.tables.profiles import ICEBERG
from treadle.timestamps import EPOCH

SETTINGS: Final[Mapping[str, str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

BEGINNING: Final = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET catalog_error_max_schemas = 0",
)

STREAMED_ROWS: Final = 1000

_CATALOGUE_WORDS: Final = re.compile(
    r"information_schema|duckdb_|pragma_|sqlite_master|pg_catalog|\bSHOW\b|\bDESCRIBE\b|\bPRAGMA\b",
    re.IGNORECASE,
)
"""A statement with one of these may ask which tables there are."""

_PART: Final = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')

SCHEMAS_SHOWN: Final = ("information_schema", "pg_catalog", "main", "temp", "system")
"""Schemas of the engine's own."""


class ScannedTable:
    """The rows of a table, read anew by whoever asks for a stream of them."""

    def __init__(self, table: Table) -> None:
        self._live = read_all(table)
        self._names = [field.name for field in table.schema().fields]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a stream of all rows; see the Arrow PyCapsule interface."""
        reader: Any = self._live.read_rows(self._names)
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream


class StatementEngine:
    """An engine for one statement.

    Args:
        catalogue: of the tables.
        settings: of the engine, beside those of every one.
    """

    def __init__(
        self, catalogue: IcebergCatalogue, settings: Mapping[str, str] | None = None
    ) -> None:
        self._catalogue = catalogue
        self.driver = duckdb.connect(":memory:", config={**SETTINGS, **(settings or {})})
        for statement in BEGINNING:
            self.driver.execute(statement)
        self._made: set[str] = set()
        self._count = 0

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of the engine."""
        with suppress(duckdb.Error):
            self.driver.close()

    # --- tables -----------------------------------------------------------------------------------

    def attach_for(self, statement: str) -> None:
        """Make the tables that a statement names known, and all of them if it may ask for them."""
        named: list[tuple[str, ...]] = []
        with suppress(duckdb.Error):  # a statement that cannot be parsed is judged when it is run
            named = [split_name(name) for name in self._list_names(statement)]
        asks = _CATALOGUE_WORDS.search(statement) is not None
        schemas = self._catalogue.list_schemas() if named or asks else []
        for schema in schemas:
            wanted = {
                ICEBERG.fold(parts[-1])
                for parts in named
                if len(parts) < 2 or ICEBERG.fold(parts[-2]) == ICEBERG.fold(schema)
            }
            if not wanted and not asks:
                continue
            self._make_schema(schema)
            for name in self._catalogue.list_tables(schema):
                is_named = ICEBERG.fold(name) in wanted
                if is_named or asks:
                    self._attach(schema, name, reads=is_named)

    def _list_names(self, statement: str) -> Sequence[str]:
        return sorted(self.driver.get_table_names(statement, qualified=True))

    def _make_schema(self, schema: str) -> None:
        if schema not in self._made:
            with suppress(duckdb.CatalogException):
                self.driver.execute(f"CREATE SCHEMA {quote(schema)}")
            self._made.add(schema)

    def _attach(self, schema: str, name: str, *, reads: bool) -> None:
        table = self._catalogue.load(schema, name)
        if table is None or (is_pending(table) and table.current_snapshot() is None):
            return
        with suppress(duckdb.CatalogException):  # two names that differ by case alone
            if reads:
                self.attach_table(schema, name, table)
            else:
                self.driver.execute(describe_empty(schema, name, table))

    def attach_table(self, schema: str, name: str, table: Table) -> None:
        """Make a table known, to be read."""
        self._make_schema(schema)
        self._count += 1
        source = f"treadle_scan_{self._count}"
        self.driver.register(source, ScannedTable(table))
        self.driver.execute(
            f"CREATE VIEW {quote(schema, name)} AS SELECT * FROM {source}"  # noqa: S608 - quoted
        )

    # --- statements -------------------------------------------------------------------------------

    def query(self, statement: str) -> QueryResult:
        """Run one statement and return all rows; see `Inspection.query`."""
        relation = self._run(statement)
        if relation is None:
            return QueryResult((), [])
        try:
            found = relation.to_arrow_table()
        except (duckdb.Error, RuntimeError) as error:
            raise judge(error) from error
        columns = [read_values(column) for column in found.columns]
        return QueryResult(tuple(found.column_names), list(zip(*columns, strict=True)))

    def stream(self, statement: str) -> QueryStream:
        """Run one statement and return its rows while they are read."""
        relation = self._run(statement)
        if relation is None:
            return QueryStream((), iter(()))
        try:
            reader = relation.to_arrow_reader(STREAMED_ROWS)
        except (duckdb.Error, RuntimeError) as error:
            raise judge(error) from error
        return QueryStream(tuple(reader.schema.names), _give_batches(reader))

    def _run(self, statement: str) -> Any:
        try:
            statements = self.driver.extract_statements(statement)
        except duckdb.Error as error:
            raise judge(error) from error
        if len(statements) != 1:
            raise OperatorError("expected one statement; send several one by one")
        if statements[0].type not in READING:
            raise OperatorError(
                "a statement on Iceberg tables only reads: SELECT, WITH, VALUES, FROM, DESCRIBE, "
                "SHOW, SUMMARIZE or EXPLAIN; change the tables with the tool that you have for them"
            )
        self.attach_for(statement)
        try:
            return self.driver.sql(statement)
        except (duckdb.Error, RuntimeError) as error:
            raise judge(error) from error

    def count(self, statement: str, seconds: float) -> int | None:
        """Return how many rows a statement gives; None where that takes too long."""
        text = statement.rstrip("; \t\r\n\f\v")
        timer = threading.Timer(seconds, self.driver.interrupt)
        timer.daemon = True
        timer.start()
        try:
            self.attach_for(statement)
            counted = f"SELECT count(*) FROM ({text}\n) AS q"  # noqa: S608 - the operator's own
            rows = self.driver.execute(counted).fetchall()
        except (duckdb.Error, RuntimeError):
            return None
        finally:
            timer.cancel()
        return int(rows[0][0])


READING: Final = frozenset(
    {
        duckdb.StatementType.SELECT,
        duckdb.StatementType.EXPLAIN,
        duckdb.StatementType.RELATION,
    }
)
"""Kinds of statements that change nothing."""


def split_name(name: str) -> tuple[str, ...]:
    """Return the parts of a qualified name as the engine writes it."""
    return tuple(
        quoted.replace('""', '"') if quoted or not plain else plain
        for quoted, plain in _PART.findall(name)
    )


def quote(*parts: str) -> str:
    """Return a name as the engine has it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def describe_empty(schema: str, name: str, table: Table) -> str:
    """Return the statement that makes a table without rows, for who asks what there is."""
    fields = []
    for field in table.schema().fields:
        missing = " NOT NULL" if field.required else ""
        fields.append(f"{quote(field.name)} {name_type(str(field.field_type))}{missing}")
    key = [field.name for field in table.schema().fields if field.name in _key_of(table)]
    if key:
        fields.append(f"PRIMARY KEY ({', '.join(map(quote, key))})")
    return f"CREATE TABLE {quote(schema, name)} ({', '.join(fields)})"


def _key_of(table: Table) -> frozenset[str]:
    return list_key(table.schema(), table.properties)


_TYPES: Final[Mapping[str, str]] = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "string": "VARCHAR",
    "uuid": "UUID",
}


def name_type(type_: str) -> str:
    """Return what the engine calls a type of Iceberg."""
    if type_.startswith("decimal("):
        return type_.upper()
    return _TYPES.get(type_, "BLOB")


def judge(error: Exception) -> TreadleError:
    """Return what an error of a statement of the operator's means."""
    text = " ".join(str(error).split("\n\n")[0].split())
    if isinstance(error, duckdb.CatalogException) and "does not exist" in text:
        return MissingRelationError(text)
    if isinstance(error, duckdb.IOException | duckdb.InterruptException):
        return DestinationUnavailableError(text)
    if isinstance(error.__cause__, NoSuchTableError):
        return MissingRelationError(text)
    return OperatorError(text)


def _give_batches(reader: "pa.RecordBatchReader") -> Iterator[ValueBatch]:
    try:
        for batch in reader:
            if batch.num_rows:
                yield [read_values(column) for column in batch.columns]
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise judge(error) from error


def read_values(column: "pa.ChunkedArray[Any] | pa.Array[Any]") -> list[Any]:
    """Return the values of a column as Python objects; instants are in UTC."""
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        return list(column.to_pylist())
    microseconds = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    # Of the columns that treadle adds, many rows share a value.
    values: dict[int | None, datetime | None] = {None: None}
    known = {value for value in microseconds if value is not None}
    values |= {value: EPOCH + timedelta(microseconds=value) for value in known}
    return [values[value] for value in microseconds]


def list_shown_schemas(catalogue: IcebergCatalogue) -> list[str]:
    """Return the schemas of sources."""
    return [name for name in catalogue.list_schemas() if name != PRIVATE_SCHEMA]
