"""Several logs as one: what an installation with more than one log opens in place of a single one.

What is asked by source goes to the log of the source, and what is asked of all is put together. A
position says nothing without its log, so who has one chooses the log first (`choose_reader`). With
one log nothing of this is used: its own appender and reader are.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from treadle.errors import InternalError, RetriableError
from treadle.log.protocol import (
    FIRST_LOG,
    AppendResult,
    AppendWaiter,
    DamagedEntry,
    EntryNote,
    HourlyRecords,
    IdempotencyKey,
    LogAppender,
    LogEntry,
    LogReader,
    LogStatistics,
    NewEntry,
    TableBacklog,
    TrimPoint,
)
from treadle.log.quota import LogSpace


class SourceNumbers:
    """The numbers of the logs of sources, as far as they are known; any thread may ask.

    A source stays on its log, so what is known once is never asked again.

    Args:
        find_number: asks for the log number of a source.
    """

    def __init__(self, find_number: Callable[[int], int]) -> None:
        self._find_number = find_number
        self._known: dict[int, int] = {}
        self._lock = threading.Lock()

    def note_number(self, source_id: int, number: int) -> None:
        """Note the log of a source, so that it need not be asked for."""
        self._known[source_id] = number

    def get_number(self, source_id: int) -> int:
        """Return the log number of a source."""
        found = self._known.get(source_id)
        if found is None:
            with self._lock:
                found = self._known[source_id] = self._find_number(source_id)
        return found


class JoinedAppender:
    """The appenders of all logs as one (`protocol.LogAppender`).

    The entries of an append are of one source, as those of a request are.

    Args:
        appenders: log number -> its appender. They are closed with this one.
        numbers: knows the log of each source. It is asked on the event loop, so the sources of what
            is appended were noted before.
    """

    def __init__(self, appenders: Mapping[int, LogAppender], numbers: SourceNumbers) -> None:
        self._appenders = appenders
        self._numbers = numbers

    @property
    def log_id(self) -> str:
        """Refuse to name one of them.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    @property
    def log_ids(self) -> list[str]:
        """Return the ids of all of them."""
        return [one.log_id for one in self._appenders.values()]

    def find_log_id(self, source_id: int) -> str:
        """Return the id of a source's log; raises like `choose`."""
        return self.choose(source_id).log_id

    def note_source(self, source_id: int, number: int) -> bool:
        """Note the log of a source; return whether it is open here."""
        self._numbers.note_number(source_id, number)
        return number in self._appenders

    def choose(self, source_id: int) -> LogAppender:
        """Return the appender of a source's log.

        Raises:
            RetriableError: this process did not open that log.
        """
        number = self._numbers.get_number(source_id)
        found = self._appenders.get(number)
        if found is None:
            raise RetriableError(
                f"source {source_id} is on log {number}, which this process has not opened: it "
                "was added later, so start treadle again"
            )
        return found

    async def append(self, entries: Sequence[NewEntry]) -> int:
        """Make entries durable, all or none; see `protocol.LogAppender.append`."""
        return await self.choose(entries[0].source_id).append(entries)

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        """Make entries durable unless their key is known; see `LogAppender.append_once`."""
        return await self.choose(entries[0].source_id).append_once(entries, once)

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        """Begin an append without a task that waits; see `protocol.LogAppender.begin_append`."""
        self.choose(entries[0].source_id).begin_append(entries, waiter)

    async def aclose(self) -> None:
        """Finish the appends that were begun, then close all."""
        for appender in self._appenders.values():
            await appender.aclose()


