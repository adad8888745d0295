"""A connection to PostgreSQL by psycopg 3, with rows sent by COPY."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader

from treadle.destinations.layout import partition_columns
from treadle.destinations.postgres import copy_format
from treadle.destinations.postgres.dialect import PostgresDialect
from treadle.destinations.postgres.errors import (
    is_missing,
    is_refused_change,
    server_message,
    translate,
)
from treadle.destinations.protocol import CommitUnknownError, QueryResult, QueryStream, ValueBatch
from treadle.destinations.sql.connection import STREAMED_ROWS, Field, SqlConnection
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.errors import OperatorError, TreadleError
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import RelationRows

_COPIED_AS: Final = {
    ColumnType.BIGINT: "int8",
    ColumnType.BOOLEAN: "bool",
    ColumnType.DECIMAL: "numeric",
    ColumnType.DOUBLE: "float8",
    ColumnType.JSON: "bytea",
    ColumnType.TEXT: "text",
    ColumnType.TIMESTAMP: "int8",
}

_MICROSECONDS_TO_2000: Final = 946_684_800_000_000

CANCEL_SECONDS_MAX: Final = 2.0
"""How long PostgreSQL is asked to end a statement, before the connection is closed."""


class _AnyYear(TimestamptzLoader):
    """Timestamps as datetimes; those outside the years 1 to 9999 as the server's text."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class PostgresConnection(SqlConnection):
    """One connection.

    Args:
        driver: in autocommit mode, with the cursor that takes `$1` for a value.
        read_only: the session was opened so.
    """

    driver: psycopg.Connection[tuple[Any, ...]]
    errors = (psycopg.Error, UnicodeEncodeError)
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(server_message)

    def __init__(
        self, driver: psycopg.Connection[tuple[Any, ...]], *, read_only: bool = False
    ) -> None:
        self.dialect = PostgresDialect()
        self.driver = driver
        self._read_only = read_only

    def translate(self, error: Exception) -> TreadleError:
        """Return the meaning of an error of a statement."""
        if self._read_only and isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            # The session refuses to write, and will; a server that does so is a standby.
            return OperatorError(self.message(error))
        return translate(error)

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement; returns how many rows it wrote."""
        with _noting_statement(statement):
            return self.driver.execute(statement.encode(), values or None).rowcount

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        with _noting_statement(statement):
            return self.driver.execute(statement.encode(), values or None).fetchall()

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's."""
        cursor = self.driver.cursor()
        cursor.adapters.register_loader("timestamptz", _AnyYear)
        # A pipeline speaks the extended protocol, which refuses several statements in one text.
        with self.driver.pipeline():
            cursor.execute(statement.encode())
        columns = tuple(column.name for column in cursor.description or ())
        return QueryResult(columns, cursor.fetchall() if cursor.description else [])

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's; the extended protocol takes no more than one."""
        cursor = self.driver.cursor()
        cursor.adapters.register_loader("timestamptz", _AnyYear)
        with closing(_stream_rows(cursor, statement.encode())) as rows:
            first = next(rows, None)
            if first is None:
                yield QueryStream(self._name_columns(statement), iter(()))
                return
            columns = tuple(column.name for column in cursor.description or ())
            yield QueryStream(columns, _batch_rows(chain([first], rows)))

    def _name_columns(self, statement: str) -> tuple[str, ...]:
        """Return the columns of a statement without running it."""
        # The driver tells none of what has given no row.
        driver = self.driver.pgconn
        if driver.prepare(b"", statement.encode()).status != pq.ExecStatus.COMMAND_OK:
            return ()
        found = driver.describe_prepared(b"")
        return tuple((found.fname(at) or b"").decode() for at in range(found.nfields))

    def interrupt(self) -> None:
        """End the statement that runs; from any thread."""
        with suppress(psycopg.Error):
            self.driver.cancel_safe(timeout=CANCEL_SECONDS_MAX)

    def run_within(self, statement: str, seconds: float) -> list[tuple[Any, ...]]:
        """Run a question, and end it when it takes too long."""
        milliseconds = max(int(seconds * 1000), 1)
        try:
            with self.driver.transaction():
                self.driver.execute(f"SET LOCAL statement_timeout = {milliseconds:d}".encode())
                return self.driver.execute(statement.encode()).fetchall()
        except psycopg.Error:
            with suppress(psycopg.Error):
                self.rollback()
            raise

    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of COMMIT means."""
        if self.driver.broken or self.driver.closed:
            return CommitUnknownError(
                f"the connection to PostgreSQL broke during COMMIT: {self.message(error)}"
            )
        return self.translate(error)

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Copy values into a new temporary table that goes with the transaction."""
        place = self.dialect.quote("pg_temp", title)
        types = self.dialect.types
        self.run(
            compose(
                "CREATE TEMPORARY TABLE {place} ({columns}) ON COMMIT DROP",
                place=place,
                columns=join(
                    ", ",
                    (
                        compose("{name} {type}", name=name, type=types[type_])
                        for name, type_, _ in fields
                    ),
                ),
            )
        )
        self._copy(place, fields)
        return place

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Copy rows into a relation; returns how many there were."""
        quote = self.dialect.quote
        given, _ = partition_columns(rows)
        return self._copy(
            target, [(quote(each.name), each.type, rows.columns[each.name]) for each in given]
        )

    def _copy(self, target: Quoted, fields: Sequence[Field]) -> int:
        order = copy_format.order_fields([type_ for _, type_, _ in fields])
        sent = [(fields[at][1], fields[at][2]) for at in order]
        statement = compose(
            "COPY {target} ({names}) FROM STDIN (FORMAT binary)",
            target=target,
            names=join(", ", (fields[at][0] for at in order)),
        )
        cursor = self.driver.cursor()
        stream = copy_format.encode_rows(sent)
        with _noting_statement(statement), cursor.copy(statement.encode()) as copy:
            if stream is not None:
                for piece in stream:
                    copy.write(piece)
            else:
                copy.set_types([_COPIED_AS[type_] for type_, _ in sent])
                write = copy.write_row
                values = [_wire_values(type_, to_values(column)) for type_, column in sent]
                for row in zip(*values, strict=True):
                    write(row)
        return cursor.rowcount


def _wire_values(type_: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    if type_ is ColumnType.TIMESTAMP:
        return [None if at is None else at - _MICROSECONDS_TO_2000 for at in values]
    if type_ is ColumnType.JSON:
        return [None if text is None else b"\x01" + text.encode() for text in values]
    return values


@contextmanager
def _noting_statement(statement: Quoted) -> Iterator[None]:
    """Note the statement at a refusal for a right: the server names a table without its schema."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        error.add_note(statement)
        raise


def _stream_rows(
    cursor: psycopg.Cursor[tuple[Any, ...]], statement: bytes
) -> Generator[tuple[Any, ...], None, None]:
    """Give the rows of a statement; those of a statement without rows are none."""
    # One by one takes longer, and libpq gives several together from 17 on.
    size = STREAMED_ROWS if psycopg.capabilities.has_stream_chunked() else 1
    try:
        yield from cursor.stream(statement, size=size)
    except psycopg.Error as error:
        # After an error libpq would give the rows of a pipeline in chunks, too, which the driver
        # does not expect. A statement outside of a pipeline ends that.
        with suppress(psycopg.Error):
            cursor.connection.execute(b"SELECT")
        # The driver's own, of a statement such as SET.
        if error.sqlstate is not None or not isinstance(error, psycopg.ProgrammingError):
            raise


def _batch_rows(rows: Iterator[tuple[Any, ...]]) -> Iterator[ValueBatch]:
    while batch := list(islice(rows, STREAMED_ROWS)):
        yield list(zip(*batch, strict=True))
