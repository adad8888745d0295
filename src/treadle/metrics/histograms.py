"""Histograms of durations that several processes fill and any of them can sum.

They are counters in shared memory (`shared_counters`): to note a duration adds to two of them. The
labels are fixed, so that no client can make a series.
"""

from bisect import bisect_left
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from treadle.metrics.request_counter import ENDPOINTS


class CounterBoard(Protocol):
    """Where the counts are kept (`SharedCounters`)."""

    @property
    def counts(self) -> "MutableSequence[int] | memoryview[int]":
        """The counters by their slots."""

    def get_slot(self, name: str) -> int:
        """Return the slot of a counter."""


@dataclass(frozen=True, slots=True)
class HistogramForm:
    """What a histogram has: its series and its buckets.

    Attributes:
        name: of its counters.
        labels: the values of its label; others count as the last one.
        bounds: upper bounds of the buckets, seconds, in order; one more bucket has what is longer.
    """

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    def name_bucket(self, label: str, place: int) -> str:
        """Return the name of the counter of a bucket."""
        return f"{self.name} {label} {place}"

    def name_sum(self, label: str) -> str:
        """Return the name of the counter of microseconds."""
        return f"{self.name} {label} sum"

    @property
    def places(self) -> range:
        """The numbers of its buckets."""
        return range(len(self.bounds) + 1)

    @property
    def counter_names(self) -> tuple[str, ...]:
        """The names of all its counters."""
        return tuple(
            name
            for label in self.labels
            for name in (
                *(self.name_bucket(label, place) for place in self.places),
                self.name_sum(label),
            )
        )


REQUEST_SECONDS: Final = HistogramForm(
    "request",
    ENDPOINTS,
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
)
"""From the body of a request to the beginning of its answer, by endpoint."""

LOAD_SECONDS: Final = HistogramForm(
    "load",
    (
        "bigquery",
        "clickhouse",
        "duckdb",
        "files",
        "iceberg",
        "mysql",
        "postgres",
        "redshift",
        "snowflake",
        "other",
    ),
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0),
)
"""Of a load that was committed, by the type of its destination (`label_destination`)."""

_LABELS: Final = {"bigquery_v2": "bigquery", "mysql_destination": "mysql", "s3": "files"}
"""Types of destinations whose label is not their own word, which is that of the wire."""


def label_destination(type_: str) -> str:
    """Return the label of a type of destinations; one that has none counts as another one."""
    return _LABELS.get(type_, type_)


class DurationHistogram:
    """A histogram that this process fills. Only one thread may do so at a time.

    Args:
        form: of the histogram.
        board: has its counters.
    """

    def __init__(self, form: HistogramForm, board: CounterBoard) -> None:
        self._counts = board.counts
        self._bounds = form.bounds
        # By slots, as it is done for each request: half a microsecond.
        self._slots = {
            label: (
                [board.get_slot(form.name_bucket(label, place)) for place in form.places],
                board.get_slot(form.name_sum(label)),
            )
            for label in form.labels
        }
        self._others = self._slots[form.labels[-1]]

    def note(self, label: str, seconds: float) -> None:
        """Count a duration."""
        buckets, total = self._slots.get(label, self._others)
        self._counts[buckets[bisect_left(self._bounds, seconds)]] += 1
        if seconds > 0:  # a clock that was set back must not take anything away
            self._counts[total] += int(seconds * 1_000_000)


@dataclass(frozen=True, slots=True)
class SummedHistogram:
    """A histogram as it is told, of one label.

    Attributes:
        buckets: (upper bound as text, how many durations are not longer), the last one "+Inf".
        sum_seconds: of all durations.
    """

    label: str
    buckets: Sequence[tuple[str, float]]
    sum_seconds: float


def sum_histogram(form: HistogramForm, counts: Mapping[str, int]) -> list[SummedHistogram]:
    """Return what all processes counted, of the labels that have any."""
    found = []
    for label in form.labels:
        total = 0
        buckets: list[tuple[str, float]] = []
        for place, bound in enumerate((*form.bounds, None)):
            total += counts.get(form.name_bucket(label, place), 0)
            buckets.append(("+Inf" if bound is None else repr(bound), float(total)))
        if total:
            microseconds = counts.get(form.name_sum(label), 0)
            found.append(SummedHistogram(label, buckets, microseconds / 1e6))
    return found
