"""Which loads are listed, and the sums of recent ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LoadFilter:
    """Which of the loads are listed.

    Attributes:
        failed: only tries that failed, or only committed loads; None for both.
        changed: only loads that changed the schema of their table, or only others; None for both.
        since: only those that finished at or after this time, microseconds since 1970.
        until: only those that finished before this time.
    """

    failed: bool | None = None
    changed: bool | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class RecentLoads:
    """The sums of the newest loads of a source or a table.

    Attributes:
        since: the time from which on they are complete, microseconds since 1970.
        loads: how many were committed; `failures`: how many tries failed.
        received, loaded, superseded, rejected: records.
        waited_max_us: how long the record waited that waited longest; None without loads.
        waited_p50_us: the median of the medians of the loads, by their records.
        rows: relation -> rows written; empty for a source.
    """

    since: int
    loads: int = 0
    failures: int = 0
    received: int = 0
    loaded: int = 0
    superseded: int = 0
    rejected: int = 0
    waited_max_us: int | None = None
    waited_p50_us: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)


def sum_loads(rows: Sequence[Mapping[Any, Any]], since: int, loads_max: int) -> RecentLoads:
    """Return the sums of loads.

    Args:
        rows: of `loads`, newest first; with `tables` where rows are to be counted by relation.
        since: the time that was asked for.
        loads_max: how many were asked for: with as many there may be others before them.
    """
    committed = [row for row in rows if row["error"] is None]
    written: Counter[str] = Counter()
    for row in committed:
        written.update(row.get("tables") or {})
    waits = [row["waited_max_us"] for row in committed if row["waited_max_us"] is not None]
    return RecentLoads(
        since=rows[-1]["finished_at"] if len(rows) >= loads_max else since,
        loads=len(committed),
        failures=len(rows) - len(committed),
        received=sum(row["rows_received"] for row in committed),
        loaded=sum(row["rows_loaded"] for row in committed),
        superseded=sum(row["rows_discarded"] for row in committed),
        rejected=sum(row["rows_rejected"] for row in committed),
        waited_max_us=max(waits, default=None),
        waited_p50_us=_find_median(
            [
                (row["waited_p50_us"], row["rows_received"])
                for row in committed
                if row["waited_p50_us"] is not None
            ]
        ),
        rows=dict(written),
    )


def _find_median(values: Sequence[tuple[int, int]]) -> int | None:
    """Return the median of (value, weight); None without any."""
    half = sum(weight for _, weight in values) / 2
    seen = 0
    for value, weight in sorted(values):
        seen += weight
        if seen >= half:
            return value
    return None
