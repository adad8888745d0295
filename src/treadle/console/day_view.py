"""A day of one table as SVG: a mark for each attempt, with start, duration and error. Pure.

It has the form of the plots (`plot`): no script, no style of its own, a title and a description.
Where there are more attempts than marks, attempts of a quarter of an hour share one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from treadle.console.view import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    count_words,
    format_duration,
    show_text,
)
from treadle.store.load_folding import count_parts
from treadle.store.model import LoadReport
from treadle.timestamps import format_seconds

WIDTH: Final = 960
HEIGHT: Final = 96
LEFT: Final = 8
RIGHT: Final = 8
BASE: Final = 70
TALL: Final = 54
LEAST: Final = 6
"""Height of the mark of the shortest attempt."""

MARKS_MAX: Final = 120
SLOT_US: Final = 15 * MINUTE_US
NARROWEST: Final = 4.0
"""Width of a mark of an attempt that took no time."""

ERROR_CHARACTERS_MAX: Final = 120

FOLDED: Final = (
    "After a day the loads of an hour become one report, which does not say how long each took."
)


@dataclass(frozen=True, slots=True)
class DayMark:
    """A mark: one attempt, those of a report that was folded, or those of a slot.

    Attributes:
        start: of the first one, microseconds since midnight; below zero for one of the day before.
        span: how much of the day it covers, microseconds.
        duration: of the longest one, microseconds; None where that of some is not kept.
        attempts: how many it stands for; `failed` of them failed.
        error: of the first one that failed; None for none.
    """

    start: int
    span: int
    duration: int | None
    attempts: int
    failed: int
    error: str | None


def plan_marks(loads: Iterable[LoadReport], midnight: int) -> list[DayMark]:
    """Return the marks of a day, in order of time.

    Args:
        loads: attempts of one table that ended on the day.
        midnight: the beginning of the day, microseconds since 1970.
    """
    single = [_mark_load(one, midnight) for one in sorted(loads, key=lambda one: one.started_at)]
    if len(single) <= MARKS_MAX:
        return single
    slots: dict[int, list[DayMark]] = {}
    for mark in single:
        slots.setdefault(max(0, min(mark.start, DAY_US - 1)) // SLOT_US, []).append(mark)
    return [_join_marks(slot * SLOT_US, marks) for slot, marks in sorted(slots.items())]


def _mark_load(one: LoadReport, midnight: int) -> DayMark:
    span = max(0, one.finished_at - one.started_at)
    attempts = count_parts(one)
    return DayMark(
        one.started_at - midnight,
        span,
        span if attempts == 1 else None,
        attempts,
        int(one.error is not None),
        one.error,
    )


def _join_marks(start: int, marks: Sequence[DayMark]) -> DayMark:
    known = [mark.duration for mark in marks if mark.duration is not None]
    return DayMark(
        start,
        max(mark.span for mark in marks),
        max(known) if len(known) == len(marks) else None,
        sum(mark.attempts for mark in marks),
        sum(mark.failed for mark in marks),
        next((mark.error for mark in marks if mark.error is not None), None),
    )


def draw_day(marks: Sequence[DayMark], *, title: str, name: str = "day") -> str:
    """Return a day as an SVG element.

    Args:
        marks: of the day, in order of time.
        title: of the element.
        name: of the element, unlike others of the page.
    """
    longest = max((mark.duration or 0 for mark in marks), default=0)
    ids = f"{escape(name)}-title {escape(name)}-desc"
    lines = [
        f'<svg class="plot day" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{ids}">',
        f'<title id="{escape(name)}-title">{escape(title)}</title>',
        f'<desc id="{escape(name)}-desc">{escape(describe_day(marks))}</desc>',
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{BASE}" y2="{BASE}"/>',
    ]
    for hour in range(0, 25, 3):
        x = _place(hour * HOUR_US)
        anchor = "start" if hour == 0 else "end" if hour == 24 else "middle"
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{BASE}" y2="{BASE + 5}"/>')
        lines.append(
            f'<text class="axis" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">'
            f"{hour:02}:00</text>"
        )
    lines += [_draw_mark(mark, longest) for mark in marks]
    lines.append("</svg>")
    return "".join(lines)


def describe_day(marks: Sequence[DayMark]) -> str:
    """Return a day in words."""
    attempts = sum(mark.attempts for mark in marks)
    if not attempts:
        return "No attempt."
    failed = sum(mark.failed for mark in marks)
    told = f"{count_words(attempts, 'attempt')}, {failed} failed"
    known = [mark.duration for mark in marks if mark.duration is not None]
    if len(known) == len(marks):
        return f"{told}; the longest took {format_duration(max(known))}."
    if known:
        told += f"; the longest that is known took {format_duration(max(known))}"
    return f"{told}. {FOLDED}"


def _draw_mark(mark: DayMark, longest: int) -> str:
    """Return a mark: its height is its duration, and a failed one hangs below the line as well."""
    x = _place(mark.start)
    width = max(NARROWEST, _place(mark.start + mark.span) - x)
    height = LEAST + (TALL - LEAST) * ((mark.duration or 0) / longest if longest else 0.0)
    kind = "bad" if mark.failed else "good"
    below = 8 if mark.failed else 0
    return (
        f'<rect class="mark {kind}" x="{x:.1f}" y="{BASE - height:.1f}" width="{width:.1f}" '
        f'height="{height + below:.1f}"><title>{escape(describe_mark(mark))}</title></rect>'
    )


def describe_mark(mark: DayMark) -> str:
    """Return a mark in words."""
    at = format_seconds(min(mark.start, DAY_US - 1))[11:19]
    if mark.start < 0:
        at += " of the day before" if mark.start >= -DAY_US else " of an earlier day"
    took = None if mark.duration is None else format_duration(mark.duration)
    if mark.attempts > 1:
        told = f"{at}: {mark.attempts} attempts, {mark.failed} failed"
        told += "" if took is None else f", the longest {took}"
    else:
        told = f"{at}, {took}" + (", failed" if mark.failed else "")
    return told if mark.error is None else f"{told}: {show_text(mark.error, ERROR_CHARACTERS_MAX)}"


def _place(since_midnight: int) -> float:
    span = WIDTH - LEFT - RIGHT
    return LEFT + span * min(max(since_midnight / DAY_US, 0.0), 1.0)
