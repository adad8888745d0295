"""Removes from the logs what was loaded and is older than its retention, in a thread of its own.

What it asks of the store takes the longer the more loads there were, and a log may have millions of
names to forget: meanwhile the supervisor goes on to give out work. It trims the logs that this
process keeps. The supervisor tells it what the tables are still to get.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle.counting import count_noun
from treadle.errors import TreadleError
from treadle.loader.log_shares import LogShares
from treadle.loader.schedule import TableKey
from treadle.log.joined import get_log_reader
from treadle.log.protocol import LogReader, TableBacklog, TrimPoint
from treadle.log.quota import LogQuota
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

TRIM_INTERVAL_US: Final = 600 * 1_000_000

QUOTA_CHECK_SECONDS: Final = 0.5
"""The time between two looks whether a log is full."""

FULL_PAUSE_US: Final = 500_000
FULL_PAUSE_US_MAX: Final = 10 * 1_000_000
"""The time between two attempts to make room in a full log. It doubles while nothing can go."""

SIGHT_SECONDS_MAX: Final = 5.0
"""What the supervisor saw longer ago than this is not trimmed by."""

POINTS_MAX: Final = 1_000
"""Tables that are trimmed at once, by what the supervisor saw last."""

KEY_PORTIONS: Final = 10
"""Portions of names that a log forgets in one turn; the others wait for the next one."""

KEY_RETENTION_US: Final = 3_600 * 1_000_000
"""An idempotency key is known at least this long: longer than a client goes on sending it."""


@dataclass(frozen=True, slots=True)
class TrimRules:
    """What is kept for how long.

    Attributes:
        retention_us: entries after their load, microseconds.
        report_us: load reports, microseconds; longer where entries stay longer.
        audit_us: events of the trail, microseconds.
        quota: bounds of each log. While one is reached, loaded entries are removed at once.
    """

    retention_us: int
    report_us: int
    audit_us: int
    quota: LogQuota


@dataclass(frozen=True, slots=True)
class TrimSight:
    """What the supervisor saw at a look.

    Attributes:
        backlogs: of the tables that this process knows of, where something waits.
        held_sources: of which nothing may be trimmed.
        seconds: when that was, by the monotonic clock.
    """

    backlogs: Sequence[TableBacklog]
    held_sources: frozenset[int]
    seconds: float


@dataclass(frozen=True, slots=True)
class FullLog:
    """A log whose bound is reached, after an attempt to make room in it.

    Attributes:
        pause_us: until the next attempt.
        next_at: when that is.
    """

    pause_us: int
    next_at: int


def plan_attempt(last: FullLog | None, entries: int, now: int) -> FullLog:
    """Return when room is made in a full log again.

    Args:
        last: what came of the attempt before; None where the log was not full.
        entries: how many went now.
        now: microseconds since 1970.
    """
    pause_us = FULL_PAUSE_US
    if last is not None and not entries:
        pause_us = min(2 * last.pause_us, FULL_PAUSE_US_MAX)
    return FullLog(pause_us, now + pause_us)


def choose_points(
    found: Sequence[tuple[int, str, int]], loaded: Mapping[TableKey, int], held: frozenset[int]
) -> list[TrimPoint]:
    """Return how far tables may be trimmed.

    What a destination is still to get stays, also when another one has it: its source was moved, or
    came back.

    Args:
        found: source id, table name and how far a load came that is old enough.
        loaded: the loaded position of tables where something waits.
        held: sources of which nothing is trimmed.
    """
    return [
        TrimPoint(source_id, name, min(position, loaded.get((source_id, name), position)))
        for source_id, name, position in found
        if source_id not in held
    ]


@dataclass(slots=True)
class LogTrimmer:
    """Trims the logs that this process keeps, and forgets old names, reports and events.

    Attributes:
        store: has the load reports and the trail.
        shares: tell which logs this process keeps; any thread may ask them.
        rules: what is kept for how long.
        clock: microseconds since 1970.
        monotonic: the monotonic clock, in seconds.
    """

    store: Store
    shares: LogShares
    rules: TrimRules
    clock: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    _sight: TrimSight | None = None
    _trimmed_at: int = 0
    _full: dict[int, FullLog] = field(default_factory=dict)
    _forgetting: set[int] = field(default_factory=set)
    """Logs that may have further names to forget."""
    _said: dict[int, str] = field(default_factory=dict)
    """Log number, or -1 for the store -> what failed."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self, open_reader: Callable[[], LogReader]) -> None:
        """Trim in a thread, until `close`.

        Args:
            open_reader: opens a reader of the logs, for that thread.
        """
        self._thread = threading.Thread(
            target=self._run, args=(open_reader,), name="trimmer", daemon=True
        )
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Let it end after the step that it is in, and wait so long for that at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def note_sight(self, backlogs: Sequence[TableBacklog], held_sources: frozenset[int]) -> None:
        """Note what was seen at a look; the thread of the supervisor calls it."""
        self._sight = TrimSight(backlogs, held_sources, self.monotonic())

    def trim_due(self, reader: LogReader) -> None:
        """Remove what is due.

        Args:
            reader: of all logs, of the calling thread.

        Raises:
            RetriableError, OperatorError: the store does not answer.
        """
        kept = [number for number in self.shares.logs if self.shares.keeps_log(number)]
        if not kept or self._find_sight() is None:
            return
        now = self.clock()
        is_due = now - self._trimmed_at >= TRIM_INTERVAL_US
        full = [number for number in kept if self._is_room_due(reader, number, now)]
        if is_due:
            found = self.store.loads.list_loaded_before(now - self.rules.retention_us)
            self._trimmed_at = now
            for number in kept:
                if number not in full:
                    self._trim_log(reader, number, found)
            self._forgetting = set(kept)
            if self.shares.is_chief:
                self._delete_old(now)
        if full:
            # Accepting records matters more than keeping loaded ones.
            found = self.store.loads.list_loaded_before(now)
            for number in full:
                entries = self._trim_log(reader, number, found)
                self._full[number] = plan_attempt(self._full.get(number), entries, now)
            self._forgetting |= set(full)
        for number in sorted(self._forgetting):
            self._forget_keys(reader, number, now)

    # --- helpers ----------------------------------------------------------------------------------

    def _run(self, open_reader: Callable[[], LogReader]) -> None:
        reader: LogReader | None = None
        try:
            while True:
                try:
                    if reader is None and self._keeps_logs:
                        reader = open_reader()
                    if reader is not None:
                        self.trim_due(reader)
                    self._said.pop(-1, None)
                except Exception as error:  # noqa: BLE001 - it goes on, whatever it was
                    self._tell(-1, error)
                if self._stop.wait(QUOTA_CHECK_SECONDS):
                    return
        finally:
            if reader is not None:
                try:
                    reader.close()
                except TreadleError as error:
                    self._tell(-1, error)

    @property
    def _keeps_logs(self) -> bool:
        return any(map(self.shares.keeps_log, self.shares.logs))

    def _tell(self, number: int, error: Exception) -> None:
        """Say once what failed: of a log, or -1 for the store."""
        said = str(error) or repr(error)
        if self._said.get(number) == said or self._stop.is_set():
            return
        self._said[number] = said
        what = "logs are" if number < 0 else f"log {number} is"
        logger.warning(
            "%s not trimmed now: %s",
            what,
            said,
            exc_info=None if isinstance(error, TreadleError) else error,
        )

    def _find_sight(self) -> TrimSight | None:
        """Return what was seen last; None where that was too long ago."""
        sight = self._sight
        if sight is None or self.monotonic() - sight.seconds > SIGHT_SECONDS_MAX:
            return None
        return sight

    def _is_room_due(self, reader: LogReader, number: int, now: int) -> bool:
        """Return whether a log is full, and room is to be made in it now."""
        try:
            space = get_log_reader(reader, number).statistics.measure_space()
        except TreadleError as error:
            self._tell(number, error)
            return False
        if self.rules.quota.find_shortage(space) is None:
            self._full.pop(number, None)
            return False
        last = self._full.get(number)
        return last is None or not last.next_at - last.pause_us <= now < last.next_at

    def _trim_log(
        self, reader: LogReader, number: int, found: Sequence[tuple[int, str, int]]
    ) -> int:
        """Trim a log; return how many entries went."""
        entries = 0
        get_number = self.shares.numbers.get_number
        its = [one for one in found if get_number(one[0]) == number]
        try:
            for first in range(0, max(1, len(its)), POINTS_MAX):
                sight = self._find_sight()
                if sight is None or self._stop.is_set():
                    break
                loaded = {(one.source_id, one.table_name): one.loaded for one in sight.backlogs}
                portion = its[first : first + POINTS_MAX]
                points = choose_points(portion, loaded, sight.held_sources)
                entries += get_log_reader(reader, number).trim(points)
        except TreadleError as error:
            self._tell(number, error)
        else:
            self._said.pop(number, None)
        if entries:
            logger.info(
                "trimmed %s of the log",
                count_noun(entries, "entry", "entries"),
                extra={"fields": {"entries": entries}},
            )
        return entries

    def _forget_keys(self, reader: LogReader, number: int, now: int) -> None:
        """Let a log forget old names, some of them where there are many."""
        before = now - max(self.rules.retention_us, KEY_RETENTION_US)
        try:
            for _ in range(KEY_PORTIONS):
                if self._stop.is_set():
                    return
                if not get_log_reader(reader, number).statistics.forget_keys(before):
                    self._forgetting.discard(number)
                    return
        except TreadleError as error:
            self._forgetting.discard(number)
            self._tell(number, error)

    def _delete_old(self, now: int) -> None:
        self.store.trail.delete_events_before(now - self.rules.audit_us)
        self.store.loads.delete_loads_before(
            now - max(self.rules.retention_us, self.rules.report_us)
        )
