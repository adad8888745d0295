"""The log on this machine: one SQLite file in WAL mode, each commit fsynced.

What it promises is in `protocol`. Writers in several processes take turns by a lock file. Readers
never wait for them.

The way of an entry: `append` gathers the requests of one turn of the event loop and hands them to
the log's thread. That thread takes all that wait as a group, writes the group in one transaction
(`group_commit`), and answers its requests on their event loops. So one fsync serves as many
requests as arrived during the one before it.
"""

import asyncio
import logging
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from treadle import failpoint
from treadle.errors import InternalError, OperatorError, RetriableError, TreadleError
from treadle.log.append_intake import (
    PENDING_BYTES_MAX,
    AppendIntake,
    PendingAppend,
    answer_waiters,
)
from treadle.log.protocol import (
    AppendResult,
    AppendUnknownError,
    AppendWaiter,
    DamagedEntry,
    IdempotencyKey,
    LogEntry,
    NewEntry,
    TableBacklog,
    TrimPoint,
    make_older_log_error,
)
from treadle.log.quota import LogQuota, LogSpace
from treadle.log.sqlite import statements
from treadle.log.sqlite.backlog import BacklogCounter
from treadle.log.sqlite.entries import EntryReader
from treadle.log.sqlite.group_commit import GroupWriter
from treadle.log.sqlite.log_file import (
    CACHE_KIB,
    FileConnector,
    LogWriteLock,
    is_damage,
    open_log_file,
    open_sqlite,
    read_end_position,
    translate_errors,
    write_transaction,
)
from treadle.log.sqlite.statistics import (
    DELETE_PAUSE_S,
    DELETE_ROWS_MAX,
    SqliteStatistics,
    measure_space,
)
from treadle.log.sqlite.table_ids import TableIds
from treadle.log.sqlite.write_watch import WriteWatch
from treadle.quotas import QuotaReachedError

logger = logging.getLogger("treadle.log")

# Payload bytes of one group: bounds how long the first of a group waits for the others'
# compression, about 20 ms.
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024

# Entries of a request that shares a group with others. One of 20,000 takes 70 ms, and several times
# as long on a busy machine: smaller ones that wait already are written before it.
GROUPED_ENTRIES_MAX: Final = 1024

# How often the log and its disk are measured.
QUOTA_CHECK_S: Final = 0.25

# While a write takes longer than this, new requests are turned away at once, because they would
# wait behind it.
WRITE_TIMEOUT_S: Final = 10.0

# Entries read again after the disk failed, from the end: what the last groups wrote.
REOPEN_CHECK_ENTRIES: Final = 64


