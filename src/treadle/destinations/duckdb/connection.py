"""A connection to a DuckDB file. Rows travel as Arrow tables, which statements can name.

An Arrow table's columns are called c0, c1, ... and it is registered under a name of our own: no
name of a client takes part until it is quoted as a target.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb
import pyarrow as pa

from treadle.destinations.duckdb.dialect import DuckDBDialect
from treadle.destinations.duckdb.errors import is_missing, is_refused_change, message, translate
from treadle.destinations.layout import PRIVATE_SCHEMA, partition_columns
from treadle.destinations.protocol import (
    CommitUnknownError,
    QueryResult,
    QueryStream,
    RowRefusedError,
    ValueBatch,
)
from treadle.destinations.sql.connection import STREAMED_ROWS, Field, SqlConnection
from treadle.destinations.sql.text import Quoted
from treadle.destinations.sql.upsert import (
    StagedUpsert,
    delete_replaced,
    describe_rounding,
    find_rounded,
    insert,
    insert_absent,
)
from treadle.errors import OperatorError, TreadleError
from treadle.tables.arrow_column import ArrowColumn, TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import PhysicalRelation, RelationRows
from treadle.tables.names import TOMBSTONES
from treadle.timestamps import EPOCH

_ARROW: Final[dict[ColumnType, Any]] = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.JSON: pa.string(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}

COPIED_MAX: Final = 512
"""Bytes of a value, on average, up to which a column is copied into one piece."""

PARSED_MAX: Final = 64
"""Statements that are kept parsed; the bookkeeping of a load has a dozen."""

_NARROWER: Final = re.compile(
    r"U?(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$|DECIMAL\(|DATE$|TIMESTAMP_M?S$"
)
"""Types, as DuckDB spells them, that may round what is cast to them."""

_CYCLE: Final = 146_097 * 86_400_000_000  # microseconds of 400 years


class DuckDBConnection(SqlConnection):
    """One connection.

    Args:
        driver: to the file.
        read_only: whether the operator's statements may only read.
    """

    driver: duckdb.DuckDBPyConnection
    errors = (duckdb.Error, pa.ArrowException, OverflowError, UnicodeEncodeError)
    translate = staticmethod(translate)
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(message)

    def __init__(self, driver: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        self.driver = driver
        self._read_only = read_only
        row = driver.execute("SELECT current_database()").fetchone()
        self.dialect = DuckDBDialect(str(row[0]) if row else "")
        self._registered: list[str] = []
        self._tombstones: bool | None = None
        self._referred: bool | None = None
        self._alone = False
        self._statements: dict[str, duckdb.Statement] = {}

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement; returns how many rows it wrote."""
        if TOMBSTONES in statement:
            self._tombstones = True
        found = self.rows(statement, *values)
        return int(found[0][0]) if found and isinstance(found[0][0], int) else 0

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        if not values:
            return self.driver.execute(statement).fetchall()
        # What takes values comes again: parsing it takes up to half as long as a look by a key.
        parsed = self._statements.get(statement)
        if parsed is None:
            if len(self._statements) >= PARSED_MAX:
                self._statements.clear()
            [parsed] = self.driver.extract_statements(statement)
            self._statements[statement] = parsed
        return self.driver.execute(parsed, values).fetchall()

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's."""
        if len(self.driver.extract_statements(statement)) != 1:
            raise OperatorError("expected one statement; send several one by one")
        try:
            self.run(Quoted("BEGIN TRANSACTION READ ONLY" if self._read_only else "BEGIN"))
            relation = self.driver.sql(statement)
            found = None if relation is None else relation.to_arrow_table()
            self.commit()
        except duckdb.Error:
            with suppress(duckdb.Error):
                self.rollback()
            raise
        if found is None:
            return QueryResult((), [])
        columns = [_python_values(column) for column in found.columns]
        return QueryResult(tuple(found.column_names), list(zip(*columns, strict=True)))

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, which only reads."""
        if len(self.driver.extract_statements(statement)) != 1:
            raise OperatorError("expected one statement; send several one by one")
        self.run(Quoted("BEGIN TRANSACTION READ ONLY"))
        try:
            relation = self.driver.sql(statement)
            if relation is None:
                yield QueryStream((), iter(()))
                return
            reader = relation.to_arrow_reader(STREAMED_ROWS)
            try:
                yield QueryStream(tuple(reader.schema.names), _read_batches(reader))
            finally:
                reader.close()
        finally:
            with suppress(duckdb.Error):
                self.rollback()

    def interrupt(self) -> None:
        """End the statement that runs; from any thread."""
        with suppress(duckdb.Error):
            self.driver.interrupt()

    def use_one_thread(self, alone: bool) -> None:
        """Have one thread do everything from now on, or as many as there are processors.

        To hand out work and wait for it takes half of what a small statement takes.
        """
        if alone != self._alone:
            self.driver.execute("SET threads = 1" if alone else "RESET threads")
            self._alone = alone

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Register values as an Arrow table, until `release`."""
        arrays = [_array(values, _ARROW[type_]) for _, type_, values in fields]
        self._registered.append(title)
        self.driver.register(title, pa.table(arrays, names=[str(name) for name, *_ in fields]))
        return self.dialect.quote(title)

    def release(self) -> None:
        """Let go of what was registered; only outside a transaction, which may have failed."""
        with suppress(duckdb.Error):  # a broken connection has nothing registered
            while self._registered:
                self.driver.unregister(self._registered.pop())

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Insert rows into a relation; returns how many there were."""
        stage = self.stage(rows, f"treadle_rows_{len(self._registered)}")
        staged = StagedUpsert(target, rows, stage)
        self._refuse_rounded(staged, self._list_types(target))
        return self.run(insert(self.dialect, staged))

    def upsert(self, upsert: StagedUpsert) -> int:
        """Insert staged rows, or replace rows of their key; returns how many were written.

        DuckDB writes every block again that an update touches, and a block holds 122,880 rows: to
        replace 10,000 rows of 500,000 takes a seventh of the time when they are deleted first.
        """
        there = self._list_types(upsert.target)
        self._refuse_rounded(upsert, there)
        if not upsert.rows.relation.key or not self._holds_only(upsert, there):
            return super().upsert(upsert)
        self.run(delete_replaced(self.dialect, upsert))
        return self.run(insert_absent(self.dialect, upsert))

    def _list_types(self, target: Quoted) -> Mapping[str, str]:
        """Return column -> type of a relation."""
        statement = Quoted("SELECT name, type FROM pragma_table_info($1)")
        return {str(name): str(type_) for name, type_ in self.rows(statement, target)}

    def _refuse_rounded(self, upsert: StagedUpsert, there: Mapping[str, str]) -> None:
        """Refuse values that the type of a column would change without a word.

        That is one that a person has given it.

        Raises:
            RowRefusedError: there is one.
        """
        given, _ = partition_columns(upsert.rows)
        for column in given:
            type_ = there.get(column.name, "")
            is_changed = type_ != self.dialect.types[column.type]
            if is_changed and _NARROWER.match(type_):
                statement = find_rounded(self.dialect, upsert, column.name, Quoted(type_))
                if self.rows(statement):
                    raise RowRefusedError(describe_rounding(column.name, type_))

    def _holds_only(self, upsert: StagedUpsert, there: Iterable[str]) -> bool:
        """Return whether nothing is lost with a row that is deleted and written anew.

        That would be the operator's own columns, and rows of other tables that refer to it.
        """
        if self._referred is None:
            found = self.rows(
                Quoted(
                    "SELECT 1 FROM duckdb_constraints() WHERE database_name = current_database()"
                    " AND constraint_type = 'FOREIGN KEY' LIMIT 1"
                )
            )
            self._referred = bool(found)
        fold = self.dialect.profile.fold
        ours = {fold(column.name) for column in upsert.rows.relation.columns}
        return not self._referred and set(map(fold, there)) == ours

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        """Return those of some relations that exist; outside of a transaction."""
        found: dict[str, PhysicalRelation] = {}
        for relation in names:
            # Of one relation by name: what lists all of them takes longer the more there are.
            statement = Quoted(
                "SELECT name, split_part(type, '(', 1), pk FROM pragma_table_info($1)"
            )
            try:
                rows = self.rows(statement, self.dialect.place(schema, relation))
            except duckdb.CatalogException:
                continue
            logical = self.dialect.logical_types
            found[relation] = PhysicalRelation(
                {column: logical.get(type_) for column, type_, _ in rows},
                frozenset(column for column, _, in_key in rows if in_key),
            )
        return found

    def holds_own_table(self, name: str) -> bool:
        """Return whether treadle's schema has such a table; also inside a transaction.

        Asked is mostly for tables of deleted keys. Whether there are any is asked once: the answer
        takes longer the more tables there are, and is mostly no.
        """
        if not name.startswith(TOMBSTONES):
            return super().holds_own_table(name)
        if self._tombstones is None:
            found = self.rows(
                Quoted(
                    "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
                    " AND schema_name = $1 AND starts_with(table_name, $2) LIMIT 1"
                ),
                PRIVATE_SCHEMA,
                TOMBSTONES,
            )
            self._tombstones = bool(found)
        return self._tombstones and super().holds_own_table(name)

    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of COMMIT means."""
        text = self.message(error)
        if "constraint" in text.lower():
            return RowRefusedError(text)
        # DuckDB wraps a full disk and a conflict alike; what is in the file tells them apart.
        return CommitUnknownError(f"the COMMIT of DuckDB failed: {text}")


