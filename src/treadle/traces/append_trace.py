"""What workers leave of their writes to the log: how long commits took, and when writes failed.

A worker has a ring of its last commits, in a file of fixed size. Whoever looks reads the rings of
all workers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from treadle.shared_rows import SharedRows, read_rows
from treadle.traces.freshness import compute_quantile

COMMIT_COLUMNS: Final = ("commit at", "commit microseconds")
COMMITS_KEPT: Final = 512
"""Commits of each worker that are kept."""

FAILURE_COLUMNS: Final = ("append failure first", "append failure last", "append failures")

FAILING_US: Final = 900_000_000
"""So long after the last failed write the log counts as one whose disk fails."""

COMMIT_AGE_US: Final = 3_600_000_000
"""Commits that are older than this say nothing about the disk as it is."""


class AppendTrace:
    """Notes the commits and the failures of this process. Only one thread may use it.

    Args:
        folder: for the files of all processes; made if it is missing.
        process: its name, the same after a restart.
        clock: microseconds since 1970.
    """

    def __init__(self, folder: Path, process: str, clock: Callable[[], int]) -> None:
        self._commits = SharedRows(folder, process, COMMIT_COLUMNS)
        self._failures = SharedRows(folder, process, FAILURE_COLUMNS)
        self._clock = clock
        self._number = 0
        self._first = self._last = self._count = 0

    def note_commit(self, microseconds: int) -> None:
        """Note how long a commit took, its fsync included."""
        self._commits.set(1 + self._number % COMMITS_KEPT, (self._clock(), microseconds))
        self._number += 1

    def note_failure(self) -> None:
        """Note that the disk did not take a group of requests."""
        now = self._clock()
        if not self._last or now - self._last >= FAILING_US:
            self._first, self._count = now, 0
        self._last = now
        self._count += 1
        self._failures.set(1, (self._first, self._last, self._count))

    def close(self) -> None:
        """Close the files, which stay."""
        self._commits.close()
        self._failures.close()


@dataclass(frozen=True, slots=True)
class CommitTimes:
    """How long the last commits took.

    Attributes:
        commits: how many they are, at most COMMITS_KEPT of each worker.
        p50_us: the median, microseconds; None for no commit.
        p99_us: the 99th percentile.
    """

    commits: int
    p50_us: float | None
    p99_us: float | None


class AppendFailures(NamedTuple):
    """A time in which the disk did not take writes.

    Attributes:
        first: when it began, microseconds since 1970.
        last: when a write failed last.
        groups: of requests that were refused.
    """

    first: int
    last: int
    groups: int


def read_commit_times(folder: Path, now: int) -> CommitTimes:
    """Return how long the commits of the last hour took, those of all workers together."""
    times = [
        microseconds
        for _, rows in read_rows(folder, COMMIT_COLUMNS)
        for at, microseconds in rows.values()
        if 0 <= now - at < COMMIT_AGE_US
    ]
    weighed = [(float(one), 1) for one in times]
    return CommitTimes(len(times), compute_quantile(weighed, 0.5), compute_quantile(weighed, 0.99))


def find_append_failures(folder: Path, now: int) -> AppendFailures | None:
    """Return the failed writes that are not over yet; None where there are none."""
    failing = [
        AppendFailures(first, last, count)
        for _, rows in read_rows(folder, FAILURE_COLUMNS)
        for first, last, count in rows.values()
        if count and now - last < FAILING_US
    ]
    if not failing:
        return None
    return AppendFailures(
        min(one.first for one in failing),
        max(one.last for one in failing),
        sum(one.groups for one in failing),
    )
