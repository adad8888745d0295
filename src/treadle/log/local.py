"""The log on this machine: one SQLite file, written ahead, each commit fsynced.

The promise is in `protocol`. Writers of several processes take turns by a lock file; readers never
wait for them.
"""

import asyncio
import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle import crash
from treadle.errors import Defect, OperatorFault, TreadleError, TryLater
from treadle.log import sql
from treadle.log.codec import PLAIN_BYTES_MAX, Codec, Packed, packed
from treadle.log.counting import Counts, is_damage, stretch
from treadle.log.disk import Connect, connect, open_log, read_end, transaction, translated
from treadle.log.group import GroupWriter, Request
from treadle.log.protocol import Backlog, Damaged, Entry, Hour, NewEntry, Once, Stored, Waiter
from treadle.log.room import Room, Space, space
from treadle.log.rows import Rows

logger = logging.getLogger("treadle.log")

# Payload bytes that may wait for the disk before appends are turned away. A disk that takes
# 10 MB/s of compressed entries works this off in about half a second.
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024

# Payload bytes of one group: bounds how long the first of a group waits for the others'
# compression, about 20 ms.
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024

# Requests of one turn of the event loop are handed over together, up to so many bytes: the thread
# is woken once for them, and does not begin a group with the first alone.
GATHERED_BYTES_MAX: Final = 64 * 1024

# Requests of so many bytes are compressed by whoever hands them over, for about half a millisecond.
# The log's thread gives the interpreter's lock away to compress, and has to wait for it as long
# as the event loop decodes the next body, which takes longer than the compression.
PACKED_BYTES_MIN: Final = PLAIN_BYTES_MAX + 1
PACKED_BYTES_MAX: Final = 256 * 1024

# What an entry costs in memory besides its payload, so that many empty ones are bounded too.
ENTRY_OVERHEAD_BYTES: Final = 512

# How often the disk is asked for room.
ROOM_LOOK_S: Final = 0.25

# A write that takes longer holds up all that come after it: these are turned away at once.
STUCK_S: Final = 10.0

# Entries read again after the disk failed, from the end: what the last groups wrote.
VERIFIED_ENTRIES: Final = 64

# Entries removed in one transaction: some milliseconds, in which appends wait.
TRIM_ENTRIES: Final = 1000

# Between two such transactions, so that appends get their turn.
TRIM_PAUSE_S: Final = 0.002


@dataclass(slots=True)  # not frozen: that takes a microsecond more of each request
class _Waiting(Request):
    cost: int
    loop: asyncio.AbstractEventLoop
    done: Waiter


