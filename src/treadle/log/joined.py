"""Several logs as one: what an installation with more than one log opens in place of a single one.

What is asked by source goes to the log of the source, and what is asked of all is put together. A
position says nothing without its log, so who has one chooses the log first (`choose_reader`). With
one log nothing of this is used: its own appender and reader are.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, Generic, Protocol, TypeVar

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
    LogInfo,
    LogReader,
    LogState,
    LogStatistics,
    NewEntry,
    TableBacklog,
    TrimPoint,
)
from treadle.log.quota import LogSpace

logger = logging.getLogger("treadle.log")

FOLLOW_SECONDS: Final = 5.0
"""How often a process looks for logs that were added."""

MISSING_SECONDS: Final = 1.0
"""How often a worker tries to open a log that was not available: its senders wait for that."""

Part = TypeVar("Part", bound=LogAppender | LogReader)
Part_co = TypeVar("Part_co", bound=LogAppender | LogReader, covariant=True)
T = TypeVar("T")


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


class JoinedLogs(Generic[Part]):
    """The logs of an installation, each opened as one part; the base of what stands for all.

    Args:
        parts: log number -> what was opened. They are closed with this one.
        numbers: knows the log of each source.
        follow: finds and opens logs that were not there, or not available, when this was opened;
            None where that does not happen.
    """

    def __init__(
        self,
        parts: Mapping[int, Part],
        numbers: SourceNumbers,
        follow: "LogFollower[Part] | None" = None,
    ) -> None:
        self._parts: Mapping[int, Part] = dict(parts)
        self._numbers = numbers
        self._follow = follow
        self.is_complete = follow is None
        """Whether no log is known to be missing here; so not before the first look for that."""
        self._log_ids = {number: part.log_id for number, part in parts.items()}
        if follow is not None:
            self._note_log_ids(follow.list_logs())

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
        return list(self._log_ids.values())

    def find_log_id(self, source_id: int) -> str:
        """Return the id of a source's log, which need not be open.

        Raises:
            RetriableError: this process does not know that log.
        """
        number = self._numbers.get_number(source_id)
        found = self._log_ids.get(number)
        return self.get_part(number).log_id if found is None else found

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of all of them, also of those that are not open."""
        return sorted(self._log_ids)

    @property
    def follows(self) -> bool:
        """Whether logs may be missing that are opened later."""
        return self._follow is not None

    @property
    def open_numbers(self) -> list[int]:
        """Return the numbers of those that are open."""
        return [*self._parts]

    def find_number(self, source_id: int) -> int:
        """Return the number of a source's log."""
        return self._numbers.get_number(source_id)

    def has_part(self, number: int) -> bool:
        """Return whether a log is open here."""
        return number in self._parts

    def choose(self, source_id: int) -> Part:
        """Return the part of a source's log; raises like `get_part`."""
        return self.get_part(self._numbers.get_number(source_id))

    def get_part(self, number: int) -> Part:
        """Return the part of a log.

        Raises:
            RetriableError: this process did not open that log.
        """
        found = self._parts.get(number)
        if found is None:
            raise RetriableError(
                f"log {number} is not open in this process: it was added a moment ago, or is not "
                "available now"
            )
        return found

    def open_missing(self) -> None:
        """Open the logs that are not open yet; what is not available now is tried the next time.

        Raises:
            OperatorError: one cannot be opened.
            RetriableError: which logs there are cannot be found out now.
        """
        if self._follow is None:
            return
        logs = self._follow.list_logs()
        self._note_log_ids(logs)
        missing = False
        for one in logs:
            if one.number not in self._parts and self._is_wanted(one):
                try:
                    self._add_part(one.number, self._follow)
                except RetriableError:
                    missing = True
        self.is_complete = not missing

    def _note_log_ids(self, logs: Sequence[LogInfo]) -> None:
        """Note the ids of logs that are not open; the store does not know that of a new file."""
        known = {one.number: one.log_id for one in logs if one.log_id}
        self._log_ids = known | {number: part.log_id for number, part in self._parts.items()}

    @staticmethod
    def _is_wanted(log: LogInfo) -> bool:
        """Return whether a log is opened at all."""
        return log.state is not LogState.CLOSED

    def _add_part(self, number: int, follow: "LogFollower[Part]") -> Part:
        part = follow.open_part(number)
        self._log_ids = {**self._log_ids, number: part.log_id}
        self._parts = {**self._parts, number: part}  # whoever goes through the former one goes on
        return part


