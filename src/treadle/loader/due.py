"""Which tables to load now, and how long to wait after a failure: decisions on values."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from treadle.log.protocol import Backlog

Key = tuple[int, str]
"""(source id, table name as sent): the unit of loading."""


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
        return key not in self._failed or self._failed[key][1] <= now


def due(
    backlogs: Iterable[Backlog], now: int, trigger: Trigger, failures: Failures
) -> list[Backlog]:
    """The backlogs to load now, the one that waits longest first."""
    chosen = [
        backlog
        for backlog in backlogs
        if trigger.closes(backlog, now)
        and failures.may_try((backlog.source_id, backlog.table_name), now)
    ]
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