def _array(column: TypedColumn, type_: Any) -> Any:
    if isinstance(column, ArrowColumn):
        if column.array.nbytes > COPIED_MAX * len(column):
            return column.array.cast(type_)
        # In one piece: DuckDB reads Arrow in pieces of any size, and small ones cost it as much.
        return column.array.combine_chunks().cast(type_)
    return pa.array(column, type_)


def _read_batches(reader: "pa.RecordBatchReader") -> Iterator[ValueBatch]:
    for batch in reader:
        if batch.num_rows:
            yield [_python_values(column) for column in batch.columns]


def _python_values(column: "pa.ChunkedArray[Any] | pa.Array[Any]") -> list[Any]:
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        return list(column.to_pylist())
    microseconds = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    # Of the columns that treadle adds, many rows share a value.
    values: dict[int | None, datetime | str | None] = {None: None}
    values.update((value, instant(value)) for value in {*microseconds} if value is not None)
    return [values[value] for value in microseconds]


def instant(microseconds: int) -> datetime | str:
    """Return a datetime, or a text for a year that Python's datetime does not know."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        # The calendar repeats itself every 400 years.
        cycles, rest = divmod(microseconds, _CYCLE)
        like = EPOCH + timedelta(microseconds=rest)
        year = like.year + 400 * cycles
        era = "" if year > 0 else " BC"
        return f"{year if year > 0 else 1 - year:04}-{like:%m-%d %H:%M:%S.%f}+00{era}"