class JoinedReader:
    """The readers of all logs as one (`protocol.LogReader`), for one thread.

    Args:
        readers: log number -> its reader. They are closed with this one.
        numbers: knows the log of each source.
    """

    def __init__(self, readers: Mapping[int, LogReader], numbers: SourceNumbers) -> None:
        self.readers = readers
        self._numbers = numbers
        self.statistics = JoinedStatistics(self)

    @property
    def log_id(self) -> str:
        """Refuse to name one of them.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    @property
    def log_ids(self) -> list[str]:
        """Return the ids of all of them."""
        return [one.log_id for one in self.readers.values()]

    def find_log_id(self, source_id: int) -> str:
        """Return the id of a source's log; raises like `choose`."""
        return self.choose(source_id).log_id

    def choose(self, source_id: int) -> LogReader:
        """Return the reader of a source's log.

        Raises:
            RetriableError: this process did not open that log.
        """
        return self.get_reader(self._numbers.get_number(source_id))

    def get_reader(self, number: int) -> LogReader:
        """Return the reader of a log.

        Raises:
            RetriableError: this process did not open that log.
        """
        found = self.readers.get(number)
        if found is None:
            raise RetriableError(
                f"log {number} was added after this process began: start treadle again"
            )
        return found

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Say which tables are counted; see `protocol.LogReader.share_tables`."""
        for reader in self.readers.values():
            reader.share_tables(slots, loaded)

    def list_backlogs(self) -> list[TableBacklog]:
        """Return the backlogs of all logs; see `protocol.LogReader.list_backlogs`."""
        return [one for reader in self.readers.values() for one in reader.list_backlogs()]

    def sense_append(self) -> bool:
        """Return whether something may have been appended; see `protocol.LogReader`."""
        sensed = [reader.sense_append() for reader in self.readers.values()]
        return any(sensed)

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[LogEntry | DamagedEntry]:
        """Read entries of one table above a position; see `protocol.LogReader.read`."""
        return self.choose(source_id).read(source_id, table_name, after, records_max, bytes_max)

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        """Refuse: the positions are those of one log.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    def get_anchor(self, position: int) -> bytes | None:
        """Refuse: the position is that of one log.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    def mark_loaded(self, source_id: int, table_name: str, position: int) -> None:
        """Note how far a table is loaded; see `protocol.LogReader.mark_loaded`."""
        self.choose(source_id).mark_loaded(source_id, table_name, position)

    def trim(self, points: Sequence[TrimPoint]) -> int:
        """Remove entries of tables of all logs; see `protocol.LogReader.trim`."""
        of_logs: dict[int, list[TrimPoint]] = {number: [] for number in self.readers}
        for point in points:
            number = self._numbers.get_number(point.source_id)
            if number in of_logs:
                of_logs[number].append(point)
        return sum(self.readers[number].trim(some) for number, some in of_logs.items())

    def close(self) -> None:
        """Close all logs for this reader."""
        with ExitStack() as stack:
            for reader in self.readers.values():
                stack.callback(reader.close)


class JoinedStatistics:
    """The statistics of all logs as one (`protocol.LogStatistics`)."""

    def __init__(self, reader: JoinedReader) -> None:
        self._reader = reader

    def _list_parts(self) -> list[LogStatistics]:
        return [one.statistics for one in self._reader.readers.values()]

    def list_tables(self) -> list[tuple[int, str]]:
        """Return the tables of all logs; see `protocol.LogStatistics.list_tables`."""
        return [key for part in self._list_parts() for key in part.list_tables()]

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Count records above a position; see `protocol.LogStatistics`."""
        its = self._reader.choose(source_id).statistics
        return its.count_records_above(source_id, table_name, position)

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        """Count records by the hour of their acceptance; see `protocol.LogStatistics`."""
        its = self._reader.choose(source_id).statistics
        return its.count_by_hour(source_id, table_name, loaded)

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        """Refuse: the positions are those of one log.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        """Refuse: the position is that of one log.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    def find_keys(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """Refuse: the answer would be positions of several logs.

        Raises:
            InternalError: always.
        """
        raise _make_choice_error()

    def forget_keys(self, before: int) -> int:
        """Forget names stored before a time; see `protocol.LogStatistics.forget_keys`."""
        return sum(part.forget_keys(before) for part in self._list_parts())

    def measure_space(self) -> LogSpace:
        """Measure all logs together: the bytes that all hold, and the least that one can grow."""
        return join_spaces([part.measure_space() for part in self._list_parts()])


def join_spaces(spaces: Sequence[LogSpace]) -> LogSpace:
    """Return the space of several logs together.

    Logs on one disk have the same room to grow, so it is that of the log with the least.
    """
    free = [one.free_bytes for one in spaces if one.free_bytes is not None]
    return LogSpace(sum(one.used_bytes for one in spaces), min(free, default=None))


def choose_reader(reader: LogReader, source_id: int) -> LogReader:
    """Return the reader of a source's log, of one that may stand for several."""
    return reader.choose(source_id) if isinstance(reader, JoinedReader) else reader


def list_readers(reader: LogReader) -> Mapping[int, LogReader]:
    """Return log number -> reader, of a reader that may stand for several logs.

    A single log has the number 0, for who has no other.
    """
    return reader.readers if isinstance(reader, JoinedReader) else {FIRST_LOG: reader}


def get_log_id(reader: LogReader, source_id: int) -> str:
    """Return the id of a source's log."""
    return choose_reader(reader, source_id).log_id


def get_appender_id(appender: LogAppender, source_id: int) -> str:
    """Return the id of a source's log, of an appender that may stand for several."""
    if isinstance(appender, JoinedAppender):
        return appender.find_log_id(source_id)
    return appender.log_id


def make_source_check(appender: LogAppender) -> Callable[[int, int], bool]:
    """Return what notes the number of a source's log and says whether that log is open."""
    if isinstance(appender, JoinedAppender):
        return appender.note_source
    return lambda source_id, number: number == FIRST_LOG


def _make_choice_error() -> InternalError:
    return InternalError("who asks about a position of several logs chooses the log first")
