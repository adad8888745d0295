"""A connection by psycopg 3, to any database that speaks libpq's protocol."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from typing import Any, ClassVar, Final

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader

from treadle.destinations.libpq.errors import (
    POSTGRES,
    is_missing,
    is_refused_change,
    server_message,
    translate,
)
from treadle.destinations.protocol import (
    CommitUnknownError,
    QueryResult,
    QueryStream,
    RowRefusedError,
    ValueBatch,
)
from treadle.destinations.sql.connection import STREAMED_ROWS, SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import Quoted
from treadle.errors import OperatorError, TableStoppedError, TreadleError

CANCEL_SECONDS_MAX: Final = 2.0
"""How long a server is asked to end a statement, before the connection is closed."""

UNHURRIED: Final = Quoted("SET statement_timeout TO 86400000")
HURRIED: Final = Quoted("SET statement_timeout TO 900000")
"""A day, and the quarter of an hour that a session has from its beginning, in milliseconds."""


class _AnyYear(TimestamptzLoader):
    """Timestamps as datetimes; those outside the years 1 to 9999 as the server's text."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class LibpqConnection(SqlConnection):
    """One connection.

    Args:
        dialect: how statements are spelled.
        driver: in autocommit mode, with the cursor that takes `$1` for a value.
        read_only: the session was opened so.

    Attributes:
        server: the name of the kind of server, for errors.
    """

    server: ClassVar[str] = POSTGRES
    driver: psycopg.Connection[tuple[Any, ...]]
    errors = (psycopg.Error, UnicodeEncodeError)
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(server_message)

    def __init__(
        self,
        dialect: SqlDialect,
        driver: psycopg.Connection[tuple[Any, ...]],
        *,
        read_only: bool = False,
    ) -> None:
        self.dialect = dialect
        self.driver = driver
        self._read_only = read_only

    def translate(self, error: Exception) -> TreadleError:
        """Return the meaning of an error of a statement."""
        if self._read_only and isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            # The session refuses to write, and will; a server that does so is a standby.
            return OperatorError(self.message(error))
        is_alive = not (self.driver.broken or self.driver.closed)
        return translate(error, self.server, is_alive=is_alive)

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement; returns how many rows it wrote."""
        with noting_statement(statement):
            return self.driver.execute(statement.encode(), values or None).rowcount

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Give statements about whole tables a day; see `SqlConnection.unhurried`.

        A peer that is gone is noticed meanwhile, and locks are waited for as before.
        """
        self.run(UNHURRIED)
        try:
            yield
        finally:
            # Where the transaction has failed, it is undone with it.
            with suppress(psycopg.Error):
                self.run(HURRIED)

    def define(self, statement: Quoted) -> None:
        """Execute a schema change; see `SqlConnection.define`.

        Event triggers of users raise what triggers of rows do, and the rows that a change may find
        unfit are there already. A version is copied row by row, and may hold rows of this load. And
        columns of a record may be too many.
        """
        try:
            self.run(statement)
        except psycopg.Error as error:
            fault = self.translate(error)
            may_be_row = statement.startswith("INSERT") or (error.sqlstate or "").startswith("54")
            if not isinstance(fault, RowRefusedError) or may_be_row:
                raise
            raise TableStoppedError(
                f"{self.server} refused a change of the schema, for which no record is to blame: "
                f"{self.message(error)}"
            ) from error

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        with noting_statement(statement):
            return self.driver.execute(statement.encode(), values or None).fetchall()

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's."""
        cursor = self._make_cursor()
        # A pipeline speaks the extended protocol, which refuses several statements in one text.
        with self.driver.pipeline():
            cursor.execute(statement.encode())
        columns = tuple(column.name for column in cursor.description or ())
        return QueryResult(columns, cursor.fetchall() if cursor.description else [])

    def _make_cursor(self) -> psycopg.Cursor[tuple[Any, ...]]:
        cursor = self.driver.cursor()
        cursor.adapters.register_loader("timestamptz", _AnyYear)
        return cursor

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's; the extended protocol takes no more than one."""
        cursor = self._make_cursor()
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
                f"the connection to {self.server} broke during COMMIT: {self.message(error)}"
            )
        return self.translate(error)


@contextmanager
def noting_statement(statement: Quoted) -> Iterator[None]:
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