class LogFollower(Protocol[Part_co]):
    """Finds the logs that there are now, and opens one."""

    def list_logs(self) -> Sequence[LogInfo]:
        """Return all logs, by number.

        Raises:
            RetriableError: that cannot be found out now.
        """

    def open_part(self, number: int) -> Part_co:
        """Open a log.

        Raises:
            OperatorError: it cannot be opened.
            RetriableError: it is not available now.
        """


class JoinedAppender(JoinedLogs[LogAppender]):
    """The appenders of all logs as one (`protocol.LogAppender`).

    The entries of an append are of one source, as those of a request are. The numbers of the logs
    are asked for on the event loop, so the sources of what is appended were noted before.
    """

    def note_source(self, source_id: int, number: int) -> bool:
        """Note the log of a source; return whether it is open here."""
        self._numbers.note_number(source_id, number)
        return number in self._parts

    async def append(self, entries: Sequence[NewEntry]) -> int:
        """Make entries durable, all or none; see `protocol.LogAppender.append`."""
        return await self.choose(entries[0].source_id).append(entries)

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        """Make entries durable unless their key is known; see `LogAppender.append_once`."""
        return await self.choose(entries[0].source_id).append_once(entries, once)

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        """Begin an append without a task that waits; see `protocol.LogAppender.begin_append`."""
        self.choose(entries[0].source_id).begin_append(entries, waiter)

    def find_refusal(self) -> str | None:
        """Return why no log takes anything now; None while one does."""
        refusals = [one.find_refusal() for one in self._parts.values()]
        if None in refusals:
            return None
        return next(iter(refusals), "no log is available now")

    def find_silence(self) -> float:
        """Return for how many seconds no log has answered; all of them are asked."""
        return min((one.find_silence() for one in [*self._parts.values()]), default=0.0)

    async def aclose(self) -> None:
        """Finish the appends that were begun, then close all."""
        for appender in self._parts.values():
            await appender.aclose()


