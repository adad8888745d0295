"""Spans of time, in seconds of one monotonic clock: when something could not work."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class TimeWindow:
    """From one moment to a later one; the end does not belong to it."""

    begin: float
    end: float


def unite_windows(windows: Iterable[TimeWindow]) -> list[TimeWindow]:
    """Return the same time as windows that do not touch, in their order."""
    found: list[TimeWindow] = []
    for window in sorted(windows):
        if found and window.begin <= found[-1].end:
            found[-1] = TimeWindow(found[-1].begin, max(found[-1].end, window.end))
        elif window.end > window.begin:
            found.append(window)
    return found


def intersect_windows(parts: Sequence[Iterable[TimeWindow]]) -> list[TimeWindow]:
    """Return the time that is in every part; nothing where there are no parts."""
    if not parts:
        return []
    common = unite_windows(parts[0])
    for part in parts[1:]:
        other = unite_windows(part)
        common = unite_windows(
            TimeWindow(max(a.begin, b.begin), min(a.end, b.end))
            for a in common
            for b in other
            if max(a.begin, b.begin) < min(a.end, b.end)
        )
    return common


def is_inside(moment: float, windows: Iterable[TimeWindow]) -> bool:
    """Return whether a moment is in one of the windows."""
    return any(window.begin <= moment < window.end for window in windows)


def subtract_windows(span: TimeWindow, windows: Iterable[TimeWindow]) -> list[TimeWindow]:
    """Return what is left of a span without the windows, in order."""
    left: list[TimeWindow] = []
    begin = span.begin
    for window in unite_windows(windows):
        if window.end <= begin or window.begin >= span.end:
            continue
        if window.begin > begin:
            left.append(TimeWindow(begin, window.begin))
        begin = max(begin, window.end)
    if begin < span.end:
        left.append(TimeWindow(begin, span.end))
    return left
