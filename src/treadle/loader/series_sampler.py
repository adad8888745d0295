"""Writes the figures of each ten seconds, in a thread of its own.

It reads sums by source from the store, and never the ledger or the log: what waits it gets from the
loader's main thread, and answers from the counters of the workers.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle.errors import TreadleError
from treadle.loader.waiting_board import NOTHING_WAITS, SourceBacklog
from treadle.log.quota import LogSpace
from treadle.store.model import LoadReport, SourceTotals
from treadle.traces.freshness import FreshnessGauge, WaitedLoad, measure_freshness
from treadle.traces.series_file import SeriesWriter
from treadle.traces.series_layout import (
    COUNTED,
    LENGTHS,
    Figures,
    SeriesStep,
    select_busiest,
    sum_answers,
)

STEP_SECONDS: Final = LENGTHS[0].seconds
FIRST_SECONDS: Final = 0.5
"""The first look is so long after the start: what comes after it is in the first step."""

LATE_SECONDS: Final = 0.25
"""A step is written so long after its end, when the loader has told what waits at its end."""

FORGETTING: Final = 0.998
"""What is left of the weight of a source after a step: half after an hour."""

logger = logging.getLogger("treadle.loader")


@dataclass(frozen=True, slots=True)
class FigureReadings:
    """All that one look sees.

    Attributes:
        at: microseconds since 1970.
        totals: by source, since the store was made.
        waiting: by source.
        requests: answers by status class, since the counters were made, as `STATUS_CLASSES`.
        space: of the log.
        loads: since the last look, by source.
        others: process of another machine -> its answers, as `requests`.
    """

    at: int
    totals: Mapping[int, SourceTotals]
    waiting: Mapping[int, SourceBacklog]
    requests: Sequence[int]
    space: LogSpace
    loads: Mapping[int, Sequence[WaitedLoad]]
    others: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(slots=True)
class FigureDifference:
    """Makes steps of readings: what counts grew by since the last one, and what is so now.

    Counts never shrink: a load that the store knows and the log does not yet counts as accepted
    twice for a moment, and the greatest number seen is the one that is compared with.
    """

    _counts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _requests: Sequence[int] | None = None
    _others: dict[str, Sequence[int]] = field(default_factory=dict)
    """The answers of processes of other machines, also of those that are gone and may return."""
    _weights: dict[int, float] = field(default_factory=dict)

    def make_step(self, seen: FigureReadings, at: int) -> SeriesStep | None:
        """Return the step that ends with a reading; None for the first one.

        Args:
            seen: the reading.
            at: the beginning of the step, seconds since 1970.
        """
        is_first = self._requests is None
        sources: dict[int, Figures] = {}
        sums = [0] * len(COUNTED)
        for source_id in seen.totals.keys() | seen.waiting.keys() | seen.loads.keys():
            waits = seen.waiting.get(source_id, NOTHING_WAITS)
            grown = self._compare(source_id, seen.totals.get(source_id), waits.records)
            if is_first:
                continue
            sums = [have + more for have, more in zip(sums, grown, strict=True)]
            loads = seen.loads.get(source_id, ())
            weight = self._weights.get(source_id, 0.0) * FORGETTING + sum(grown)
            self._weights[source_id] = weight
            if weight < 1:
                del self._weights[source_id]
            if any(grown) or waits.records or loads:
                sources[source_id] = (
                    *map(float, grown),
                    float(waits.records),
                    _measure_age(seen.at, waits.oldest),
                    *measure_freshness(loads),
                )
        answered = _count_growth(self._requests or seen.requests, seen.requests)
        self._requests = seen.requests
        for process, counts in seen.others.items():
            more = _count_growth(self._others.get(process, counts), counts)
            self._others[process] = counts
            answered = [have + its for have, its in zip(answered, more, strict=True)]
        if is_first:
            return None
        oldest = min((one.oldest for one in seen.waiting.values() if one.oldest), default=0)
        server: Figures = (
            *map(float, sums),
            float(sum(one.records for one in seen.waiting.values())),
            _measure_age(seen.at, oldest),
            *measure_freshness([load for loads in seen.loads.values() for load in loads]),
            *map(float, answered),
            float(seen.space.used_bytes),
            None if seen.space.free_bytes is None else float(seen.space.free_bytes),
        )
        return SeriesStep(at, server, select_busiest(sources, self._weights))

    def _compare(
        self, source_id: int, totals: SourceTotals | None, waiting: int
    ) -> tuple[int, ...]:
        """Return by how much the counts of a source have grown."""
        present = (
            (waiting, 0, 0, 0)
            if totals is None
            else (
                totals.received + waiting,
                totals.loaded,
                totals.superseded,
                totals.rejected,
            )
        )
        before = self._counts.get(source_id, (0, 0, 0, 0))
        self._counts[source_id] = tuple(map(max, present, before))
        return tuple(max(0, now - then) for now, then in zip(present, before, strict=True))


def _count_growth(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """Return by how much counts have grown; counts of a data folder that was lost begin anew."""
    return [max(0, its - then) for then, its in zip(before, now, strict=True)]


def _measure_age(now: int, oldest: int) -> float:
    return max(0, now - oldest) / 1e6 if oldest else 0.0


def choose_look_pause(now: int) -> float:
    """Return the seconds until shortly after the end of the present step.

    Args:
        now: microseconds since 1970.
    """
    return STEP_SECONDS - now % (STEP_SECONDS * 1_000_000) / 1e6 + LATE_SECONDS


@dataclass(slots=True)
class SeriesSampler:
    """Reads the figures at the end of each step, and writes them.

    Attributes:
        read_totals: returns the totals of all sources, from the store.
        read_requests: returns how many answers were given, by status class.
        open_writer: opens the file.
        clock: microseconds since 1970.
        read_loads: returns source id and load, of those that were recorded since the last call, by
            whatever process; None where this process does all of them, and notes each.
        read_waiting: returns what waits by source, of all loaders; None where this process is told
            of all that waits.
        read_others: returns process -> answers by class of status, of those of other machines; None
            where there is none.
    """

    read_totals: Callable[[], Mapping[int, SourceTotals]]
    read_requests: Callable[[], Mapping[str, int]]
    open_writer: Callable[[], SeriesWriter]
    clock: Callable[[], int]
    read_loads: Callable[[], Iterable[tuple[int, WaitedLoad]]] | None = None
    read_waiting: Callable[[], Mapping[int, SourceBacklog]] | None = None
    read_others: Callable[[], Mapping[str, Sequence[int]]] | None = None
    _difference: FigureDifference = field(default_factory=FigureDifference)
    _gauge: FreshnessGauge = field(default_factory=FreshnessGauge)
    _writer: SeriesWriter | None = None
    _waiting: tuple[Mapping[int, SourceBacklog], LogSpace] | None = None
    _step: int | None = None
    _is_failing: bool = False

    def note_waiting(self, waiting: Mapping[int, SourceBacklog], space: LogSpace) -> None:
        """Take what waits now, by source, and the space of the log; any thread may call it."""
        self._waiting = waiting, space

    def note_load(self, load: LoadReport) -> None:
        """Take how long the records of a committed load waited; any thread may call it."""
        if self.read_loads is not None:
            return
        median, longest = load.waited_p50_us, load.waited_max_us
        if median is not None and longest is not None and load.rows_received:
            self._gauge.add(load.source_id, WaitedLoad(load.rows_received, median, longest))

    def run(self, stop: threading.Event) -> None:
        """Sample until `stop` is set."""
        pause = FIRST_SECONDS
        while not stop.wait(pause):
            self.look()
            pause = choose_look_pause(self.clock())
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def look(self) -> None:
        """Write a step if one is over; what cannot be read or written now is left out."""
        now = self.clock()
        step = now // (STEP_SECONDS * 1_000_000)
        if step == self._step:
            return
        try:
            self._write_step(now, (step - 1) * STEP_SECONDS)
        except (TreadleError, OSError) as error:
            if not self._is_failing:
                logger.warning("figures are left out of the series: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False
        self._step = step

    def _write_step(self, now: int, at: int) -> None:
        waits = self._waiting
        if waits is None:
            return
        requests = self.read_requests()
        counts = sum_answers(requests)
        others = {} if self.read_others is None else self.read_others()
        waiting, space = waits
        if self.read_waiting is not None:
            waiting = self.read_waiting()
        for source_id, load in self.read_loads() if self.read_loads is not None else ():
            self._gauge.add(source_id, load)
        found = self._difference.make_step(
            FigureReadings(
                now, self.read_totals(), waiting, counts, space, self._gauge.take(), others
            ),
            at,
        )
        if found is None:
            return
        if self._writer is None:
            self._writer = self.open_writer()
        self._writer.write(found)
