"""Figures over time as plots and as tables of the overview. Pure: series in, lines and rows out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from treadle.console import view
from treadle.console.plot import PlotSeries, draw_plot
from treadle.timestamps import format_seconds

SECOND_US: Final = view.SECOND_US

Joining = Literal["rate", "most", "last"]
"""How steps become one point: what was counted a second, the greatest value, or the last one."""

SeriesColumns = Mapping[str, Sequence[float | None]]
"""Name of a figure -> its value for each step; None where it is not known."""


@dataclass(frozen=True, slots=True)
class PlotRange:
    """A range of time that plots show.

    Attributes:
        name: in the URL.
        label: as it is shown.
        seconds: how long it is.
        step: length of the steps that it is made of, seconds.
        point_steps: steps of one point of a plot.
        row_steps: steps of one row of a table.
        form: of the labels of time, for `view.format_clock`.
        refresh_seconds: how long plots of it are kept.
    """

    name: str
    label: str
    seconds: int
    step: int
    point_steps: int
    row_steps: int
    form: view.ClockForm
    refresh_seconds: float


RANGES: Final = (
    PlotRange("1h", "1 hour", 3600, 10, 3, 12, "minute", 5.0),
    PlotRange("24h", "24 hours", 86_400, 60, 12, 60, "minute", 5.0),
    PlotRange("7d", "7 days", 7 * 86_400, 3600, 1, 6, "day", 60.0),
    PlotRange("90d", "90 days", 90 * 86_400, 3600, 18, 72, "day", 60.0),
)


@dataclass(frozen=True, slots=True)
class PlotLine:
    """A line of a plot.

    Attributes:
        label: in the legend.
        figure: the name of the figure.
    """

    label: str
    figure: str


@dataclass(frozen=True, slots=True)
class PlotForm:
    """A plot of the overview.

    Attributes:
        name: of the plot.
        title: of the plot.
        unit: of its values, in words; empty for none.
        joining: how steps become points.
        lines: of the plot.
        writing: how values are written.
    """

    name: str
    title: str
    unit: str
    joining: Joining
    lines: tuple[PlotLine, ...]
    writing: Literal["rate", "count", "seconds", "bytes"]


FORMS: Final = (
    PlotForm(
        "records",
        "Records a second",
        "a second",
        "rate",
        (
            PlotLine("accepted", "accepted"),
            PlotLine("loaded", "loaded"),
            PlotLine("rejected", "rejected"),
        ),
        "rate",
    ),
    PlotForm("waiting", "Records waiting", "", "most", (PlotLine("waiting", "waiting"),), "count"),
    PlotForm(
        "freshness",
        "Seconds from acceptance to load",
        "s",
        "most",
        (
            PlotLine("median", "freshness_p50_seconds"),
            PlotLine("99 of 100 below", "freshness_p99_seconds"),
        ),
        "seconds",
    ),
    PlotForm(
        "requests",
        "Answers a second by status",
        "a second",
        "rate",
        tuple(PlotLine(one, f"requests_{one}") for one in ("2xx", "3xx", "4xx", "5xx")),
        "rate",
    ),
    PlotForm("log", "Size of the log", "bytes", "last", (PlotLine("log", "log_bytes"),), "bytes"),
)


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line of the legend.

    Attributes:
        label: of the line.
        last: its last value that is known, as it is written.
    """

    label: str
    last: str


