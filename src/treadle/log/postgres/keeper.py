"""Keeps the segments of a log: makes the next one, seals those that ended, and drops old ones.

One process keeps a log at a time; a second one does no harm, since each step is a transaction.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import psycopg
from psycopg import Connection

from treadle import failpoint
from treadle.clock import read_clock
from treadle.errors import OperatorError
from treadle.log.postgres import statements
from treadle.log.postgres.connection import (
    Row,
    connect_reader,
    describe_error,
    make_member,
    make_parameters,
    translate_errors,
)
from treadle.log.postgres.installation import make_segment
from treadle.log.postgres.schema import LATER_INDEXES, name_segment
from treadle.log.postgres.segment_choice import (
    LogSegment,
    count_rescued_max,
    is_rescue_due,
    list_overdue,
    list_unfrozen,
    list_unsealed,
    should_switch,
)

logger = logging.getLogger("treadle.log")

KEEP_SECONDS: Final = 10.0
"""How often a log is to be kept."""

_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '1s'"


class KeeperConnection:
    """The connection of who keeps logs of one database, for one thread.

    It stays open: to make one takes longer than to look whether something is due.

    Args:
        url: of the database; see `connection.make_parameters`.
        member: who connects, as the database shows it; by default the machine and the process.
    """

    def __init__(self, url: str, member: str | None = None) -> None:
        self._parameters = make_parameters(url, make_member() if member is None else member)
        self._connection: Connection[Row] | None = None

    def open(self) -> Connection[Row]:
        """Return the connection, opened where there is none.

        Raises:
            psycopg.Error: no server that takes writes can be reached.
        """
        if self._connection is None:
            connection = connect_reader(self._parameters)
            try:
                for setting in statements.KEEPER_SETTINGS:
                    connection.execute(setting.encode())
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class LogKeeper:
    """Keeps one log; blocking, for one thread.

    Args:
        connection: to its database. It may be that of keepers of other logs there.
        number: the log's.
        retention_us: how long entries are kept after they were loaded, microseconds.
        bytes_max: what the log may hold (`log_bytes`); 0 for any.
        clock: microseconds since 1970.
        should_switch_segment: decides when the log goes on in a new segment; by default
            `segment_choice.should_switch`.
    """

    def __init__(
        self,
        connection: KeeperConnection,
        number: int,
        retention_us: int,
        *,
        bytes_max: int = 0,
        clock: Callable[[], int] = read_clock,
        should_switch_segment: Callable[..., bool] | None = None,
    ) -> None:
        self._connection = connection
        self._log = number
        self._retention_us = retention_us
        self._clock = clock
        self._should_switch = should_switch_segment or partial(
            should_switch, log_bytes_max=bytes_max
        )
        self._left: dict[int, int] = {}
        """Overdue segment -> when it was found that too much of it waits to be copied."""
        self._missing: dict[str, str] = {}
        """Index that could not be made -> why."""

    def keep(self) -> None:
        """Do what is due.

        Raises:
            OperatorError: there is no such log, or the database refuses.
            RetriableError: the database is not available now; it is tried again the next time.
        """
        try:
            with translate_errors():
                self._keep(self._connection.open())
        except BaseException:
            self._connection.close()
            raise

    def _keep(self, connection: Connection[Row]) -> None:
        self._add_indexes(connection)
        current = self._read_current(connection)
        segments = self._list_segments(connection)
        if current + 1 not in [one.number for one in segments]:
            make_segment(connection, self._log, current + 1, None, self._clock())
        if self._is_switch_due(connection, segments, current):
            self._switch(connection, current)
            current += 1
            make_segment(connection, self._log, current + 1, None, self._clock())
            segments = self._list_segments(connection)
        ended = list_unsealed(segments, current)
        for segment in ended:
            self._seal(connection, segment)
        for segment in list_unfrozen(segments, self._clock()):
            self._freeze(connection, segment)
        now = self._clock()
        overdue = list_overdue(segments, now, self._retention_us)
        left, self._left = self._left, {}
        for one in overdue:
            if is_rescue_due(left.get(one.number), now):
                self._rescue(connection, one)
            else:
                self._left[one.number] = left[one.number]
        if ended or any(one.sealed_at is not None for one in segments):
            drop_segments(connection, self._log)

    def _add_indexes(self, connection: Connection[Row]) -> None:
        """Make the indexes that a log of an earlier release lacks.

        Others go on meanwhile: where the tables are in use for a second, it is done the next time.
        """
        names = list(LATER_INDEXES)
        for (name,) in connection.execute(statements.LIST_MISSING.encode(), (names,)).fetchall():
            try:
                with connection.transaction():
                    connection.execute(_LOCK_TIMEOUT.encode())
                    connection.execute(statements.NEED_NO_STANDBY.encode())
                    connection.execute(statements.LOCK_SCHEMA.encode())
                    connection.execute(LATER_INDEXES[name].encode())
            except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege) as error:
                said = describe_error(error)
                if self._missing.get(name) != said:
                    logger.info("the index %s cannot be made now: %s", name, said)
                self._missing[name] = said
            else:
                logger.info("made the index %s, which an earlier release did not know", name)

    def _read_current(self, connection: Connection[Row]) -> int:
        row = connection.execute(statements.READ_LOG.encode(), (self._log,)).fetchone()
        if row is None:
            raise OperatorError(f"the log's database has no log {self._log}")
        return int(row[2])

    def _list_segments(self, connection: Connection[Row]) -> list[LogSegment]:
        rows = connection.execute(statements.LIST_SEGMENTS.encode(), (self._log,)).fetchall()
        return [LogSegment(*row) for row in rows]

    def _is_switch_due(
        self, connection: Connection[Row], segments: Sequence[LogSegment], current: int
    ) -> bool:
        table = name_segment(self._log, current)
        row = connection.execute(statements.SEGMENT_BYTES.encode(), (table,)).fetchone()
        used = int(row[0]) if row and row[0] else 0
        has = connection.execute(f"SELECT 1 FROM {table} LIMIT 1".encode()).fetchone()  # noqa: S608
        made_at = next((one.made_at for one in segments if one.number == current), 0)
        return self._should_switch(used, made_at, self._clock(), has_entries=has is not None)

    def _switch(self, connection: Connection[Row], current: int) -> None:
        """Let the log go on in its next segment."""
        with connection.transaction():
            row = connection.execute(
                statements.SWITCH_SEGMENT.encode(), (self._log, current)
            ).fetchone()
            if row is None:  # another keeper did
                return
            last = int(row[0])
            connection.execute(statements.END_SEGMENT.encode(), (self._log, current, last))
            connection.execute(
                statements.BEGIN_SEGMENT.encode(),
                (self._log, current + 1, last + 1, self._clock()),
            )
            failpoint.reach("keeper.switch")

    def _seal(self, connection: Connection[Row], segment: int) -> None:
        """Note what an ended segment holds, which changes no more."""
        with connection.transaction():
            connection.execute(statements.make_note_tables(self._log, segment).encode())
            connection.execute(
                statements.make_seal_segment(self._log, segment).encode(), (self._clock(),)
            )
        connection.execute(f"ANALYZE {name_segment(self._log, segment)}".encode())

    def _freeze(self, connection: Connection[Row], segment: int) -> None:
        """Freeze the rows of a segment that is kept for long, before the server has to."""
        connection.execute(f"VACUUM (FREEZE) {name_segment(self._log, segment)}".encode())
        connection.execute(statements.NOTE_FROZEN.encode(), (self._log, segment, self._clock()))

    def _rescue(self, connection: Connection[Row], overdue: LogSegment) -> None:
        """Copy the few entries that cannot be loaded out of an old segment, and drop the rest."""
        segment, most = overdue.number, count_rescued_max(overdue.entries or 0)
        try:
            with connection.transaction():
                counting = statements.make_count_stuck(self._log, segment).encode()
                row = connection.execute(counting, (most + 1,)).fetchone()
                if row is None or int(row[0]) > most:
                    self._left[segment] = self._clock()
                    return
                connection.execute(_LOCK_TIMEOUT.encode())
                connection.execute(statements.make_rescue(self._log, segment).encode())
                for statement in (statements.FORGET_SEGMENT_TABLES, statements.FORGET_SEGMENT):
                    connection.execute(statement.encode(), (self._log, segment))
                connection.execute(statements.make_drop_segment(self._log, segment).encode())
        except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
            logger.info("segment %d of log %d is read; it is dropped later", segment, self._log)


def drop_segments(connection: Connection[Row], log: int) -> int:
    """Drop the segments whose tables may all be trimmed; return how many entries went.

    A segment that somebody reads stays until the next time.
    """
    removed = 0
    rows = connection.execute(statements.DROPPABLE_SEGMENTS.encode(), (log,)).fetchall()
    for segment, entries in rows:
        try:
            with connection.transaction():
                connection.execute(_LOCK_TIMEOUT.encode())
                for statement in (statements.FORGET_SEGMENT_TABLES, statements.FORGET_SEGMENT):
                    connection.execute(statement.encode(), (log, segment))
                connection.execute(statements.make_drop_segment(log, segment).encode())
                failpoint.reach("keeper.drop")
        except psycopg.errors.LockNotAvailable:
            continue
        removed += int(entries)
    return removed