class SqliteAppender:
    """The writing side of the log (`protocol.LogAppender`).

    Opening blocks for a moment. A thread of its own writes: it takes all requests that wait, makes
    them durable in one transaction, and answers them together.

    Args:
        path: the log's file, made where missing.
        connect: opens it; the seam to the disk.
        pending_bytes_max: payload bytes that may wait for the disk; more is turned away with
            `RetriableError`. One request alone is always taken.
        quota: bounds of the log; beyond them appends are turned away with `RetriableError`.
        measure: says how full the log is; the seam for tests of the bounds.
        report_failure: called for each group that the disk did not take.
        get_tables_max: source id -> how many tables it may have, 0 for any; a request that would
            add more is turned away with `QuotaReachedError`.
        report_commit: called in the thread that writes with the microseconds of each commit, its
            fsync included.
    """

    def __init__(
        self,
        path: Path,
        *,
        connect: FileConnector = open_sqlite,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        quota: LogQuota | None = None,
        measure: Callable[[sqlite3.Connection, Path], LogSpace] = measure_space,
        report_failure: Callable[[], None] = lambda: None,
        get_tables_max: Callable[[int], int] = lambda source_id: 0,
        report_commit: Callable[[int], None] = lambda microseconds: None,
    ) -> None:
        self._path = path
        self._connect = connect
        self._connection, self._lock, self.log_id = open_log_file(path, connect, durable=True)
        self._quota = quota
        self._measure = measure
        self._report_failure = report_failure
        self._get_tables_max = get_tables_max
        self._report_commit = report_commit
        self._shortage: str | None = None
        self._quota_checked_at = -math.inf
        self._write_began_at: float | None = None  # when the group that is being written was begun
        self._handed_over: queue.SimpleQueue[list[PendingAppend] | None] = queue.SimpleQueue()
        self._intake = AppendIntake(
            self._handed_over.put, self.find_refusal, "the log's disk", pending_bytes_max
        )
        self._thread = threading.Thread(target=self._run_writer, name="treadle-log", daemon=True)
        self._thread.start()

    async def append(self, entries: Sequence[NewEntry]) -> int:
        """Make entries durable, all or none; see `protocol.LogAppender.append`.

        A caller that stops waiting does not know whether they are in the log, or will be. While
        the disk does not answer an earlier write, later requests are turned away.
        """
        return (await self._intake.submit(entries, None)).first

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        """Make entries durable unless their key is known; see `LogAppender.append_once`."""
        return await self._intake.submit(entries, once)

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        """Begin an append without a task that waits; see `protocol.LogAppender.begin_append`."""
        self._intake.begin(entries, waiter)

    def find_silence(self) -> float:
        """Return 0: a file answers, or an append fails."""
        return 0.0

    def find_refusal(self) -> str | None:
        """Return why the log takes nothing now; None when it does."""
        lacking = self._shortage
        if lacking is not None and time.monotonic() - self._quota_checked_at < QUOTA_CHECK_S:
            return lacking
        begun = self._write_began_at
        if begun is not None and time.monotonic() - begun > WRITE_TIMEOUT_S:
            return f"the log's disk has not answered for {time.monotonic() - begun:.0f} s"
        return None

    async def aclose(self) -> None:
        """Finish the appends that were begun, then close; a second time does nothing."""
        self._intake.begin_closing()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._intake.close()

    def _run_writer(self) -> None:
        writer = self._make_writer(self._connection, self._lock)
        # Requests of many entries, each written by itself, in turns with all that are smaller.
        large: deque[PendingAppend] = deque()
        try:
            closing = False
            while large or not closing:
                waiting, closing = self._take_waiting(wait=not large) if not closing else ([], True)
                if any(len(one.entries) > GROUPED_ENTRIES_MAX for one in waiting):
                    large += [one for one in waiting if len(one.entries) > GROUPED_ENTRIES_MAX]
                    waiting = [one for one in waiting if len(one.entries) <= GROUPED_ENTRIES_MAX]
                for group in (waiting, [large.popleft()]) if large else (waiting,):
                    if group:
                        self._write_began_at = time.monotonic()
                        writer = self._write_group(writer, group)
                        self._write_began_at = None
        finally:
            self._connection.close()
            self._lock.close()

    def _make_writer(self, connection: sqlite3.Connection, lock: LogWriteLock) -> GroupWriter:
        return GroupWriter(connection, lock, self._get_tables_max, self._note_commit)

    def _note_commit(self, microseconds: int) -> None:
        """Report a commit: whatever becomes of that, its entries are durable."""
        try:
            self._report_commit(microseconds)
        except Exception:
            logger.exception("a commit of the log could not be noted")

    def _note_failure(self) -> None:
        """Report a group that the disk did not take; its requests still have to be answered."""
        try:
            self._report_failure()
        except Exception:
            logger.exception("a failed write to the log could not be noted")

    def _take_waiting(self, *, wait: bool) -> tuple[list[PendingAppend], bool]:
        """Return the requests that wait, up to the bound of a group; and whether none follows.

        Args:
            wait: until there is one.
        """
        taken: list[PendingAppend] = []
        cost = 0
        # This thread alone takes from the queue: what is there stays until it is taken.
        while cost < GROUP_BYTES_MAX and ((wait and not taken) or not self._handed_over.empty()):
            handed = self._handed_over.get()
            if handed is None:
                return taken, True
            for waiting in handed:
                if waiting.waiter.cancelled():  # nobody waits; its sender may send it again
                    self._intake.release(waiting.cost)
                else:
                    taken.append(waiting)
                    cost += waiting.cost
        return taken, False

    def _write_group(self, writer: GroupWriter, group: list[PendingAppend]) -> GroupWriter:
        """Write a group and answer its requests; return the writer for the next group."""
        outcome: list[AppendResult | QuotaReachedError] | TreadleError
        try:
            with translate_errors():
                if writer.failed:
                    writer = self._reopen()
                self._check_quota()
                outcome = writer.write(group)
        except (RetriableError, OperatorError) as error:
            outcome = RetriableError(str(error))
            outcome.__cause__ = error
            if self._shortage is None:
                self._note_failure()
        except AppendUnknownError as error:
            outcome = error
            self._note_failure()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            outcome = InternalError(f"the log could not write a group of entries ({error!r})")
            outcome.__cause__ = error
        self._intake.release(sum(waiting.cost for waiting in group))
        failpoint.reach("log.answer")
        each = [outcome] * len(group) if isinstance(outcome, TreadleError) else outcome
        answer_waiters(zip(group, each, strict=True))
        return writer

    def _check_quota(self) -> None:
        """Raise RetriableError where the log takes no more."""
        now = time.monotonic()
        if self._quota is None or now - self._quota_checked_at < QUOTA_CHECK_S:
            return
        self._shortage = self._quota.find_shortage(self._measure(self._connection, self._path))
        self._quota_checked_at = now
        if self._shortage is not None:
            raise RetriableError(self._shortage)

    def _reopen(self) -> GroupWriter:
        """Open the log again after its disk failed, and check the last entries.

        Until this succeeds every group is refused. What the file held in memory of a failed write
        is forgotten with the old connection.

        Raises:
            sqlite3.Error, OSError, TreadleError: it is not to be trusted yet.
        """
        connection, lock, log_id = open_log_file(self._path, self._connect, durable=True)
        try:
            if log_id != self.log_id:
                raise OperatorError(  # noqa: TRY301 - the connection is closed below
                    f"another log has taken the place of {self._path}: start treadle again"
                )
            writer = self._make_writer(connection, lock)
            writer.overwrite_failed_commit()
            end = read_end_position(connection)
            rows = EntryReader(connection).find_entries(
                max(1, end - REOPEN_CHECK_ENTRIES + 1), REOPEN_CHECK_ENTRIES
            )
            for one in rows:
                if isinstance(one, DamagedEntry):
                    logger.error(
                        "entry %d of the log is damaged since its disk failed: %s",
                        one.position,
                        one.why,
                    )
        except BaseException:
            connection.close()
            lock.close()
            raise
        self._connection.close()
        self._lock.close()
        self._connection, self._lock = connection, lock
        logger.warning("the log was opened again and verified; it takes records")
        return writer


