"""The schedule of loads: which tables are loaded now, and when a table is tried again.

All of it are decisions on values. Clock, log and destination are elsewhere.
"""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from treadle.destinations.capabilities import Capabilities
from treadle.log.protocol import TableBacklog

TableKey = tuple[int, str]
"""(source id, table name as sent): the unit of loading."""

EARLY_LOAD_FRACTION: Final = 8
"""A load may begin early when this part of what closes it waits, an eighth: 12,500 records by
default. A load of 12,500 takes little longer a record than one of 100,000."""

TAIL_AGE_FRACTION: Final = 4
"""The tail of a burst is loaded at this part of the age of a load, a quarter: 0.25 s by default.
Its sender waits for these records last; they cost one load more in a burst."""

RECORDED_US_MAX: Final = 1_000_000
"""After this time the log surely knows of a load: the supervisor tells it at each look."""

UNTOLD_US: Final = 5_000_000
"""After this time the log is told again of a load that it does not know of."""


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """The rule when the open load of a table closes and is loaded (loading.md 1.1).

    One of three is enough.

    Attributes:
        age_us: the oldest waiting record was first seen so long ago, microseconds.
        records: this many records wait.
        size: this many payload bytes wait.
        is_age_given: a setting says the age, so that no destination has another one.
        loads_early: a load may begin before it closes, when much waits.
    """

    age_us: int = 1_000_000
    records: int = 100_000
    size: int = 50_000_000
    is_age_given: bool = True
    loads_early: bool = True

    def fit_to(self, capabilities: Capabilities) -> "FlushPolicy":
        """Return the rule for a destination: some are loaded into less often."""
        seconds = capabilities.load_age_seconds
        if self.is_age_given or seconds is None:
            return self
        return replace(self, age_us=int(seconds * 1_000_000), loads_early=False)

    def closes_load(self, backlog: TableBacklog, age: int) -> bool:
        """Return whether the open load of this backlog closes at an age, microseconds."""
        full = backlog.records >= self.records or backlog.size >= self.size
        return full or age >= self.age_us

    def closes_tail(self, age: int) -> bool:
        """Return whether the tail of a burst closes at an age, microseconds."""
        return age >= self.age_us // TAIL_AGE_FRACTION

    def allows_early_load(self, records: int, size: int) -> bool:
        """Return whether so much waits that a load may begin before it closes."""
        return self.loads_early and (
            records * EARLY_LOAD_FRACTION >= self.records or size * EARLY_LOAD_FRACTION >= self.size
        )


@dataclass(slots=True)
class RoundProgress:
    """The chunks that a round took of a table so far.

    Attributes:
        last: greatest position taken.
        received_at: when the entry there arrived, microseconds since 1970.
        chunks: last position, records and payload bytes of each chunk.
    """

    last: int = -1
    received_at: int = 0
    chunks: list[tuple[int, int, int]] = field(default_factory=list)

    def add_chunk(self, last: int, received_at: int, records: int, size: int) -> None:
        """Add a chunk that was taken."""
        self.last = last
        self.received_at = received_at
        self.chunks.append((last, records, size))

    @property
    def records(self) -> int:
        """Return the records of all chunks."""
        return sum(records for _, records, _ in self.chunks)

    @property
    def size(self) -> int:
        """Return the payload bytes of all chunks."""
        return sum(size for _, _, size in self.chunks)

    def ends_with_much(self, policy: FlushPolicy) -> bool:
        """Return whether the last chunk was much, so that what comes after it is a tail."""
        if not self.chunks:
            return False
        _, records, size = self.chunks[-1]
        return policy.allows_early_load(records, size)

    def subtract_from(self, backlog: TableBacklog) -> TableBacklog | None:
        """Return what a backlog has beyond the chunks; None when it has nothing.

        The backlog was read after the round began. The log counts what was taken as waiting until
        it is told that it was loaded.
        """
        if backlog.last <= self.last:
            return None
        counted = [chunk for chunk in self.chunks if chunk[0] > backlog.loaded]
        return replace(
            backlog,
            records=max(0, backlog.records - sum(records for _, records, _ in counted)),
            size=max(0, backlog.size - sum(size for _, _, size in counted)),
            oldest=max(backlog.oldest, self.received_at),
            sights=tuple(sight for sight in backlog.sights if sight.last > self.last),
        )