class JoinedReader(JoinedLogs[LogReader]):
    """The readers of all logs as one (`protocol.LogReader`), for one thread."""

    def __init__(
        self,
        parts: Mapping[int, LogReader],
        numbers: SourceNumbers,
        follow: LogFollower[LogReader] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read what was opened; see `JoinedLogs`.

        Args:
            parts: log number -> its reader.
            numbers: knows the log of each source.
            follow: opens further logs.
            monotonic: seconds.
        """
        super().__init__(parts, numbers, follow)
        self._monotonic = monotonic
        self._followed_at = monotonic()
        self._left_out: frozenset[int] = frozenset()
        self.statistics = JoinedStatistics(self)

    @staticmethod
    def _is_wanted(log: LogInfo) -> bool:
        """Return True: of a log that is closed is known that nothing is kept."""
        return True

    @property
    def readers(self) -> Mapping[int, LogReader]:
        """Return log number -> its reader."""
        return self._parts

    def get_part(self, number: int) -> LogReader:
        """Return the reader of a log; one that was added meanwhile is opened.

        Raises:
            OperatorError: it cannot be opened.
            RetriableError: it is not available now.
        """
        if number not in self._parts and self._follow is not None:
            return self._add_part(number, self._follow)
        return super().get_part(number)

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Say which tables are counted; see `protocol.LogReader.share_tables`."""
        for reader in self.readers.values():
            reader.share_tables(slots, loaded)

    def list_backlogs(self) -> list[TableBacklog]:
        """Return the backlogs of all logs; see `protocol.LogReader.list_backlogs`.

        Logs that were added meanwhile are opened, every few seconds.
        """
        self._open_added()
        return [one for reader in self.readers.values() for one in reader.list_backlogs()]

    def list_present_backlogs(self) -> list[TableBacklog]:
        """Return the backlogs of the logs that are available now.

        Raises:
            RetriableError: none is.
        """
        return [one for its in self.read_backlogs().values() for one in its]

    def read_backlogs(self) -> dict[int, list[TableBacklog]]:
        """Return log number -> its backlogs, of the logs that are available now.

        Logs that were added meanwhile are opened, every few seconds. A log line says which one is
        left out, and that it is read again.

        Raises:
            RetriableError: none is.
        """
        self._open_added()
        failures: dict[int, RetriableError] = {}
        found = _ask_available(self.readers, lambda number, its: its.list_backlogs(), failures)
        self._tell_left_out(failures)
        return found

    def _tell_left_out(self, failures: Mapping[int, RetriableError]) -> None:
        for number in sorted(failures.keys() - self._left_out):
            logger.warning("log %d is left out for now: %s", number, failures[number])
        for number in sorted(self._left_out - failures.keys()):
            logger.info("log %d is read again", number)
        self._left_out = frozenset(failures)

    def _open_added(self) -> None:
        if self._follow is not None and self._monotonic() - self._followed_at >= FOLLOW_SECONDS:
            self._followed_at = self._monotonic()
            self.open_missing()

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
        """Remove entries of tables of all logs that are available; see `LogReader.trim`."""
        of_logs: dict[int, list[TrimPoint]] = {number: [] for number in self.readers}
        for point in points:
            number = self._numbers.get_number(point.source_id)
            if number in of_logs:
                of_logs[number].append(point)
        trimmed = _ask_available(self.readers, lambda number, its: its.trim(of_logs[number]))
        return sum(trimmed.values())

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
        """Forget names stored before a time, in the logs that are available."""
        forgotten = _ask_available(
            self._reader.readers, lambda number, its: its.statistics.forget_keys(before)
        )
        return sum(forgotten.values())

    def measure_space(self) -> LogSpace:
        """Measure all logs together: the bytes that all hold, and the least that one can grow.

        Those that are not available now are left out.
        """
        spaces = _ask_available(
            self._reader.readers, lambda number, its: its.statistics.measure_space()
        )
        return join_spaces([*spaces.values()])


def _ask_available(
    readers: Mapping[int, LogReader],
    ask: Callable[[int, LogReader], T],
    failures: dict[int, RetriableError] | None = None,
) -> dict[int, T]:
    """Return log number -> the answer of the log, of those that are available now.

    Args:
        readers: of the logs, by number.
        ask: asks one.
        failures: gets what the others said.

    Raises:
        RetriableError: none is.
    """
    answers: dict[int, T] = {}
    failures = {} if failures is None else failures
    for number, reader in readers.items():
        try:
            answers[number] = ask(number, reader)
        except RetriableError as error:
            failures[number] = error
    if failures and not answers:
        raise next(reversed(failures.values()))
    return answers


def list_present_backlogs(reader: LogReader) -> list[TableBacklog]:
    """Return the backlogs of the logs that are available now, of one reader that may be several.

    What is accepted in the others is loaded when they are back.

    Raises:
        RetriableError: none is.
    """
    if isinstance(reader, JoinedReader):
        return reader.list_present_backlogs()
    return reader.list_backlogs()


class LastBacklogs:
    """Reads what waits in all logs, with the last answer of one that is away; for one thread.

    A log that is the only one is asked each time, and nothing of it is kept.

    Attributes:
        away: the numbers of the logs that were away at the last look.
    """

    def __init__(self) -> None:
        self.away: tuple[int, ...] = ()
        self._known: dict[int, list[TableBacklog]] = {}

    def read(self, reader: LogReader) -> list[TableBacklog]:
        """Return the backlogs of all logs.

        Args:
            reader: of all logs; always the same one.

        Raises:
            RetriableError: no log is available now.
        """
        if not isinstance(reader, JoinedReader):
            return reader.list_backlogs()
        found = reader.read_backlogs()
        self.away = tuple(number for number in reader.numbers if number not in found)
        self._known |= found
        return [one for its in self._known.values() for one in its]


def join_spaces(spaces: Sequence[LogSpace]) -> LogSpace:
    """Return the space of several logs together.

    Logs on one disk have the same room to grow, so it is that of the log with the least.
    """
    free = [one.free_bytes for one in spaces if one.free_bytes is not None]
    return LogSpace(sum(one.used_bytes for one in spaces), min(free, default=None))


def choose_reader(reader: LogReader, source_id: int) -> LogReader:
    """Return the reader of a source's log, of one that may stand for several."""
    return reader.choose(source_id) if isinstance(reader, JoinedReader) else reader


def find_log_number(reader: LogReader, source_id: int) -> int:
    """Return the number of a source's log, which need not be open; see `list_readers`."""
    return reader.find_number(source_id) if isinstance(reader, JoinedReader) else FIRST_LOG


def get_log_reader(reader: LogReader, number: int) -> LogReader:
    """Return the reader of a log, of one that may stand for several; a single one is that log's.

    Raises:
        OperatorError: it cannot be opened.
        RetriableError: it is not available now.
    """
    return reader.get_part(number) if isinstance(reader, JoinedReader) else reader


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


def make_number_finder(appender: LogAppender) -> Callable[[int], int]:
    """Return what finds the number of a source's log, of a source that was noted."""
    if isinstance(appender, JoinedAppender):
        return appender.find_number
    return lambda source_id: FIRST_LOG


def make_open_lister(appender: LogAppender) -> Callable[[], Collection[int]]:
    """Return what lists the numbers of the logs that are open."""
    if isinstance(appender, JoinedAppender):
        return lambda: appender.open_numbers
    return lambda: (FIRST_LOG,)


def _make_choice_error() -> InternalError:
    return InternalError("who asks about a position of several logs chooses the log first")