class SqliteReader:
    """The reading side of the log (`protocol.LogReader`).

    Marks are collected and written at the next `list_backlogs`, `trim` or `close`. Any number of
    readers may be open; each sees the marks of the others.

    Args:
        path: the log's file, made where missing.
        connect: opens it; the seam to the disk.
        cache_kib: see `open_log_file`.
    """

    def __init__(
        self, path: Path, *, connect: FileConnector = open_sqlite, cache_kib: int = CACHE_KIB
    ) -> None:
        self._connection, self._lock, self.log_id = open_log_file(
            path, connect, durable=False, cache_kib=cache_kib
        )
        self._entries = EntryReader(self._connection)
        self._marks: dict[tuple[int, str], int] = {}
        self._table_ids = TableIds(self._connection)
        self._backlog = BacklogCounter(self._connection)
        self._watch = WriteWatch(path)
        self.statistics = SqliteStatistics(self._connection, path, self._lock, self._table_ids)
        self._end = 0

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Do nothing: one loader reads this log, and all of it."""

    def list_backlogs(self) -> list[TableBacklog]:
        """Return the backlog of each table; see `protocol.LogReader.list_backlogs`."""
        with translate_errors():
            self._write_marks()
            return self._backlog.refresh()

    def sense_append(self) -> bool:
        """Return whether the file was written since the last call."""
        return self._watch.sense_write()

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[LogEntry | DamagedEntry]:
        """Read entries of one table above a position; see `protocol.LogReader.read`.

        Bytes are those of the payloads, uncompressed, as in `TableBacklog.size`.
        """
        found: list[LogEntry | DamagedEntry] = []
        records = size = 0
        with translate_errors():
            table_id = self._table_ids.find(source_id, table_name)
            if table_id is None:
                return found
            for row in self._entries.read_table(table_id, source_id, table_name, after):
                entry = self._entries.restore_entry(row)
                if isinstance(entry, LogEntry):  # numbers of a damaged one mean nothing
                    records += entry.records
                    size += len(entry.payload)
                    if found and (records > records_max or size > bytes_max):
                        break
                found.append(entry)
        return found

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        """Return the entries at some positions; see `protocol.LogReader.find_entries`."""
        with translate_errors():
            return self._entries.find_entries(first, count)

    def get_anchor(self, position: int) -> bytes | None:
        """Return the checksum of an entry; see `protocol.LogReader.get_anchor`."""
        with translate_errors():
            try:
                row = self._connection.execute(statements.READ_CHECKSUM, (position,)).fetchone()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                return None
        checksum = None if row is None else row[0]
        if not isinstance(checksum, int) or not 0 <= checksum < 2**32:  # none, or damaged
            return None
        return checksum.to_bytes(4, "big")

    def mark_loaded(self, source_id: int, table_name: str, position: int) -> None:
        """Note that everything up to a position was loaded; see `protocol.LogReader.mark_loaded`.

        Raises:
            OperatorError: the log never gave that position: it is an older copy of the log that
                was loaded, and what it accepts now would be taken for loaded.
        """
        if position > self._end:
            with translate_errors():
                self._end = read_end_position(self._connection)
            if position > self._end:
                raise make_older_log_error(
                    (source_id, table_name),
                    position,
                    self._end,
                    "an older copy of the log was brought back; put the newer one in its place, or "
                    "start with a new log file",
                )
        self._marks[source_id, table_name] = position

    def trim(self, points: Sequence[TrimPoint]) -> int:
        """Remove entries at or below the positions of tables; see `protocol.LogReader.trim`."""
        with translate_errors():
            self._write_marks()
            return sum(self._trim_table(*point) for point in points)

    def close(self) -> None:
        """Write the marks, then close."""
        try:
            with translate_errors():
                self._write_marks()
        finally:
            self._connection.close()
            self._lock.close()

    def _trim_table(self, source_id: int, table_name: str, position: int) -> int:
        """Remove a table's entries at or below a position, in steps."""
        table_id = self._table_ids.find(source_id, table_name)
        if table_id is None:
            return 0
        has = self._connection.execute(statements.HAS_ENTRIES_UP_TO, (table_id, position))
        if has.fetchone() is None:
            return 0
        removed = 0
        while True:
            try:
                with self._lock:
                    gone = self._trim_batch(table_id, position)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                return removed + self._trim_one_by_one(table_id, position)
            removed += gone
            if gone < DELETE_ROWS_MAX:
                return removed
            time.sleep(DELETE_PAUSE_S)

    def _trim_batch(self, table_id: int, position: int) -> int:
        with write_transaction(self._connection):
            (number,) = self._connection.execute(statements.NEXT_MARK).fetchone()
            place = min(position, read_end_position(self._connection))
            self._connection.execute(statements.MARK_TRIMMED, (place, number, table_id))
            values = (table_id, position, DELETE_ROWS_MAX)
            gone = self._connection.execute(statements.TRIM, values).rowcount
            failpoint.reach("log.trim")
            return gone

    def _trim_one_by_one(self, table_id: int, position: int) -> int:
        """Remove the entries one by one; damaged rows that cannot be removed stay."""
        removed = 0
        places = self._connection.execute(statements.POSITIONS_OF_TABLE, (table_id, 0)).fetchall()
        for (place,) in places:
            if place > position:
                break
            try:
                with self._lock, write_transaction(self._connection):
                    removed += self._connection.execute(statements.TRIM_ONE, (place,)).rowcount
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
        return removed

    def _write_marks(self) -> None:
        if not self._marks:
            return
        failpoint.reach("log.before-marks")
        with self._lock, write_transaction(self._connection):
            (number,) = self._connection.execute(statements.NEXT_MARK).fetchone()
            self._connection.executemany(
                statements.MARK,
                [(*table, position, number) for table, position in self._marks.items()],
            )
        failpoint.reach("log.after-marks")
        self._marks.clear()
