"""The contract of the log: accepted entries that are not loaded yet, and for a while loaded ones.

What every log promises:

- `LogAppender.append` returns only when all its entries are durable, and either all of them are
  in the log or none is. Entries of one call get consecutive positions.
- Positions only grow, are never given twice, and the order of positions is the order of acceptance:
  when one append returned before another began, its positions are smaller. Between two calls
  positions may be left out, so nobody counts entries by their positions.
- Reading removes nothing. `trim` removes, and only entries at or below the position it is given.
- Every entry carries a checksum of its payload, checked on every read. A damaged entry is reported
  as `DamagedEntry` in its place in the order; it never hides its neighbours, nor passes for sound.
- `log_id` names this log for ever. A new, empty log has another one, so that a destination never
  takes the positions of one log for those of another.
- Of the calls of `append_once` under one name, by any number of appenders, one is stored: whether
  the name is known is decided in the transaction that stores the entries.
- Appenders and readers may live in different processes.

An installation may have several logs (`LogDirectory`). All that is said above holds for each of
them by itself. All entries of a source are in one log, so the requests of a source have one order,
and its positions are those of that log.

Who retries: `append` raises `RetriableError` when the entries could not be made durable. None of
them is in the log then, and the caller may repeat. It raises `AppendUnknownError` when nobody knows
whether they are. Who closes: the one that opened.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from treadle.errors import OperatorError, RetriableError, TreadleError
from treadle.log.quota import LogSpace

READ_BYTES_MAX: Final = 16_000_000
"""Most bytes of the log in one load, whatever may wait: they are in memory several times over
(docs/explanation/decisions/read-limits.md)."""

FIRST_LOG: Final = 0
"""The number of the log on this machine, which is the only one unless the operator adds others."""


class AppendUnknownError(TreadleError):
    """Nobody knows whether the entries of an append are in the log; the request is answered 504.

    A back-end raises it only after it tried to find out. Under an idempotency key the append may be
    repeated: it is stored once.
    """


class IntakeFullError(RetriableError):
    """So much waits for the log already that no more fits into memory.

    None of the entries is in the log. That says nothing of the log: it takes what waits.
    """


def make_older_log_error(
    table: tuple[int, str], position: int, end: int, remedy: str
) -> OperatorError:
    """Return the error for a table that is loaded beyond the end of its log.

    What the log accepts now would be taken for loaded.

    Args:
        table: source id and table name.
        position: up to which it is loaded.
        end: greatest position that the log gave.
        remedy: what was done, and what to do.
    """
    source_id, table_name = table
    return OperatorError(
        f"table {table_name} of source {source_id} is loaded up to {position}, but this log ends "
        f"at {end}: {remedy}"
    )


class LogState(StrEnum):
    """What a log takes: new sources and their entries, entries only, or nothing."""

    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LogInfo:
    """One of the logs of an installation.

    Attributes:
        number: the log number, from 0; never used for another log.
        log_id: the log's name, a UUID made with it.
        kind: of the back-end, as in `sqlite`.
        url: where it is, which may hold a password; empty for the log of the data folder.
        state: what it takes.
    """

    number: int
    log_id: str
    kind: str
    url: str = field(default="", repr=False)
    state: LogState = LogState.OPEN


class TrimPoint(NamedTuple):
    """The position up to which a table may be trimmed."""

    source_id: int
    table_name: str
    position: int


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One request's messages for one table, to be appended.

    Attributes:
        source_id: who pushed.
        table_name: the table as the client names it.
        received_at: microseconds since 1970, UTC.
        records: how many records the payload holds (activations do not count).
        payload: opaque to the log.
    """

    source_id: int
    table_name: str
    received_at: int
    records: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The name of a request that may be sent again and is stored once.

    Attributes:
        name: of the request, 32 bytes.
        digest: of what was asked, 32 bytes, to tell a repetition from another request.
    """

    name: bytes
    digest: bytes


class AppendResult(NamedTuple):
    """The place of a request in the log.

    Attributes:
        first: position of the first entry.
        digest: of the request that was stored.
        duplicate: it was there already, and nothing was appended.
    """

    first: int
    digest: bytes
    duplicate: bool


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry that was read back and whose checksum is right."""

    position: int
    source_id: int
    table_name: str
    received_at: int
    records: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """The most that is read from the log to be loaded at once; the rest is loaded after it.

    Attributes:
        size: at most so many payload bytes. A single entry may be larger.
    """

    records: int = 100_000
    size: int = READ_BYTES_MAX

    @classmethod
    def within_memory(cls, records: int, size: int) -> "ReadLimits":
        """Return these limits, but no more than `READ_BYTES_MAX`."""
        return cls(records, min(size, READ_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """The place of an entry whose stored bytes do not match their checksum.

    Attributes:
        why: what was found, for the operator.
    """

    position: int
    source_id: int
    table_name: str
    received_at: int
    records: int
    why: str


class BacklogSight(NamedTuple):
    """When a reader first saw entries of a table up to a position.

    The clock of who accepted them says nothing reliable about how long they wait, where that is
    another machine.

    Attributes:
        seen: microseconds of this machine's monotonic clock; 0 for what was there at the first
            look, which counts as old.
    """

    last: int
    seen: int


@dataclass(frozen=True, slots=True)
class TableBacklog:
    """The entries of one table above its loaded position.

    Attributes:
        last: greatest position waiting.
        entries: how many entries wait.
        records: how many records they hold.
        size: their payload bytes, uncompressed.
        oldest: `received_at` of the oldest of them, microseconds since 1970.
        loaded: the position last given to `LogReader.mark_loaded`, 0 for none.
        sights: when the entries were first seen, in order of position; the last one reaches
            `last`. Empty where the reader does not say: then `oldest` tells the age.
    """

    source_id: int
    table_name: str
    last: int
    entries: int
    records: int
    size: int
    oldest: int
    loaded: int = 0
    sights: tuple[BacklogSight, ...] = field(default=(), compare=False, repr=False)

    def measure_age(self, now: int, monotonic: int) -> int:
        """Return for how long the oldest entry waits, microseconds.

        Args:
            now: microseconds since 1970.
            monotonic: microseconds of the clock of `sights`.
        """
        return monotonic - self.sights[0].seen if self.sights else now - self.oldest


class EntryNote(NamedTuple):
    """An entry without its payload, which nobody has checked.

    Attributes:
        size: payload bytes, uncompressed.
    """

    position: int
    source_id: int
    table_name: str
    received_at: int
    records: int
    size: int


@dataclass(frozen=True, slots=True)
class HourlyRecords:
    """Records of one table accepted in one hour.

    Attributes:
        hour: hours since 1970, UTC.
        waiting: those of them above the position asked about.
    """

    hour: int
    records: int
    waiting: int


class AppendWaiter(Protocol):
    """Waits for an append, for example an `asyncio.Future`; called on its event loop."""

    def cancelled(self) -> bool:
        """Return whether nobody waits any more; any thread may ask."""

    def done(self) -> bool:
        """Return whether a result was set, or nobody waits any more."""

    def set_result(self, stored: "AppendResult", /) -> None:
        """Report that the entries are durable."""

    def set_exception(self, error: BaseException, /) -> None:
        """Report that the entries are not in the log; `AppendUnknownError`: that nobody knows."""


class LogAppender(Protocol):
    """The writing side, one per ingest process and log."""

    @property
    def log_id(self) -> str:
        """The log's name: a UUID, made with the log."""

    async def append(self, entries: Sequence[NewEntry]) -> int:
        """Make entries durable, all or none.

        Returns:
            The position of the first; the others follow without a gap.

        Raises:
            RetriableError: they could not be made durable; none is in the log.
            QuotaReachedError: they would give their source more tables than it may have; none is in
                the log.
            AppendUnknownError: nobody knows whether they are in the log.
        """

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        """Make entries durable, all or none, unless something was stored under that name.

        What was stored under it may be another request: the digest tells.

        Raises:
            RetriableError: they could not be made durable; none is in the log.
            QuotaReachedError: they would give their source more tables than it may have; none is in
                the log.
            AppendUnknownError: nobody knows whether they are in the log.
        """

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        """Begin an append without a task that waits for it.

        Args:
            entries: to make durable, all or none.
            waiter: gets the result, on the running event loop.

        Raises:
            RetriableError: none of them is in the log, and the waiter gets nothing.
        """

    def find_refusal(self) -> str | None:
        """Return why the log takes nothing now; None when it does. Any thread may ask."""
        return None

    def find_silence(self) -> float:
        """Return for how many seconds the log has not answered, 0 while it does; for any thread.

        A log on another machine is asked in the next moment, also where nothing is appended, so
        that the next call knows. Who asks does so about once a second.
        """
        return 0.0

    async def aclose(self) -> None:
        """Finish the appends that were begun, then close."""


class LogReader(Protocol):
    """The reading side: blocking calls, used by one thread at a time."""

    @property
    def log_id(self) -> str:
        """The log's name: a UUID, made with the log."""

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Say which tables `list_backlogs` counts from now on, and how far they are loaded.

        A log that only this machine reads counts all tables, and ignores the call.

        Args:
            slots: numbers from 0 to 63, each of which stands for a part of the tables.
            loaded: (source id, table name) -> the position up to which it is loaded, as far as is
                known.
        """

    def list_backlogs(self) -> list[TableBacklog]:
        """Return a backlog for each table that has entries to load.

        Cheap enough to call several times a second with 10,000 tables and millions of entries:
        it looks only at entries that were appended or marked since the last call.
        """

    def sense_append(self) -> bool:
        """Return whether something may have been appended since the last call, as a hint.

        Cheap enough to call ten times a second while nothing waits. A log that cannot tell
        without a look says no. Its entries are then seen at the next `list_backlogs`.
        """

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[LogEntry | DamagedEntry]:
        """Read entries of one table in order of position, from the first one above `after` on.

        Stops before the entry that would pass either bound, but returns at least one if there is.
        """

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        """Return the entries at positions first .. first + count - 1 that are still kept."""

    def get_anchor(self, position: int) -> bytes | None:
        """Return what tells the entry at a position from any other that may get that position.

        A log that is brought back to an earlier state gives positions again. The anchor of an
        entry in the destination's report, compared with that of the log, shows it.

        Returns:
            A few bytes; None where the entry is no longer kept, or its row cannot be read.
        """

    def mark_loaded(self, source_id: int, table_name: str, position: int) -> None:
        """Note that everything of the table up to `position` was loaded.

        It is a hint that saves reading at the next start; the truth is in the destination. A
        position below the present one moves the mark back, so that the entries are loaded again.
        """

    def trim(self, points: Sequence[TrimPoint]) -> int:
        """Remove entries of tables at or below their positions; returns how many went.

        Removed is what can be: a back-end that removes many entries at once keeps some until those
        beside them may go, too. A back-end that several machines read keeps what is not marked as
        loaded, whatever the points say: who trims does not know the tables of others.

        Args:
            points: of all tables that may be trimmed.
        """

    @property
    def statistics(self) -> "LogStatistics":
        """Counts and times of the log; closed with this reader."""

    def close(self) -> None:
        """Close the log for this reader."""


class LogStatistics(Protocol):
    """Counts, times, keys and space of the log: blocking calls.

    They are apart from the reader, because a back-end may keep them elsewhere than the entries.
    """

    def list_tables(self) -> list[tuple[int, str]]:
        """Return every table that ever had an entry: (source id, name)."""

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Count the records of a table's entries above a position, whatever was marked."""

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        """Count a table's records by the hour of their acceptance, of the entries that are kept.

        Args:
            source_id: who pushed.
            table_name: as sent.
            loaded: position above which records count as waiting.
        """

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        """Return position -> when the entry was accepted, in microseconds since 1970.

        Positions of entries that are not kept any more are left out.
        """

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        """Return the entries below a position that are still kept, the newest first.

        It reads no payload, so that it takes about as long for large entries as for small ones.

        Args:
            position: None for the end of the log.
            limit: only so many.
            table: only those of this table: source id and name.
        """

    def find_keys(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """Return name -> position of the first entry, of those names a request was stored under."""

    def forget_keys(self, before: int) -> int:
        """Forget names stored before a time, microseconds since 1970; returns how many.

        Some thousands at once, so who wants all of them gone calls until none went.
        """

    def measure_space(self) -> LogSpace:
        """Measure how full the log is."""


class LogDirectory(Protocol):
    """The logs of an installation. A source is put on one of them when it is made, and stays.

    Any thread may ask. Who opens an appender or a reader closes it.
    """

    def list_logs(self) -> Sequence[LogInfo]:
        """Return all logs that hold entries or take some, by number."""

    def find_log(self, source_id: int) -> LogInfo:
        """Return the log of a source, which also one that was deleted has.

        Raises:
            OperatorError: the log is not known here.
            RetriableError: it cannot be found out now.
        """

    def open_appender(self, number: int) -> LogAppender:
        """Open a log for writing; blocks for a moment.

        Raises:
            OperatorError: there is no log of that number, or it cannot be opened.
            RetriableError: it is not available now.
        """

    def open_reader(self, number: int) -> LogReader:
        """Open a log for reading, for one thread; raises like `open_appender`."""


class LogSnapshot(Protocol):
    """What the log holds at one moment: blocking calls, used by one thread at a time."""

    @property
    def log_id(self) -> str:
        """The log's name."""

    @property
    def form(self) -> int:
        """The number of the form that the log is written in."""

    @property
    def end_position(self) -> int:
        """The greatest position that was given until that moment."""

    def begin(self, alongside: Callable[[], None] = ...) -> None:
        """Fix the moment: a copy has what was appended before, and nothing of what comes later.

        Args:
            alongside: called while nothing can be appended, marked or trimmed, for what has to be
                of the same moment. It must not take long.
        """

    def copy(self, path: Path, report: Callable[[int, int], None] = ...) -> None:
        """Write the log of that moment into a new file, while others go on with the log.

        Args:
            path: of the file, which must not be there.
            report: called with how much was copied so far, and how much there is.
        """