class LocalAppender:
    """The writing side (`protocol.Appender`).

    Opening blocks for a moment. A thread of its own writes: it takes all requests that wait, makes
    them durable in one transaction, and answers them together.

    Args:
        path: the log's file, made where missing.
        connect: opens it; the seam to the disk.
        waiting_bytes_max: payload bytes that may wait; more is turned away with `TryLater`. One
            request alone is always taken.
        room: bounds of the log; beyond them appends are turned away with `TryLater`.
        failed: told of each group that the disk did not take.
    """

    def __init__(
        self,
        path: Path,
        *,
        connect: Connect = connect,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        room: Room | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._connect = connect
        self._connection, self._lock, self._log_id = open_log(path, connect, durable=True)
        self._codec = Codec()
        self._packing = threading.Lock()  # of `_codec`
        self._room = room
        self._failed = failed
        self._lacking: str | None = None
        self._looked = -math.inf
        self._begun: float | None = None  # when the group that is being written was begun
        self._waiting_bytes_max = waiting_bytes_max
        self._waiting_bytes = 0
        self._state = threading.Lock()  # of what waits and is gathered, and `_closing`
        self._closing = False
        self._gathered: list[_Waiting] = []
        self._gathered_bytes = 0
        self._requests: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="treadle-log", daemon=True)
        self._thread.start()

    @property
    def log_id(self) -> str:
        """The log's name: a UUID, made with the log."""
        return self._log_id

    async def append(self, entries: Sequence[NewEntry]) -> int:
        """Make entries durable, all or none; see `protocol.Appender.append`.

        Whoever stops waiting does not know whether they are in the log, or will be. While the disk
        does not answer what was begun, all that comes after is turned away.
        """
        return (await self._put(entries, None)).first

    async def append_once(self, entries: Sequence[NewEntry], once: Once) -> Stored:
        """The same for a request that may come again; see `protocol.Appender.append_once`."""
        return await self._put(entries, once)

    def begin(self, entries: Sequence[NewEntry], waiter: Waiter) -> None:
        """The same for who waits in another way; see `protocol.Appender.begin`."""
        self._hand(entries, None, waiter)

    def _put(self, entries: Sequence[NewEntry], once: Once | None) -> asyncio.Future[Stored]:
        """Hand a request to the thread that writes; gives what becomes of it."""
        done = asyncio.get_running_loop().create_future()
        self._hand(entries, once, done)
        return done

    def _hand(self, entries: Sequence[NewEntry], once: Once | None, waiter: Waiter) -> None:
        size = 0
        for entry in entries:
            size += len(entry.payload)
            if not entry.table_name.isascii():
                _check_name(entry.table_name)
        cost = size + len(entries) * ENTRY_OVERHEAD_BYTES
        if not cost:
            raise Defect("an append holds at least one entry, found none")
        crash.point("log.append")
        lacking = self._lacking
        if lacking is not None and time.monotonic() - self._looked < ROOM_LOOK_S:
            raise TryLater(lacking)
        begun = self._begun
        if begun is not None and time.monotonic() - begun > STUCK_S:
            raise TryLater(f"the log's disk has not answered for {time.monotonic() - begun:.0f} s")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(entries, once, self._packed(entries, size), cost, loop, waiter)
        with self._state:
            if self._closing:
                raise TryLater("the log is being closed")
            if self._waiting_bytes and self._waiting_bytes + cost > self._waiting_bytes_max:
                raise TryLater(
                    f"{self._waiting_bytes} bytes wait for the log's disk already, more than fits"
                )
            self._waiting_bytes += cost
            self._gathered.append(waiting)
            self._gathered_bytes += cost
            if self._gathered_bytes >= GATHERED_BYTES_MAX:
                self._hand_over()
            elif len(self._gathered) == 1 or self._gathered[0].loop is not loop:
                loop.call_soon(self._hand_over_in_turn)

    def _packed(self, entries: Sequence[NewEntry], size: int) -> list[Packed] | None:
        """The payloads as they are stored; None where the thread that writes is to do it."""
        if not PACKED_BYTES_MIN <= size <= PACKED_BYTES_MAX:
            return None
        if not self._packing.acquire(blocking=False):  # the loop of another thread is at it
            return None
        try:
            return [packed(self._codec, entry.payload) for entry in entries]
        finally:
            self._packing.release()

    def _hand_over_in_turn(self) -> None:
        with self._state:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread what was gathered; the caller holds `_state`."""
        if self._gathered:
            self._requests.put(self._gathered)
            self._gathered, self._gathered_bytes = [], 0

    async def aclose(self) -> None:
        """Finish the appends that were begun, then close; a second time does nothing."""
        with self._state:
            if not self._closing:
                self._closing = True
                self._hand_over()
                self._requests.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        writer = GroupWriter(self._connection, self._lock)
        try:
            closing = False
            while not closing:
                group, closing = self._next_group()
                if group:
                    self._begun = time.monotonic()
                    writer = self._serve(writer, group)
                    self._begun = None
        finally:
            self._connection.close()
            self._lock.close()

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """All requests that wait, up to the bound of a group; and whether they are the last."""
        handed = self._requests.get()
        group: list[_Waiting] = []
        cost = 0
        while handed is not None:
            for waiting in handed:
                if waiting.done.cancelled():  # nobody waits; its sender may send it again
                    with self._state:
                        self._waiting_bytes -= waiting.cost
                else:
                    group.append(waiting)
                    cost += waiting.cost
            if cost >= GROUP_BYTES_MAX:
                return group, False
            try:
                handed = self._requests.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _serve(self, writer: GroupWriter, group: list[_Waiting]) -> GroupWriter:
        """Write a group and answer it; returns the writer for the next one."""
        outcome: list[Stored] | TreadleError
        try:
            with translated():
                if writer.failed:
                    writer = self._reopened()
                self._look_for_room()
                outcome = writer.write(group)
        except (TryLater, OperatorFault) as error:
            outcome = TryLater(str(error))
            outcome.__cause__ = error
            if self._lacking is None:
                self._failed()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            outcome = Defect(f"the log could not write a group of entries ({error!r})")
            outcome.__cause__ = error
        with self._state:
            self._waiting_bytes -= sum(waiting.cost for waiting in group)
        crash.point("log.answer")
        each = [outcome] * len(group) if isinstance(outcome, TreadleError) else outcome
        loops: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, Stored | TreadleError]]] = {}
        for waiting, its in zip(group, each, strict=True):
            loops.setdefault(waiting.loop, []).append((waiting, its))
        for loop, answers in loops.items():
            try:
                loop.call_soon_threadsafe(_answer, answers)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue
        return writer

    def _look_for_room(self) -> None:
        """Raise TryLater where there is no room for more."""
        now = time.monotonic()
        if self._room is None or now - self._looked < ROOM_LOOK_S:
            return
        self._lacking = self._room.lacking(self._room.look(self._connection, self._path))
        self._looked = now
        if self._lacking is not None:
            raise TryLater(self._lacking)

    def _reopened(self) -> GroupWriter:
        """Open the log anew after its disk failed, and check that what was promised is there.

        Until this succeeds every group is refused. What the file held in memory of a failed write
        is forgotten with the old connection.

        Raises:
            sqlite3.Error, OSError, TreadleError: it is not to be trusted yet.
        """
        connection, lock, log_id = open_log(self._path, self._connect, durable=True)
        try:
            if log_id != self._log_id:
                raise OperatorFault(  # noqa: TRY301 - the connection is closed below
                    f"another log has taken the place of {self._path}: start treadle again"
                )
            writer = GroupWriter(connection, lock)
            writer.overwrite()
            end = read_end(connection)
            rows = Rows(connection).find(max(1, end - VERIFIED_ENTRIES + 1), VERIFIED_ENTRIES)
            for one in rows:
                if isinstance(one, Damaged):
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


def _answer(answers: list[tuple[_Waiting, Stored | TreadleError]]) -> None:
    for waiting, outcome in answers:
        if waiting.done.done():
            continue  # whoever waited was cancelled
        if isinstance(outcome, TreadleError):
            waiting.done.set_exception(outcome)
        else:
            waiting.done.set_result(outcome)


def _check_name(table_name: str) -> None:
    try:
        table_name.encode()
    except UnicodeEncodeError as error:
        raise Defect(f"a table name holds no unpaired surrogates, found {table_name!r}") from error


class LocalReader:
    """The reading side (`protocol.Reader`).

    Marks are collected and written at the next `backlog`, `trim` or `close`. Any number of readers
    may be open; each sees the marks of the others.

    Args:
        path: the log's file, made where missing.
        connect: opens it; the seam to the disk.
    """

    def __init__(self, path: Path, *, connect: Connect = connect) -> None:
        self._connection, self._lock, self._log_id = open_log(path, connect, durable=False)
        self._path = path
        self._rows = Rows(self._connection)
        self._marks: dict[tuple[int, str], int] = {}
        self._ids: dict[tuple[int, str], int] = {}
        self._counts = Counts(self._connection)
        self._end = 0

    @property
    def log_id(self) -> str:
        """The log's name: a UUID, made with the log."""
        return self._log_id

    def backlog(self) -> list[Backlog]:
        """What waits, one element per table; see `protocol.Reader.backlog`."""
        with translated():
            self._write_marks()
            return self._counts.refresh()

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[Entry | Damaged]:
        """Entries of one table above a position; see `protocol.Reader.read`.

        Bytes are those of the payloads, uncompressed, as in `Backlog.size`.
        """
        found: list[Entry | Damaged] = []
        records = size = 0
        with translated():
            table_id = self._table_id(source_id, table_name)
            if table_id is None:
                return found
            for row in self._rows.of_table(table_id, source_id, table_name, after):
                entry = self._rows.entry(row)
                if isinstance(entry, Entry):  # numbers of a damaged one mean nothing
                    records += entry.records
                    size += len(entry.payload)
                    if found and (records > records_max or size > bytes_max):
                        break
                found.append(entry)
        return found

    def find(self, first: int, count: int) -> list[Entry | Damaged]:
        """The entries at some positions that are still kept; see `protocol.Reader.find`."""
        with translated():
            return self._rows.find(first, count)

    def mark(self, source_id: int, table_name: str, position: int) -> None:
        """Note that everything up to a position was loaded; see `protocol.Reader.mark`.

        Raises:
            OperatorFault: the log never gave that position: it is an older copy of the log that
                was loaded, and what it accepts now would be taken for loaded.
        """
        if position > self._end:
            with translated():
                self._end = read_end(self._connection)
            if position > self._end:
                raise OperatorFault(
                    f"table {table_name} of source {source_id} is loaded up to {position}, but "
                    f"this log ends at {self._end}: an older copy of the log was brought back; put "
                    f"the newer one in its place, or start with a new log file"
                )
        self._marks[source_id, table_name] = position

    def trim(self, source_id: int, table_name: str, position: int) -> int:
        """Remove entries at or below a position; see `protocol.Reader.trim`."""
        with translated():
            self._write_marks()
            table_id = self._table_id(source_id, table_name)
            if table_id is None:
                return 0
            if self._connection.execute(sql.ANY_UP_TO, (table_id, position)).fetchone() is None:
                return 0
            removed = 0
            while True:
                try:
                    with self._lock:
                        gone = self._trim_some(table_id, position)
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    return removed + self._trim_one_by_one(table_id, position)
                removed += gone
                if gone < TRIM_ENTRIES:
                    return removed
                time.sleep(TRIM_PAUSE_S)

    def tables(self) -> list[tuple[int, str]]:
        """Every table that ever had an entry; see `protocol.Reader.tables`."""
        with translated():
            return [tuple(row) for row in self._connection.execute(sql.TABLES)]

    def records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Records above a position; see `protocol.Reader.records_above`."""
        with translated():
            table_id = self._table_id(source_id, table_name)
            if table_id is None:
                return 0
            end = read_end(self._connection)
            return sum(one.records for one in stretch(self._connection, table_id, position, end))

    def hours(self, source_id: int, table_name: str, loaded: int) -> list[Hour]:
        """Records of each hour; see `protocol.Reader.hours`."""
        with translated():
            table_id = self._table_id(source_id, table_name)
            if table_id is None:
                return []
            return [Hour(*row) for row in self._connection.execute(sql.HOURS, (table_id, loaded))]

    def received(self, positions: Sequence[int]) -> dict[int, int]:
        """When entries were accepted; see `protocol.Reader.received`."""
        found: dict[int, int] = {}
        with translated():
            for position in positions:
                row = self._connection.execute(sql.RECEIVED, (position,)).fetchone()
                if row is not None and isinstance(row[0], int):
                    found[position] = row[0]
        return found

    def stored(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """Where requests of some names are; see `protocol.Reader.stored`."""
        found: dict[bytes, int] = {}
        with translated():
            for name in names:
                row = self._connection.execute(sql.FIRST_OF_REQUEST, (name,)).fetchone()
                if row is not None:
                    found[name] = int(row[0])
        return found

    def forget(self, before: int) -> int:
        """Forget names stored before a time; see `protocol.Reader.forget`."""
        forgotten = 0
        with translated():
            # Without the lock: whoever holds it may hang with its disk.
            if self._connection.execute(sql.ANY_REQUEST_BEFORE, (before,)).fetchone() is None:
                return 0
            while True:
                with self._lock, transaction(self._connection):
                    gone = self._connection.execute(sql.FORGET, (before, TRIM_ENTRIES)).rowcount
                forgotten += gone
                if gone < TRIM_ENTRIES:
                    return forgotten
                time.sleep(TRIM_PAUSE_S)

    def space(self) -> Space:
        """How full the log is; see `protocol.Reader.space`."""
        with translated():
            return space(self._connection, self._path)

    def close(self) -> None:
        """Write the marks, then close."""
        try:
            with translated():
                self._write_marks()
        finally:
            self._connection.close()
            self._lock.close()

    def _trim_some(self, table_id: int, position: int) -> int:
        with transaction(self._connection):
            (number,) = self._connection.execute(sql.NEXT_MARK).fetchone()
            place = min(position, read_end(self._connection))
            self._connection.execute(sql.MARK_TRIMMED, (place, number, table_id))
            values = (table_id, position, TRIM_ENTRIES)
            gone = self._connection.execute(sql.TRIM, values).rowcount
            crash.point("log.trim")
            return gone

    def _trim_one_by_one(self, table_id: int, position: int) -> int:
        """Remove what can be removed; damaged rows that cannot stay."""
        removed = 0
        places = self._connection.execute(sql.POSITIONS_OF, (table_id, 0)).fetchall()
        for (place,) in places:
            if place > position:
                break
            try:
                with self._lock, transaction(self._connection):
                    removed += self._connection.execute(sql.TRIM_ONE, (place,)).rowcount
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
        return removed

    def _write_marks(self) -> None:
        if not self._marks:
            return
        crash.point("log.before-marks")
        with self._lock, transaction(self._connection):
            (number,) = self._connection.execute(sql.NEXT_MARK).fetchone()
            self._connection.executemany(
                sql.MARK,
                [(*table, position, number) for table, position in self._marks.items()],
            )
        crash.point("log.after-marks")
        self._marks.clear()

    def _table_id(self, source_id: int, table_name: str) -> int | None:
        key = (source_id, table_name)
        known = self._ids.get(key)
        if known is None:
            row = self._connection.execute(sql.TABLE_ID, key).fetchone()
            if row is None:
                return None
            known = int(row[0])
            self._ids[key] = known
        return known
