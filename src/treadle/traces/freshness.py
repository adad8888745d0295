"""How long records waited from their acceptance to their load, gathered for one step of time."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class WaitedLoad(NamedTuple):
    """A load as far as freshness is concerned.

    Attributes:
        records: that it took.
        median_us: half of them waited this long or less.
        longest_us: the one that waited longest.
    """

    records: int
    median_us: int
    longest_us: int


def compute_quantile(weighted: Iterable[tuple[float, int]], part: float) -> float | None:
    """Return the smallest value below or at which this part of the weight is; None for no weight.

    Args:
        weighted: values and their weights.
        part: from 0 to 1.
    """
    ordered = sorted(weighted)
    limit = sum(weight for _, weight in ordered) * part
    passed = 0
    found: float | None = None
    for value, weight in ordered:
        if weight:
            found = value
            passed += weight
            if passed >= limit:
                break
    return found


def measure_freshness(loads: Sequence[WaitedLoad]) -> tuple[float | None, float | None]:
    """Return the median and the 99th percentile in seconds; None where nothing was loaded.

    All records of a load count as if they waited as long as its median or its longest one, so the
    99th percentile is an upper bound.
    """
    p50 = compute_quantile(((load.median_us / 1e6, load.records) for load in loads), 0.5)
    p99 = compute_quantile(((load.longest_us / 1e6, load.records) for load in loads), 0.99)
    return p50, p99


@dataclass(slots=True)
class FreshnessGauge:
    """Gathers loads of any thread until they are taken."""

    _loads: dict[int, list[WaitedLoad]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, source_id: int, load: WaitedLoad) -> None:
        """Add a load that was committed."""
        with self._lock:
            self._loads.setdefault(source_id, []).append(load)

    def take(self) -> dict[int, list[WaitedLoad]]:
        """Return the loads since the last call, by source."""
        with self._lock:
            taken, self._loads = self._loads, {}
        return taken