@dataclass(frozen=True, slots=True)
class RetryBackoff:
    """Pauses between tries, each longer than the one before up to a bound; tries never end.

    Attributes:
        first_us: the pause after the first failure, microseconds; each further one is double.
    """

    first_us: int = 500_000
    max_us: int = 60_000_000

    def pause(self, failures: int) -> int:
        """Return the microseconds to wait after so many failures in a row (at least 1)."""
        # 2**40 is past any bound in use; the cap keeps the power from growing without need.
        return int(min(self.max_us, self.first_us * 2 ** min(failures - 1, 40)))


@dataclass(slots=True)
class RetrySchedule:
    """The failures in a row of each table, and when it may be tried again."""

    backoff: RetryBackoff = field(default_factory=RetryBackoff)
    _failed: dict[TableKey, tuple[int, int]] = field(default_factory=dict)

    def add_failure(self, key: TableKey, now: int) -> int:
        """Count one more failure; return the microseconds until the next try."""
        failures = self._failed.get(key, (0, 0))[0] + 1
        pause = self.backoff.pause(failures)
        self._failed[key] = (failures, now + pause)
        return pause

    def clear_failures(self, key: TableKey) -> None:
        """Forget the failures of a table."""
        self._failed.pop(key, None)

    def copy(self) -> "RetrySchedule":
        """Return the same as it is now, for another thread."""
        return replace(self, _failed=dict(self._failed))

    def may_retry(self, key: TableKey, now: int) -> bool:
        """Return whether the pause of a table is over."""
        found = self._failed.get(key)
        return found is None or found[1] <= now


def select_backlogs(
    backlogs: Iterable[TableBacklog],
    now: int,
    policy: FlushPolicy,
    retries: RetrySchedule,
    *,
    monotonic: int = 0,
    ended: Mapping[TableKey, int] | None = None,
    progress: Mapping[TableKey, RoundProgress] | None = None,
    hurried: Container[TableKey] = (),
) -> list[TableBacklog]:
    """Return the backlogs to load now, the one that waits longest first.

    A table is loaded when its load closes. It is loaded earlier in five cases:

    - Somebody asked for it.
    - Much waits (`FlushPolicy.allows_early_load`), and the table had no load for the age of one.
      This is how a burst begins. It costs at most one more load in that time.
    - Much waits, and the table is being loaded. Under a steady stream one load then follows
      another, and what came meanwhile does not wait for its age.
    - Little waits after much that is being loaded, for a quarter of the age: the tail of a burst.
    - Little waits in each of many tables that had no load for the age of one, but together, and
      with what little the round took of others, it is much.

    Args:
        backlogs: all that could be loaded.
        now: microseconds since 1970.
        monotonic: microseconds of the clock by which readers say what they saw.
        policy: when loads close.
        retries: when tables that failed may be tried again.
        ended: when the last load of a table ended; a table that is not in it had none.
        progress: tables that are being loaded, and what the round took of them.
        hurried: tables that somebody wants loaded.
    """
    ended, progress = ended or {}, progress or {}

    def rested(key: TableKey) -> bool:
        return key not in ended or now - ended[key] >= policy.age_us

    chosen = []
    little = []
    for backlog in backlogs:
        key = backlog.source_id, backlog.table_name
        if not retries.may_retry(key, now):
            continue
        much = policy.allows_early_load(backlog.records, backlog.size)
        age = backlog.measure_age(now, monotonic)
        closes = key in hurried or policy.closes_load(backlog, age)
        its = progress.get(key)
        is_tail = its is not None and its.ends_with_much(policy) and policy.closes_tail(age)
        if closes or is_tail or (much and (its is not None or rested(key))):
            chosen.append(backlog)
        elif not much and its is None and rested(key):
            little.append(backlog)
    if little:
        begun = [
            its for its in progress.values() if not policy.allows_early_load(its.records, its.size)
        ]
        together: list[TableBacklog | RoundProgress] = [*little, *begun]
        if policy.allows_early_load(
            sum(its.records for its in together), sum(its.size for its in together)
        ):
            chosen += little
    return sorted(chosen, key=lambda backlog: backlog.oldest)


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """The earlier loads of a destination's tables, as far as the next ones depend on them.

    Attributes:
        offsets: committed by the destination; a table without one is not in it.
        ended: when the last load of a table ended, microseconds since 1970.
        retries: when tables that failed may be tried again.
        starts: how far tables without an offset were loaded, into another destination.
        lost: tables without an offset that were loaded into this destination, which has lost them.
    """

    offsets: Mapping[TableKey, int]
    ended: Mapping[TableKey, int]
    retries: RetrySchedule
    starts: Mapping[TableKey, int] = field(default_factory=dict)
    lost: frozenset[TableKey] = frozenset()

    def copy(self) -> "LoadHistory":
        """Return the same as it is now, for another thread."""
        return LoadHistory(
            dict(self.offsets), dict(self.ended), self.retries.copy(), dict(self.starts), self.lost
        )

    def find_last(self, key: TableKey) -> int:
        """Return how far a table is loaded, here or before it came here; -1 where nothing is."""
        return self.offsets.get(key, self.starts.get(key, -1))

    def is_current(self, backlog: TableBacklog, now: int) -> bool:
        """Return whether a backlog has something to load, and counts nothing that is loaded.

        Until the log is told of a load, it counts what that took as waiting, with its age.
        """
        key = backlog.source_id, backlog.table_name
        offset = self.find_last(key)
        if offset >= backlog.last:
            return False
        counts_loaded = offset > backlog.loaded
        return not counts_loaded or now - self.ended.get(key, 0) >= RECORDED_US_MAX


