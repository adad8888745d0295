"""The connection of readers: opened again when it was lost, and reads that go on past damage."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import Connection

from treadle.errors import OperatorError
from treadle.log.postgres import schema, statements
from treadle.log.postgres.connection import (
    Row,
    connect_reader,
    describe_error,
    make_member,
    make_parameters,
    translate_error,
)
from treadle.log.postgres.entry_rows import encode_int4s
from treadle.log.postgres.installation import read_timeline
from treadle.log.postgres.outcome import is_damage

T = TypeVar("T")

LOOK_SECONDS: Final = 0.02
"""How long what was seen of a log counts for a reader that asks after others did."""

RETRY_SECONDS: Final = 0.25
"""Pause between two attempts to connect."""

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


class SharedConnection:
    """A connection that the readers of several logs of one database share, for one thread.

    It is opened when it is used first, and again when it was lost, then to whichever server takes
    writes. It is closed when the last reader is.

    Args:
        parameters: of the connection; see `connection.make_parameters`.
    """

    def __init__(self, parameters: str) -> None:
        self._parameters = parameters
        self._connection: Connection[Row] | None = None
        self._logs: list[int] = []
        """The logs of the readers that use it."""
        self._looks: dict[int, Row] = {}
        self._looked_at = -math.inf
        self._failure: str | None = None
        self._failed_at = -math.inf
        self.generation = 0
        """Grows each time the connection is opened: it may be to another server."""
        self.timeline = 0
        """Of the server."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that was not lost."""
        return self._connection is not None and not self._connection.closed

    def open(self) -> Connection[Row]:
        """Return the connection, opened where there is none.

        Raises:
            psycopg.Error: no server that takes writes can be reached.
        """
        if self._connection is not None:
            return self._connection
        if self._failure is not None and time.monotonic() - self._failed_at < RETRY_SECONDS:
            raise psycopg.OperationalError(self._failure)  # the others ask right after the first
        self._failure = None
        try:
            connection = connect_reader(self._parameters)
        except psycopg.OperationalError as error:
            self._failure, self._failed_at = str(error), time.monotonic()
            raise
        try:
            for setting in statements.READER_SETTINGS:
                connection.execute(setting.encode())
            self.timeline = read_timeline(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self.generation += 1
        return connection

    def lose(self) -> None:
        """Close the connection; the next use opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._looks = {}

    def join(self, log: int) -> None:
        """Note one more reader."""
        self._logs.append(log)

    def leave(self, log: int) -> None:
        """Note one reader less, and close with the last one."""
        self._logs.remove(log)
        if not self._logs:
            self.lose()

    def look(self, log: int) -> Row:
        """Return how far a log is: its greatest position, mark and table id.

        One statement asks for all logs whose readers are here. Those that ask right after have the
        answer, once.

        Raises:
            OperatorError: there is no such log.
        """
        now = time.monotonic()
        if now - self._looked_at > LOOK_SECONDS or log not in self._looks:
            numbers = encode_int4s(sorted(set(self._logs)))
            rows = self.open().execute(statements.LOOK.encode(), (numbers,)).fetchall()
            self._looks = {int(number): tuple(its) for number, *its in rows}
            self._looked_at = now
        found = self._looks.pop(log, None)
        if found is None:
            raise make_missing_log_error(log)
        return found


def connect_shared(url: str, member: str | None = None) -> SharedConnection:
    """Make a connection for the readers of several logs of a database; it is opened by the first.

    Raises:
        OperatorError: it is no URL of PostgreSQL.
    """
    return SharedConnection(make_parameters(url, make_member() if member is None else member))


class ReaderConnection:
    """Reads one log; blocking, for one thread.

    Args:
        shared: the connection to the log's database.
        log: the log's number.
        forget: called when the connection was made anew: it may be another server, which lacks
            what was read last.
        log_id: the name that the log has to have; None for that of the first connection.
    """

    def __init__(
        self,
        shared: SharedConnection,
        log: int,
        forget: Callable[[], None] = lambda: None,
        log_id: str | None = None,
    ) -> None:
        self._shared = shared
        self.log = log
        self._forget = forget
        self._generation = 0
        self._log_id = log_id
        self._is_closed = False
        self.is_in_look = False
        """Inside `run_in_look`, where an error ends all that is read."""
        shared.join(log)

    def run(self, ask: Callable[[], T]) -> T:
        """Run something that reads; once more where the connection was lost or a segment dropped.

        Raises:
            RetriableError, OperatorError: it cannot be read now, or at all.
        """
        try:
            return self._run(ask)
        except psycopg.Error as error:
            if not (self.is_lost(error) or error.sqlstate in _STALE):
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

    def is_lost(self, error: psycopg.Error) -> bool:
        """Return whether an error has ended the connection."""
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            return True
        return not self._shared.is_open

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

    def run_with(self, ask: Callable[[Connection[Row]], T]) -> T:
        """Run something that uses the connection itself."""
        return ask(self._open())

    def look(self) -> Row:
        """Return the log's greatest position, mark and table id."""
        self._open()
        return self._shared.look(self.log)

    def list_segments(self, above: int = 0) -> list[int]:
        """Return the segments that may hold positions above one, in order."""
        rows = self.execute(statements.SEGMENTS_ABOVE, self.log, above)
        return [int(segment) for (segment,) in rows]

    def close(self) -> None:
        """Use the connection no more; the last of its readers closes it."""
        if not self._is_closed:
            self._is_closed = True
            self._shared.leave(self.log)

    def _run(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except psycopg.Error as error:
            if self.is_lost(error):
                self._shared.lose()
            raise

    def _open(self) -> Connection[Row]:
        connection = self._shared.open()
        if self._generation == self._shared.generation:
            return connection
        try:
            # Before anything is read: what a lost end of the log had is above the jump no more.
            connection.execute(
                statements.FOLLOW_TIMELINE.encode(), (self.log, self._shared.timeline)
            )
            log_id = self._read_log_id(connection)
        except BaseException:
            self._shared.lose()
            raise
        if self._log_id not in (None, log_id):
            self._shared.lose()
            raise make_other_log_error(self.log)
        self._log_id = log_id
        self._generation = self._shared.generation
        self._forget()
        return connection

    def _read_log_id(self, connection: Connection[Row]) -> str:
        row = connection.execute(statements.READ_LOG.encode(), (self.log,)).fetchone()
        if row is None:
            raise make_missing_log_error(self.log)
        log_id, state, _, _, form = row
        obstacle = schema.find_obstacle(self.log, state, form)
        if obstacle is not None:
            raise OperatorError(obstacle)
        return str(log_id)

    def fetch_log_id(self) -> str:
        """Return the log's name.

        Raises:
            OperatorError: there is no such log, or it is a newer treadle's.
        """
        return self._read_log_id(self._open())


def make_missing_log_error(log: int) -> OperatorError:
    """Return the error for a log that its database does not have."""
    return OperatorError(
        f"the log's database has no log {log}: name another database, or add the log"
    )


def make_other_log_error(log: int) -> OperatorError:
    """Return the error for a log whose place another one has taken."""
    return OperatorError(
        f"another log has taken the place of log {log} in its database: bring the database back "
        "that has the log of the store"
    )


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
