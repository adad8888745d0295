"""What is told of figures over time."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from treadle.control import errors
from treadle.control.load_operations import invalid_parameter
from treadle.control.lookups import find_source
from treadle.control.times import instant
from treadle.control.traces import TraceFiles, sees_installation
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.timestamps import format_seconds
from treadle.traces.series_file import read_series
from treadle.traces.series_layout import (
    IDLE,
    LENGTHS,
    SERVER_FIGURES,
    SOURCE_FIGURES,
    Figures,
    SeriesStep,
    StepLength,
    merge_sources,
)

STEPS: Final = {str(length.seconds): length for length in LENGTHS}


def show_series(
    store: Store,
    files: TraceFiles,
    account: Account,
    name: str | None = None,
    source: str | None = None,
    since: str | None = None,
    step: str | None = None,
) -> dict[str, Any]:
    """Return figures over time: of the server, of an account, or of one source.

    Args:
        store: knows the sources of the account.
        files: of the server.
        account: who asks.
        name: names of figures with commas between them; None for all.
        source: id of a source; None for all of them together.
        since: when the first step begins, RFC 3339; None for as long as steps are kept.
        step: length of the steps in seconds; None for 10.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong; 404, no such source.
    """
    length = STEPS.get(step or str(LENGTHS[0].seconds))
    if length is None:
        raise invalid_parameter("step", "10, 60 or 3600")
    whole = source is None and sees_installation(store, account)
    known = SERVER_FIGURES if whole else SOURCE_FIGURES
    names = known if name is None else tuple(name.split(","))
    if not set(names) <= set(known):
        raise invalid_parameter("name", "one or more of " + ",".join(known))
    wanted: int | None = None
    if source is not None:
        found = find_source(store, account, source)
        if found is None:
            raise errors.source_not_found(source, status=404)
        wanted = found.id
    own: Collection[int] = () if wanted is None else (wanted,)
    if wanted is None and not whole:
        own = {one.id for one in store.sources.list_sources(account.id)}
    begin, end = _choose_span(length, since, files.clock() // 1_000_000)
    steps = read_series(files.series, length, begin, end, own)
    if wanted is None and not whole:
        steps = merge_account(steps)
    columns = arrange_columns(steps, length, begin, end, names, source_id=wanted, whole=whole)
    return {
        "source_id": wanted,
        "step_seconds": length.seconds,
        "from_at": format_seconds(begin * 1_000_000),
        "until_at": format_seconds(end * 1_000_000),
        "series": columns,
    }


def _choose_span(length: StepLength, since: str | None, now: int) -> tuple[int, int]:
    """Return when the first step begins and the last one ends, seconds since 1970."""
    end = now // length.seconds * length.seconds
    if length is not LENGTHS[0]:
        end += length.seconds  # the present step, as far as it is known
    begin = end - length.kept * length.seconds
    if since is not None:
        at = instant(since)
        if at is None:
            raise invalid_parameter("from", "a time such as 2026-01-01T00:00:00Z")
        asked = at // 1_000_000 // length.seconds * length.seconds
        begin = min(max(begin, asked), end)
    return begin, end


def merge_account(steps: Iterable[SeriesStep]) -> list[SeriesStep]:
    """Return steps whose figures are those of their sources together."""
    return [
        replace(step, server=merge_sources(step.sources.values()), sources={}) for step in steps
    ]


def arrange_columns(
    steps: Sequence[SeriesStep],
    length: StepLength,
    begin: int,
    end: int,
    names: Sequence[str],
    *,
    source_id: int | None,
    whole: bool,
) -> dict[str, list[float | None]]:
    """Return name -> the values of all steps, None for those that are missing.

    Args:
        steps: that were found.
        length: of the steps.
        begin: of the first step, seconds since 1970.
        end: of the last step.
        names: of figures.
        source_id: the source whose figures they are; None for those of the step.
        whole: the steps have all figures of the server.
    """
    kept: dict[int, Figures] = {}
    for step in steps:
        if source_id is None:
            kept[step.at] = step.server
        elif source_id in step.sources:
            kept[step.at] = step.sources[source_id]
        elif not step.is_full:
            kept[step.at] = IDLE
    known = SERVER_FIGURES if whole else SOURCE_FIGURES
    places = [(name, known.index(name)) for name in names]
    times = range(begin, end, length.seconds)
    return {
        name: [None if (found := kept.get(at)) is None else found[place] for at in times]
        for name, place in places
    }