@dataclass(frozen=True, slots=True)
class ShownPlot:
    """A plot as a page shows it.

    Attributes:
        svg: the drawing.
        lines: the legend.
        rows: the table, newest first: a time, and the value of each line.
    """

    name: str
    title: str
    svg: str
    lines: tuple[ShownLine, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def find_range(name: str) -> PlotRange:
    """Return the range with a name; the first one for any other text."""
    return next((one for one in RANGES if one.name == name), RANGES[0])


def show_plots(columns: SeriesColumns, shown: PlotRange, begin: int, now: int) -> list[ShownPlot]:
    """Return the plots of a range for which there are figures.

    Args:
        columns: of steps of the range's length.
        shown: the range.
        begin: of the first step, seconds since 1970.
        now: seconds since 1970.
    """
    return [
        _show_plot(form, columns, shown, begin, now)
        for form in FORMS
        if all(line.figure in columns for line in form.lines)
    ]


def _show_plot(
    form: PlotForm, columns: SeriesColumns, shown: PlotRange, begin: int, now: int
) -> ShownPlot:
    first = max(begin, now - shown.seconds)
    joined = [
        list(join_steps(columns[line.figure], form.joining, shown, begin, first, now))
        for line in form.lines
    ]
    series = [
        PlotSeries(line.label, [value for _, value in points])
        for line, points in zip(form.lines, joined, strict=True)
    ]
    svg = draw_plot(
        form.title,
        series,
        begin=view.format_clock(first * SECOND_US, shown.form),
        end=view.format_clock(now * SECOND_US, shown.form),
        unit=form.unit,
        name=f"plot-{form.name}",
    )
    lines = tuple(ShownLine(one.label, _write(form, _find_last(one.values))) for one in series)
    return ShownPlot(
        form.name, form.title, svg, lines, _list_rows(form, columns, shown, begin, first, now)
    )


def _find_last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _list_rows(
    form: PlotForm, columns: SeriesColumns, shown: PlotRange, begin: int, first: int, now: int
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    joined = [
        list(
            join_steps(
                columns[line.figure], form.joining, shown, begin, first, now, shown.row_steps
            )
        )
        for line in form.lines
    ]
    rows = [
        (
            view.format_clock(points[0][0] * SECOND_US, shown.form),
            tuple(_write(form, value) for _, value in points),
        )
        for points in zip(*joined, strict=True)
    ]
    return tuple(reversed(rows))


def join_steps(
    values: Sequence[float | None],
    joining: Joining,
    shown: PlotRange,
    begin: int,
    first: int,
    now: int,
    steps: int | None = None,
) -> Iterator[tuple[int, float | None]]:
    """Yield the points of a line: the beginning of each and its value.

    Points begin at multiples of their length, so that a line moves on and keeps its form.

    Args:
        values: of steps of `shown.step` seconds.
        joining: how steps become one point.
        shown: the range.
        begin: of the first step, seconds since 1970.
        first: earlier steps are left out.
        now: seconds since 1970; the present step is as long as it lasts.
        steps: of one point; None for those of a plot.
    """
    length = shown.step * (steps or shown.point_steps)
    at: int | None = None
    known: list[tuple[float, int]] = []
    for number, value in enumerate(values):
        began = begin + number * shown.step
        if began + shown.step <= first:
            continue
        place = began // length * length
        if at is not None and place != at:
            yield at, _join(known, joining)
            known = []
        at = place
        if value is not None:
            known.append((value, max(1, min(shown.step, now - began))))
    if at is not None:
        yield at, _join(known, joining)


def _join(known: Sequence[tuple[float, int]], joining: Joining) -> float | None:
    if not known:
        return None
    if joining == "rate":
        return sum(value for value, _ in known) / sum(seconds for _, seconds in known)
    if joining == "most":
        return max(value for value, _ in known)
    return known[-1][0]


def _write(form: PlotForm, value: float | None) -> str:
    if value is None:
        return "-"
    if form.writing == "rate":
        return view.format_rate(value)
    if form.writing == "bytes":
        return view.format_bytes(int(value))
    if form.writing == "seconds":
        return view.format_duration(int(value * SECOND_US))
    return view.format_count(int(value))


def write_begin(now: int, shown: PlotRange) -> str:
    """Return when the series of a range begin, for the operation.

    Args:
        now: seconds since 1970.
        shown: the range.
    """
    return format_seconds((now - shown.seconds) * SECOND_US)
