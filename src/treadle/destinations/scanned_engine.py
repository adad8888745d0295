"""Statements of people on tables that are files, by DuckDB in memory over Arrow.

A table that a statement names is a view, whose rows are read from the files each time that it is
scanned. Nothing is copied, and nothing can be written: the engine reaches no file and no network.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, Self

import duckdb
import pyarrow as pa

from treadle.destinations.protocol import (
    DestinationUnavailableError,
    MissingRelationError,
    QueryResult,
    QueryStream,
    ValueBatch,
)
from treadle.errors import OperatorError, TreadleError
from treadle.timestamps import EPOCH


@dataclass(frozen=True, slots=True)
class ScannedColumn:
    """A column of a table, for who asks which there are.

    Attributes:
        type: as DuckDB calls it.
        is_required: it takes no NULL.
        is_key: it is one of the key.
    """

    name: str
    type: str
    is_required: bool = False
    is_key: bool = False


class ScannedTable(Protocol):
    """A table that is files."""

    def list_columns(self) -> Sequence[ScannedColumn]:
        """Return its columns, in order."""

    def scan(self) -> object:
        """Return an object that gives a stream of all rows, anew for each scan of it.

        It has `__arrow_c_stream__`, of the Arrow PyCapsule interface.
        """


class ScannedTables(Protocol):
    """The tables that statements may name."""

    @property
    def display_name(self) -> str:
        """The name of the kind of destination, for people."""

    def fold(self, name: str) -> str:
        """Return the form in which names are compared for equality."""

    def list_schemas(self) -> Sequence[str]:
        """Return the schemas."""

    def list_tables(self, schema: str) -> Sequence[str]:
        """Return the tables of a schema."""

    def find_table(self, schema: str, name: str) -> ScannedTable | None:
        """Return a table; None where there is none, or nothing in it yet."""


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


class ScannedEngine:
    """An engine for one statement.

    Args:
        tables: that it may name.
        settings: of the engine, beside those of every one.
    """

    def __init__(self, tables: ScannedTables, settings: Mapping[str, str] | None = None) -> None:
        self._tables = tables
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
        schemas = self._tables.list_schemas() if named or asks else []
        for schema in schemas:
            wanted = {
                self._tables.fold(parts[-1])
                for parts in named
                if len(parts) < 2 or self._tables.fold(parts[-2]) == self._tables.fold(schema)
            }
            if not wanted and not asks:
                continue
            self._make_schema(schema)
            for name in self._tables.list_tables(schema):
                is_named = self._tables.fold(name) in wanted
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
        table = self._tables.find_table(schema, name)
        if table is None:
            return
        with suppress(duckdb.CatalogException):  # two names that differ by case alone
            if reads:
                self.attach_table(schema, name, table)
            else:
                self.driver.execute(describe_empty(schema, name, table))

    def attach_table(self, schema: str, name: str, table: ScannedTable) -> None:
        """Make a table known, to be read."""
        self._make_schema(schema)
        self._count += 1
        source = f"treadle_scan_{self._count}"
        self.driver.register(source, table.scan())
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
                f"a statement on {self._tables.display_name} only reads: SELECT, WITH, VALUES, "
                "FROM, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; change the tables with the tool that "
                "you have for them"
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


def describe_empty(schema: str, name: str, table: ScannedTable) -> str:
    """Return the statement that makes a table without rows, for who asks what there is."""
    columns = table.list_columns()
    fields = [
        f"{quote(column.name)} {column.type}{' NOT NULL' if column.is_required else ''}"
        for column in columns
    ]
    key = [column.name for column in columns if column.is_key]
    if key:
        fields.append(f"PRIMARY KEY ({', '.join(map(quote, key))})")
    return f"CREATE TABLE {quote(schema, name)} ({', '.join(fields)})"


def judge(error: Exception) -> TreadleError:
    """Return what an error of a statement of the operator's means."""
    text = " ".join(str(error).split("\n\n")[0].split())
    if isinstance(error, duckdb.CatalogException) and "does not exist" in text:
        return MissingRelationError(text)
    if isinstance(error, duckdb.IOException | duckdb.InterruptException):
        return DestinationUnavailableError(text)
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
