"""Series of numbers as SVG, without script and without style of its own. Pure.

A plot is a line for each series over a common axis of time. It has a title and a description for
who cannot see it; the page has the numbers as a table beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 160
LEFT: Final = 60
BOTTOM: Final = 22
TOP: Final = 16
RIGHT: Final = 8
SERIES_MAX: Final = 6
"""The style sheet has so many kinds of lines."""


@dataclass(frozen=True, slots=True)
class PlotSeries:
    """One line of a plot.

    Attributes:
        label: in the legend.
        values: one for each point in time; None where nothing is known.
    """

    label: str
    values: Sequence[float | None]


def draw_plot(
    title: str,
    series: Sequence[PlotSeries],
    *,
    begin: str,
    end: str,
    unit: str = "",
    name: str = "plot",
) -> str:
    """Return a plot as an SVG element.

    Args:
        title: of the plot.
        series: at most SERIES_MAX, all with as many values.
        begin: label of the first point in time.
        end: label of the last one.
        unit: of the values, for the description.
        name: of the element, unlike others of the page.
    """
    shown = list(series[:SERIES_MAX])
    known = [value for one in shown for value in one.values if value is not None]
    top = round_up(max(known, default=0.0))
    words = describe_plot(shown, unit)
    ids = f"{escape(name)}-title {escape(name)}-desc"
    lines = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{ids}">',
        f'<title id="{escape(name)}-title">{escape(title)}</title>',
        f'<desc id="{escape(name)}-desc">{escape(words)}</desc>',
    ]
    for part in (0.0, 0.5, 1.0):
        y = _place_value(top * part, top)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        lines.append(
            f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{format_axis(top * part)}</text>"
        )
    for number, one in enumerate(shown):
        for points in _list_runs(one.values, top):
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            lone = " lone" if points[0] == points[-1] and len(points) == 2 else ""
            lines.append(f'<path class="series s{number}{lone}" d="{path}"/>')
    base = HEIGHT - 5
    lines.append(f'<text class="axis" x="{LEFT}" y="{base}">{escape(begin)}</text>')
    lines.append(
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{base}" text-anchor="end">{escape(end)}</text>'
    )
    lines.append("</svg>")
    return "".join(lines)


def describe_plot(series: Sequence[PlotSeries], unit: str) -> str:
    """Return a plot in words: the last and the greatest value of each series."""
    told = []
    for one in series:
        known = [value for value in one.values if value is not None]
        if not known:
            told.append(f"{one.label}: nothing is known")
            continue
        tail = f" {unit}" if unit else ""
        last, most = format_axis(known[-1]), format_axis(max(known))
        told.append(f"{one.label}: last {last}{tail}, most {most}{tail}")
    return "; ".join(told) or "no series"


def round_up(value: float) -> float:
    """Return the end of an axis: the next 1, 2 or 5 of a power of ten, at least 1."""
    if not math.isfinite(value) or value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1, 2, 5, 10):
        if value <= step * power * (1 + 1e-9):
            return float(step * power)
    return 10 * power


def format_axis(value: float) -> str:
    """Write a value of an axis in few characters: 12, 1500 as 1.5k, 20 million as 20M."""
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.1f}".removesuffix(".0") + sign
    return f"{value:.1f}".removesuffix(".0")


def _place_value(value: float, top: float) -> float:
    span = HEIGHT - TOP - BOTTOM
    return TOP + span * (1 - min(max(value / top, 0.0), 1.0))


def _list_runs(values: Sequence[float | None], top: float) -> list[list[tuple[float, float]]]:
    """Return the points of the parts of a series in which nothing is missing."""
    runs: list[list[tuple[float, float]]] = [[]]
    span = WIDTH - LEFT - RIGHT
    last = max(len(values) - 1, 1)
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((LEFT + span * place / last, _place_value(value, top)))
    return [run if len(run) > 1 else [*run, *run] for run in runs if run]


SPARK_HEIGHT: Final = 24
SPARK_STEP: Final = 4
"""Units from one bar to the next."""


def draw_bars(label: str, counts: Sequence[int]) -> str:
    """Return a small plot of counts, one bar for each, as an SVG element without axes.

    Args:
        label: what it shows, in words: it has no other text.
        counts: zero or more.
    """
    most = max(counts, default=0) or 1
    bars = "".join(
        f"M{SPARK_STEP * place + 1} {SPARK_HEIGHT}v-{max(1, round(count * SPARK_HEIGHT / most))}"
        for place, count in enumerate(counts)
        if count
    )
    width = SPARK_STEP * len(counts)
    return (
        f'<svg class="bars" viewBox="0 0 {width} {SPARK_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}"><path class="base" '
        f'd="M0 {SPARK_HEIGHT}H{width}"/><path d="{bars}"/></svg>'
    )