def select_due(
    backlogs: Iterable[TableBacklog],
    sources: Container[int],
    history: LoadHistory,
    policy: FlushPolicy,
    now: int,
    *,
    monotonic: int = 0,
    progress: Mapping[TableKey, RoundProgress] | None = None,
    skipped: Container[TableKey] = (),
    hurried: Container[TableKey] = (),
) -> list[TableBacklog]:
    """Return what one destination loads now, the one that waits longest first.

    Args:
        backlogs: all that waits.
        sources: those that load into this destination.
        history: of earlier loads, those of the round that lasts left out.
        policy: when loads close.
        now: microseconds since 1970.
        monotonic: microseconds of the clock by which readers say what they saw.
        progress: what the round that lasts took of each table; only more than that is due.
        skipped: tables that are not loaded further in the round.
        hurried: tables that somebody wants loaded.
    """
    progress = progress or {}
    rests = []
    for backlog in backlogs:
        key = backlog.source_id, backlog.table_name
        if backlog.source_id not in sources or key in skipped:
            continue
        if key in progress:
            rest = progress[key].subtract_from(backlog)
            if rest is not None:
                rests.append(rest)
        elif history.is_current(backlog, now):
            rests.append(backlog)
    return select_backlogs(
        rests,
        now,
        policy,
        history.retries,
        monotonic=monotonic,
        ended=history.ended,
        progress=progress,
        hurried=hurried,
    )


def find_untold(
    backlogs: Iterable[TableBacklog], sources: Container[int], history: LoadHistory, now: int
) -> list[tuple[TableKey, int]]:
    """Return where tables stand of which the log counts as waiting what was loaded long ago.

    The log is told of each load, as a hint that is not synced. Where its database lost a server
    since, the hint may be lost, and nothing is due of such a table that would give it again.

    Args:
        backlogs: all that waits.
        sources: those that load into this destination.
        history: of the loads of this destination.
        now: microseconds since 1970.
    """
    untold = []
    for backlog in backlogs:
        key = backlog.source_id, backlog.table_name
        offset = history.find_last(key)
        if offset < backlog.last or backlog.source_id not in sources:
            continue
        if not 0 <= now - history.ended.get(key, -UNTOLD_US) < UNTOLD_US:  # a clock may go back
            untold.append((key, offset))
    return untold


def group_by_destination(
    backlogs: Iterable[TableBacklog], destination_of: Mapping[int, int]
) -> dict[int, list[TableBacklog]]:
    """Group backlogs by the id of the destination of their source; leave out those without one."""
    groups: dict[int, list[TableBacklog]] = {}
    for backlog in backlogs:
        destination = destination_of.get(backlog.source_id)
        if destination is not None:
            groups.setdefault(destination, []).append(backlog)
    return groups


def exclude_claimed(
    waiting: Sequence[TableBacklog], claimed: Collection[TableKey], sources: Container[int]
) -> Sequence[TableBacklog] | None:
    """Leave out the backlogs that another loader may still commit.

    That loader is the one of the former destination of the source. Until it is done, nobody knows
    whether it committed the load it was in. Entries that are loaded here meanwhile would be in both
    destinations, and counted twice.

    Args:
        waiting: all backlogs of the destination.
        claimed: tables that other loaders claim; one named `` stands for all tables.
        sources: those of the destination.

    Returns:
        The backlogs that may be loaded. None when another loader records where all its tables
        stand, so that nobody can say.
    """
    if any(not table_name for _, table_name in claimed):
        return None
    ours = {key for key in claimed if key[0] in sources}
    if not ours:
        return waiting
    return [one for one in waiting if (one.source_id, one.table_name) not in ours]
