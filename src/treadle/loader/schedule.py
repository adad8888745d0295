"""Which tables to load now, and how long to wait after a failure: decisions on values."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from treadle.log.protocol import TableBacklog

TableKey = tuple[int, str]
"""(source id, table name as sent): the unit of loading."""

EARLY_LOAD_FRACTION: Final = 8
"""Tables may be loaded before their load closes where this part of what closes one waits, an
eighth: 12,500 records by default, of which a load takes little longer a record than of 100,000."""


RECORDED_US_MAX: Final = 1_000_000
"""How long after a load the log surely knows of it. The main thread tells it at each look."""


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When an open load closes (loading.md 1.1).

    Attributes:
        age_us: the oldest waiting record is this old, microseconds.
        records: this many records wait.
        size: this many payload bytes wait.
    """

    age_us: int = 1_000_000
    records: int = 100_000
    size: int = 50_000_000

    def closes_load(self, backlog: TableBacklog, now: int) -> bool:
        """Whether the open load of this backlog is to be loaded at `now` (microseconds)."""
        full = backlog.records >= self.records or backlog.size >= self.size
        old = now - backlog.oldest >= self.age_us
        return full or old

    def allows_early_load(self, records: int, size: int) -> bool:
        """Whether so much waits that to load it is no small thing, though it need not be yet."""
        return (
            records * EARLY_LOAD_FRACTION >= self.records or size * EARLY_LOAD_FRACTION >= self.size
        )


@dataclass(slots=True)
class RoundProgress:
    """What a round took of a table so far.

    Attributes:
        last: greatest position taken.
        received_at: when the entry there arrived, microseconds since 1970.
        parts: last position, records and payload bytes of each chunk.
    """

    last: int = -1
    received_at: int = 0
    chunks: list[tuple[int, int, int]] = field(default_factory=list)

    def add_chunk(self, last: int, received_at: int, records: int, size: int) -> None:
        """Note one more chunk."""
        self.last = last
        self.received_at = received_at
        self.chunks.append((last, records, size))

    @property
    def records(self) -> int:
        """Records of all chunks."""
        return sum(records for _, records, _ in self.chunks)

    @property
    def size(self) -> int:
        """Payload bytes of all chunks."""
        return sum(size for _, _, size in self.chunks)

    def subtract_from(self, backlog: TableBacklog) -> TableBacklog | None:
        """What of a backlog, seen after the round began, was not taken; None when all of it was.

        The log counts what was taken as waiting until it is told that it was loaded.
        """
        if backlog.last <= self.last:
            return None
        counted = [part for part in self.chunks if part[0] > backlog.loaded]
        return replace(
            backlog,
            records=max(0, backlog.records - sum(records for _, records, _ in counted)),
            size=max(0, backlog.size - sum(size for _, _, size in counted)),
            oldest=max(backlog.oldest, self.received_at),
        )


@dataclass(frozen=True, slots=True)
class RetryBackoff:
    """Growing pauses between tries, for ever.

    Attributes:
        first_us: the pause after the first failure, microseconds; each further one is double.
        most_us: the longest pause.
    """

    first_us: int = 500_000
    max_us: int = 60_000_000

    def pause(self, failures: int) -> int:
        """Microseconds to wait after `failures` failures in a row (at least 1)."""
        # 2**40 is past any bound in use; the cap keeps the power from growing without need.
        return int(min(self.max_us, self.first_us * 2 ** min(failures - 1, 40)))


@dataclass(slots=True)
class RetrySchedule:
    """Failures in a row by key, and when each key may be tried again."""

    backoff: RetryBackoff = field(default_factory=RetryBackoff)
    _failed: dict[TableKey, tuple[int, int]] = field(default_factory=dict)

    def add_failure(self, key: TableKey, now: int) -> int:
        """Note one more failure; returns the microseconds until the next try."""
        failures = self._failed.get(key, (0, 0))[0] + 1
        pause = self.backoff.pause(failures)
        self._failed[key] = (failures, now + pause)
        return pause

    def clear_failures(self, key: TableKey) -> None:
        """Forget the failures of a key."""
        self._failed.pop(key, None)

    def copy(self) -> "RetrySchedule":
        """Return the same as it is now, for another thread."""
        return replace(self, _failed=dict(self._failed))

    def may_retry(self, key: TableKey, now: int) -> bool:
        """Whether the pause of a key is over."""
        found = self._failed.get(key)
        return found is None or found[1] <= now


