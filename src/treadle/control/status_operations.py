"""What is told of the whole: totals and rates of records, what waits, freshness, destinations.

It comes from sums that the database makes, from the board of the loader and from the series, and
never from the ledger or the log, so that it may be asked once a second with any number of tables.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle import __version__
from treadle.control.problem_operations import ProblemWatch
from treadle.control.traces import TraceFiles, sees_installation
from treadle.store.model import Account, ConfiguredDestination, SourceTotals
from treadle.store.store import Store
from treadle.timestamps import format_microseconds, format_seconds
from treadle.traces.series_file import read_series
from treadle.traces.series_layout import (
    COUNTED,
    LENGTHS,
    SERVER_FIGURES,
    STATUS_CLASSES,
    Figures,
    count_ended,
    merge_sources,
)
from treadle.waiting_rows import WaitingRow, read_waiting

RATES: Final = ((10, 1), (60, 6))
"""Seconds of a rate, and how many of the shortest steps it takes."""

FRESH_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class StatusReadings:
    """What the status is made of.

    Attributes:
        now: microseconds since 1970.
        totals: of the sources that count.
        waiting: of all sources.
        recent: figures of the last steps of ten seconds with the beginning of each, in order.
        minutes: figures of the minutes of the last hour.
        source_ids: the sources that count; None for all.
    """

    now: int
    totals: Sequence[SourceTotals]
    waiting: Mapping[int, WaitingRow]
    recent: Sequence[tuple[int, Figures]]
    minutes: Sequence[Figures]
    source_ids: Collection[int] | None


def show_status(
    store: Store, files: TraceFiles, account: Account, problems: ProblemWatch | None = None
) -> dict[str, Any]:
    """Return the status of what an account may see.

    Args:
        store: totals and destinations.
        files: of the server.
        account: who asks.
        problems: finds problems; None where nobody does.
    """
    whole = sees_installation(store, account)
    own = None if whole else {one.id for one in store.sources.list_sources(account.id)}
    now = files.clock()
    seen = read_status(store, files, own, now)
    destinations = store.destinations.list_destinations(None if whole else account.id)
    return {
        "at": format_microseconds(now),
        "version": __version__,
        **render_records(seen),
        "destinations": render_destinations(destinations),
        "problems": None if problems is None else problems.count(account.id),
        "server": _render_server(seen) if whole else None,
    }


def read_status(
    store: Store,
    files: TraceFiles,
    source_ids: Collection[int] | None,
    now: int,
    waiting: Mapping[int, WaitingRow] | None = None,
) -> StatusReadings:
    """Read what the status of some sources is made of.

    Args:
        store: totals.
        files: of the server.
        source_ids: the sources that count; None for all.
        now: microseconds since 1970.
        waiting: what waits of all sources, as somebody has read it before; None to read what the
            processes of this machine tell.
    """
    # What waits before what is loaded: what a load takes between the two questions is then
    # counted twice for a moment, and never missing.
    if waiting is None:
        waiting = read_waiting(files.counters)
    totals = store.tables.list_source_totals()
    seconds = now // 1_000_000
    wanted: Collection[int] = () if source_ids is None else source_ids
    shortest, minutes = LENGTHS[0], LENGTHS[1]
    end = seconds // shortest.seconds * shortest.seconds
    recent = read_series(files.series, shortest, end - 70, end, wanted)
    hour = read_series(files.series, minutes, seconds - FRESH_HOUR, seconds + 1, wanted)

    def choose(server: Figures, sources: Mapping[int, Figures]) -> Figures:
        return server if source_ids is None else merge_sources(sources.values())

    return StatusReadings(
        now,
        totals,
        waiting,
        [(step.at, choose(step.server, step.sources)) for step in recent],
        [choose(step.server, step.sources) for step in hour],
        source_ids,
    )


def render_records(seen: StatusReadings) -> dict[str, Any]:
    """Return what is told of records."""

    def counts(source_id: int) -> bool:
        return seen.source_ids is None or source_id in seen.source_ids

    totals = [one for one in seen.totals if counts(one.source_id)]
    waits = [row for source_id, row in seen.waiting.items() if counts(source_id) and row.records]
    waiting = sum(row.records for row in waits)
    oldest = min((row.oldest for row in waits if row.oldest), default=None)
    p50, p99 = _read_freshness(seen.minutes)
    return {
        "totals": {
            "accepted": sum(one.received for one in totals) + waiting,
            "loaded": sum(one.loaded for one in totals),
            "superseded": sum(one.superseded for one in totals),
            "rejected": sum(one.rejected for one in totals),
            "waiting": waiting,
        },
        "rates": [_render_rate(seen, seconds, steps) for seconds, steps in RATES],
        "oldest_waiting_at": None if oldest is None else format_microseconds(oldest),
        "oldest_waiting_seconds": None if oldest is None else max(0, seen.now - oldest) / 1e6,
        "freshness": {"p50_seconds": p50, "p99_seconds": p99},
        "tables": {
            "known": sum(one.tables for one in totals),
            "failing": sum(one.failing for one in totals),
            "stopped": sum(one.stopped for one in totals),
        },
        "sampled_at": format_seconds(seen.recent[-1][0] * 1_000_000) if seen.recent else None,
    }


def _render_rate(seen: StatusReadings, seconds: int, steps: int) -> dict[str, Any]:
    """Return the records a second of the last steps; None where they are not known."""
    length = LENGTHS[0].seconds
    end = seen.now // 1_000_000 // length * length
    # The step that has just ended may not be written yet.
    last = max((at for at, _ in seen.recent), default=0)
    end = end if last >= end - length else end - length
    chosen = [figures for at, figures in seen.recent if end - steps * length <= at < end]
    values = {
        name: sum(figures[place] or 0 for figures in chosen) / seconds if chosen else None
        for place, name in enumerate(COUNTED)
    }
    return {"seconds": seconds, **values}


def _read_freshness(minutes: Sequence[Figures]) -> tuple[float | None, float | None]:
    """Return how long records of the last hour waited: the median and the 99th percentile."""
    if not minutes:
        return None, None
    names = SERVER_FIGURES[: len(minutes[0])]
    places = [names.index(f"freshness_{part}_seconds") for part in ("p50", "p99")]
    weighed = [
        (figures[places[0]] or 0.0, count_ended(figures))
        for figures in minutes
        if figures[places[0]] is not None
    ]
    weight = sum(its for _, its in weighed)
    p50 = sum(value * its for value, its in weighed) / weight if weight else None
    p99 = max((one for figures in minutes if (one := figures[places[1]]) is not None), default=None)
    return p50, p99


def render_destinations(rows: Iterable[ConfiguredDestination]) -> list[dict[str, Any]]:
    """Return the state of each destination that is not deleted."""
    return [_render_destination(row) for row in rows if row.deleted_at is None]


def _render_destination(row: ConfiguredDestination) -> dict[str, Any]:
    up = row.trouble is None and row.usable_since is not None
    return {
        "id": row.id,
        "type": row.type,
        "name": row.name,
        "state": "up" if up else "unchecked" if row.usable_since is None else "down",
        "since": None if row.trouble_since is None else format_microseconds(row.trouble_since),
        "said": row.trouble,
    }


def _render_server(seen: StatusReadings) -> dict[str, Any]:
    figures = dict(zip(SERVER_FIGURES, seen.recent[-1][1] if seen.recent else (), strict=False))
    return {
        "log_bytes": figures.get("log_bytes"),
        "disk_free_bytes": figures.get("disk_free_bytes"),
        "requests_per_second": {
            one: None if (value := figures.get(f"requests_{one}")) is None else value / 10
            for one in STATUS_CLASSES
        },
    }
