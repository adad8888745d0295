"""A reader's connection: opened again when it was lost, and reads that go on past damage."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import Connection

from treadle.errors import OperatorError
from treadle.log.postgres import schema, statements
from treadle.log.postgres.connection import (
    Row,
    connect_reader,
    describe_error,
    translate_error,
)
from treadle.log.postgres.installation import read_timeline
from treadle.log.postgres.outcome import is_damage

T = TypeVar("T")

_STALE: Sequence[str] = ("42P01", "25P02")
"""A segment that was dropped meanwhile; a transaction that such an error has ended."""


class DamagedRow(NamedTuple):
    """A row that the server cannot read.

    Attributes:
        position: of the entry.
        why: the server's message.
    """

    position: int
    why: str


class ReaderConnection:
    """Reads one log; blocking, for one thread.

    Args:
        parameters: of the connection; see `connection.make_parameters`.
        log: the log's number.
        forget: called when the connection was made anew: it may be another server, which lacks
            what was read last.
    """

    def __init__(
        self, parameters: str, log: int, forget: Callable[[], None] = lambda: None
    ) -> None:
        self._parameters = parameters
        self.log = log
        self._forget = forget
        self._connection: Connection[Row] | None = None
        self.is_in_look = False
        """Inside `run_in_look`, where an error ends all that is read."""

    def run(self, ask: Callable[[], T]) -> T:
        """Run something that reads; once more where the connection was lost or a segment dropped.

        Raises:
            RetriableError, OperatorError: it cannot be read now, or at all.
        """
        try:
            return self._run(ask)
        except psycopg.Error as error:
            if not (self._is_lost(error) or error.sqlstate in _STALE):
                raise translate_error(error) from error
        try:
            return self._run(ask)
        except psycopg.Error as error:
            raise translate_error(error) from error

    def execute(self, statement: str, *values: Any) -> list[Row]:
        """Run a statement; return its rows."""
        return self._open().execute(statement.encode(), values).fetchall()

    def change(self, statement: str, *values: Any) -> int:
        """Run a statement that writes; return how many rows it wrote."""
        return self._open().execute(statement.encode(), values).rowcount

    def run_in_look(self, ask: Callable[[], T]) -> T:
        """Run something that sees one state of the database."""
        connection = self._open()
        connection.execute(statements.BEGIN_LOOK.encode())
        self.is_in_look = True
        try:
            return ask()
        finally:
            self.is_in_look = False
            if not connection.closed:
                connection.rollback()

    def run_in_transaction(self, ask: Callable[[], T]) -> T:
        """Run something that writes, as a whole or not at all."""
        with self._open().transaction():
            return ask()

    def list_segments(self, above: int = 0) -> list[int]:
        """Return the segments that may hold positions above one, in order."""
        rows = self.execute(statements.SEGMENTS_ABOVE, self.log, above)
        return [int(segment) for (segment,) in rows]

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except psycopg.Error as error:
            if self._is_lost(error):
                self.close()
            raise

    def _is_lost(self, error: psycopg.Error) -> bool:
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            return True
        return self._connection is None or self._connection.closed

    def _open(self) -> Connection[Row]:
        if self._connection is not None:
            return self._connection
        connection = connect_reader(self._parameters)
        try:
            for setting in statements.READER_SETTINGS:
                connection.execute(setting.encode())
            # Before anything is read: what a lost end of the log had is above the jump no more.
            timeline = read_timeline(connection)
            connection.execute(statements.FOLLOW_TIMELINE.encode(), (self.log, timeline))
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._forget()
        return connection

    def fetch_log_id(self) -> str:
        """Return the log's name.

        Raises:
            OperatorError: there is no such log, or it is a newer treadle's.
        """
        rows = self.execute(statements.READ_LOG, self.log)
        if not rows:
            raise OperatorError(
                f"the log's database has no log {self.log}: name another database, or add the log"
            )
        log_id, _, _, _, form = rows[0]
        if form > schema.FORM:
            raise OperatorError(
                f"log {self.log} was made by a newer treadle (its form is {form}, this one knows "
                f"{schema.FORM}): install that version again"
            )
        return str(log_id)


def read_around_damage(
    read: Callable[[int, int], list[T]], after: int, last: int
) -> Iterator[T | DamagedRow]:
    """Read a stretch of positions, and go on past what the server cannot read.

    Args:
        read: returns what lies above a position and up to another one, in order.
        after: where the stretch begins, exclusive.
        last: where it ends.

    Yields:
        What was read, and a `DamagedRow` for each position that cannot be read.
    """
    try:
        yield from read(after, last)
    except psycopg.Error as error:
        if not is_damage(error.sqlstate):
            raise
        if last - after <= 1:
            yield DamagedRow(last, describe_error(error))
            return
    else:
        return
    middle = (after + last) // 2
    yield from read_around_damage(read, after, middle)
    yield from read_around_damage(read, middle, last)