def select_backlogs(
    backlogs: Iterable[TableBacklog],
    now: int,
    trigger: FlushPolicy,
    failures: RetrySchedule,
    *,
    ended: Mapping[TableKey, int] | None = None,
    going: Mapping[TableKey, RoundProgress] | None = None,
) -> list[TableBacklog]:
    """The backlogs to load now, the one that waits longest first.

    Where much waits (`FlushPolicy.allows_early_load`) a table is loaded before its load closes,
    if it had no load for the age of one, as when a burst begins: at most one load more in that
    time. And it is loaded further if it is being loaded: under a stream that keeps the loader
    busy one load follows another, and what came meanwhile is not left for an age.

    Little in each of many tables is much as well, together with what little the round took of
    others: each of them is loaded, if it had no load for the age of one.

    Args:
        backlogs: all that could be loaded.
        now: microseconds since 1970.
        trigger: when loads close.
        failures: of the tables.
        ended: when the last load of a table ended; none is known to have ended of the others.
        going: tables that are being loaded, and what the round took of them.
    """
    ended, going = ended or {}, going or {}

    def rested(key: TableKey) -> bool:
        return key not in ended or now - ended[key] >= trigger.age_us

    chosen = []
    little = []
    for backlog in backlogs:
        key = backlog.source_id, backlog.table_name
        if not failures.may_retry(key, now):
            continue
        much = trigger.allows_early_load(backlog.records, backlog.size)
        if trigger.closes_load(backlog, now) or (much and (key in going or rested(key))):
            chosen.append(backlog)
        elif not much and key not in going and rested(key):
            little.append(backlog)
    if little:
        begun = [
            its for its in going.values() if not trigger.allows_early_load(its.records, its.size)
        ]
        together: list[TableBacklog | RoundProgress] = [*little, *begun]
        if trigger.allows_early_load(
            sum(its.records for its in together), sum(its.size for its in together)
        ):
            chosen += little
    return sorted(chosen, key=lambda backlog: backlog.oldest)


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """What a loader knows of earlier loads of its tables.

    Attributes:
        offsets: committed by the destination; a table without one is not in it.
        ended: when the last load of a table ended, microseconds since 1970.
        failures: of tables.
    """

    offsets: Mapping[TableKey, int]
    ended: Mapping[TableKey, int]
    failures: RetrySchedule

    def copy(self) -> "LoadHistory":
        """Return the same as it is now, for another thread."""
        return LoadHistory(dict(self.offsets), dict(self.ended), self.failures.copy())

    def is_current(self, backlog: TableBacklog, now: int) -> bool:
        """Return whether a backlog has something to load, and counts nothing that is loaded.

        Until the log is told of a load, it counts what that took as waiting, with its age.
        """
        key = backlog.source_id, backlog.table_name
        offset = self.offsets.get(key, -1)
        if offset >= backlog.last:
            return False
        counts_loaded = offset > backlog.loaded
        return not counts_loaded or now - self.ended.get(key, 0) >= RECORDED_US_MAX


def select_due(
    backlogs: Iterable[TableBacklog],
    sources: Container[int],
    history: LoadHistory,
    trigger: FlushPolicy,
    now: int,
    *,
    taken: Mapping[TableKey, RoundProgress] | None = None,
    skipped: Container[TableKey] = (),
) -> list[TableBacklog]:
    """Return what one destination loads now, the one that waits longest first.

    Args:
        backlogs: all that waits.
        sources: those that load into this destination.
        history: of earlier loads, those of the round that lasts left out.
        trigger: when loads begin.
        now: microseconds since 1970.
        taken: what the round that lasts took of each table; only what is beyond that is due.
        skipped: tables that are not loaded further in the round.
    """
    taken = taken or {}
    rests = []
    for backlog in backlogs:
        key = backlog.source_id, backlog.table_name
        if backlog.source_id not in sources or key in skipped:
            continue
        if key in taken:
            rest = taken[key].subtract_from(backlog)
            if rest is not None:
                rests.append(rest)
        elif history.is_current(backlog, now):
            rests.append(backlog)
    return select_backlogs(rests, now, trigger, history.failures, ended=history.ended, going=taken)


def group_by_destination(
    backlogs: Iterable[TableBacklog], destination_of: Mapping[int, int]
) -> dict[int, list[TableBacklog]]:
    """Backlogs by the id of the destination their source loads into; others are left out."""
    groups: dict[int, list[TableBacklog]] = {}
    for backlog in backlogs:
        destination = destination_of.get(backlog.source_id)
        if destination is not None:
            groups.setdefault(destination, []).append(backlog)
    return groups


def exclude_claimed(
    waiting: Sequence[TableBacklog], taken: Collection[TableKey], sources: Container[int]
) -> Sequence[TableBacklog] | None:
    """What of a destination's backlogs may be begun.

    A table that another thread may still commit into the destination that was its source's own
    until now is left out. What came of that is known when the thread is done; entries that were
    loaded somewhere else in the meantime would be there and here, and counted twice.

    Args:
        waiting: all of them.
        taken: tables that other threads are at; one named `` for all tables.
        sources: those of the destination.

    Returns:
        The backlogs; None when a thread is noting where tables stand, so that it cannot be said.
    """
    if any(not table_name for _, table_name in taken):
        return None
    ours = {key for key in taken if key[0] in sources}
    if not ours:
        return waiting
    return [one for one in waiting if (one.source_id, one.table_name) not in ours]
