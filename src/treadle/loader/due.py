"""Which tables to load now, and how long to wait after a failure: decisions on values."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from treadle.log.protocol import Backlog

Key = tuple[int, str]
"""(source id, table name as sent): the unit of loading."""

PART: Final = 8
"""Tables may be loaded before their load closes where this part of what closes one waits, an
eighth: 12,500 records by default, of which a load takes little longer a record than of 100,000."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """When an open load closes (loading.md 1.1).

    Attributes:
        age_us: the oldest waiting record is this old, microseconds.
        records: this many records wait.
        size: this many payload bytes wait.
    """

    age_us: int = 1_000_000
    records: int = 100_000
    size: int = 50_000_000

    def closes(self, backlog: Backlog, now: int) -> bool:
        """Whether the open load of this backlog is to be loaded at `now` (microseconds)."""
        full = backlog.records >= self.records or backlog.size >= self.size
        old = now - backlog.oldest >= self.age_us
        return full or old

    def is_worth_it(self, records: int, size: int) -> bool:
        """Whether so much waits that to load it is no small thing, though it need not be yet."""
        return records * PART >= self.records or size * PART >= self.size


@dataclass(slots=True)
class Taken:
    """What a round took of a table so far.

    Attributes:
        last: greatest position taken.
        received_at: when the entry there arrived, microseconds since 1970.
        parts: last position, records and payload bytes of each chunk.
    """

    last: int = -1
    received_at: int = 0
    parts: list[tuple[int, int, int]] = field(default_factory=list)

    def take(self, last: int, received_at: int, records: int, size: int) -> None:
        """Note one more chunk."""
        self.last = last
        self.received_at = received_at
        self.parts.append((last, records, size))

    @property
    def records(self) -> int:
        """Records of all chunks."""
        return sum(records for _, records, _ in self.parts)

    @property
    def size(self) -> int:
        """Payload bytes of all chunks."""
        return sum(size for _, _, size in self.parts)

    def rest(self, backlog: Backlog) -> Backlog | None:
        """What of a backlog, seen after the round began, was not taken; None when all of it was.

        The log counts what was taken as waiting until it is told that it was loaded.
        """
        if backlog.last <= self.last:
            return None
        counted = [part for part in self.parts if part[0] > backlog.loaded]
        return replace(
            backlog,
            records=max(0, backlog.records - sum(records for _, records, _ in counted)),
            size=max(0, backlog.size - sum(size for _, _, size in counted)),
            oldest=max(backlog.oldest, self.received_at),
        )


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing pauses between tries, for ever.

    Attributes:
        first_us: the pause after the first failure, microseconds; each further one is double.
        most_us: the longest pause.
    """

    first_us: int = 500_000
    most_us: int = 60_000_000

    def pause(self, failures: int) -> int:
        """Microseconds to wait after `failures` failures in a row (at least 1)."""
        # 2**40 is past any bound in use; the cap keeps the power from growing without need.
        return int(min(self.most_us, self.first_us * 2 ** min(failures - 1, 40)))


@dataclass(slots=True)
class Failures:
    """Failures in a row by key, and when each key may be tried again."""

    backoff: Backoff = field(default_factory=Backoff)
    _failed: dict[Key, tuple[int, int]] = field(default_factory=dict)

    def failed(self, key: Key, now: int) -> int:
        """Note one more failure; returns the microseconds until the next try."""
        failures = self._failed.get(key, (0, 0))[0] + 1
        pause = self.backoff.pause(failures)
        self._failed[key] = (failures, now + pause)
        return pause

    def succeeded(self, key: Key) -> None:
        """Forget the failures of a key."""
        self._failed.pop(key, None)

    def may_try(self, key: Key, now: int) -> bool:
        """Whether the pause of a key is over."""
        found = self._failed.get(key)  # once: another thread may forget it meanwhile
        return found is None or found[1] <= now


def due(
    backlogs: Iterable[Backlog],
    now: int,
    trigger: Trigger,
    failures: Failures,
    *,
    ended: Mapping[Key, int] | None = None,
    going: Mapping[Key, Taken] | None = None,
) -> list[Backlog]:
    """The backlogs to load now, the one that waits longest first.

    Where much waits (`Trigger.is_worth_it`) a table is loaded before its load closes, if it had no
    load for the age of one, as when a burst begins: at most one load more in that time. And it is
    loaded further if it is being loaded: under a stream that keeps the loader busy one load
    follows another, and what came meanwhile is not left for an age.

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

    def rested(key: Key) -> bool:
        return key not in ended or now - ended[key] >= trigger.age_us

    chosen = []
    little = []
    for backlog in backlogs:
        key = backlog.source_id, backlog.table_name
        if not failures.may_try(key, now):
            continue
        much = trigger.is_worth_it(backlog.records, backlog.size)
        if trigger.closes(backlog, now) or (much and (key in going or rested(key))):
            chosen.append(backlog)
        elif not much and key not in going and rested(key):
            little.append(backlog)
    if little:
        begun = [its for its in going.values() if not trigger.is_worth_it(its.records, its.size)]
        together: list[Backlog | Taken] = [*little, *begun]
        if trigger.is_worth_it(
            sum(its.records for its in together), sum(its.size for its in together)
        ):
            chosen += little
    return sorted(chosen, key=lambda backlog: backlog.oldest)


def by_destination(
    backlogs: Iterable[Backlog], destination_of: Mapping[int, int]
) -> dict[int, list[Backlog]]:
    """Backlogs by the id of the destination their source loads into; others are left out."""
    groups: dict[int, list[Backlog]] = {}
    for backlog in backlogs:
        destination = destination_of.get(backlog.source_id)
        if destination is not None:
            groups.setdefault(destination, []).append(backlog)
    return groups


def offers(
    waiting: Sequence[Backlog], taken: Collection[Key], sources: Container[int]
) -> Sequence[Backlog] | None:
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
