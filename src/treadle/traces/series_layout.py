"""Figures over time: their names, the steps in which they are kept, and their form in the file.

Nothing here asks anything. A step holds the figures of the whole server exactly, and those of the
busiest sources in two bytes each: the logarithm of a figure, within 0.05 percent of it.
"""

import functools
import math
import struct
import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

COUNTED: Final = ("accepted", "loaded", "superseded", "rejected")
"""Records, by step."""

AGES: Final = ("oldest_seconds", "freshness_p50_seconds", "freshness_p99_seconds")

SOURCE_FIGURES: Final = (*COUNTED, "waiting", *AGES)
"""The figures of a source."""

STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
REQUESTS: Final = tuple(f"requests_{one}" for one in STATUS_CLASSES)
SERVER_FIGURES: Final = (*SOURCE_FIGURES, *REQUESTS, "log_bytes", "disk_free_bytes")
"""The figures of the whole server."""

SUMS: Final = frozenset((*COUNTED, *REQUESTS))
"""Figures that grow with the length of a step."""

SOURCES_MAX: Final = 100
"""Sources in one step."""

SOURCE_ID_MAX: Final = 2**24 - 1
"""Greatest id of a source that has a place in a step."""

_DIGITS: Final = tuple(3 if name in AGES else 0 for name in SOURCE_FIGURES)
"""Digits behind the point of each figure of a source. Numbers of records are whole."""

_UNKNOWN: Final = 65_535
_GREATEST: Final = 1e12
_SCALE: Final = 65_534 / math.log1p(_GREATEST)

_HEAD: Final = struct.Struct("<IIH")
"""Checksum, beginning of the step in seconds since 1970, number of sources."""
_SERVER: Final = struct.Struct(f"<{len(SERVER_FIGURES)}f")
_SOURCE: Final = struct.Struct(f"<{len(SOURCE_FIGURES)}H")
_ID_BYTES: Final = 3
_SOURCE_BYTES: Final = _ID_BYTES + _SOURCE.size

STEP_BYTES: Final = _HEAD.size + _SERVER.size + SOURCES_MAX * _SOURCE_BYTES

Figures = tuple[float | None, ...]
"""The values of `SERVER_FIGURES` or `SOURCE_FIGURES`; None for what is not known."""


class StepLength(NamedTuple):
    """A length of steps, and how many of them are kept."""

    seconds: int
    kept: int


LENGTHS: Final = (StepLength(10, 360), StepLength(60, 1440), StepLength(3600, 2160))
"""An hour, a day and 90 days."""


@dataclass(frozen=True, slots=True)
class SeriesStep:
    """The figures of one step.

    Attributes:
        at: its beginning, seconds since 1970.
        server: of the whole server.
        sources: source id -> its figures.
        is_full: a source that is missing may have had something; in other steps it had nothing.
    """

    at: int
    server: Figures
    sources: Mapping[int, Figures] = field(default_factory=dict)
    is_full: bool = False


IDLE: Final[Figures] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None)
"""The figures of a source that had nothing."""


def sum_answers(requests: Mapping[str, int]) -> tuple[int, ...]:
    """Return how many requests were answered with each of `STATUS_CLASSES`.

    Args:
        requests: "endpoint status" -> count; other names are left out.
    """
    sums = dict.fromkeys((one[0] for one in STATUS_CLASSES), 0)
    for name, count in requests.items():
        _, blank, status = name.rpartition(" ")
        if blank and count and status[:1] in sums:
            sums[status[:1]] += count
    return tuple(sums.values())


def encode_step(step: SeriesStep) -> bytes:
    """Return a step as it is in the file, `STEP_BYTES` long."""
    parts = [_SERVER.pack(*(math.nan if one is None else one for one in step.server))]
    for source_id, figures in list(step.sources.items())[:SOURCES_MAX]:
        parts.append(source_id.to_bytes(_ID_BYTES, "little"))
        parts.append(_SOURCE.pack(*map(_encode_figure, figures)))
    rest = b"".join(parts)
    count = min(len(step.sources), SOURCES_MAX)
    head = _HEAD.pack(0, step.at, count)[4:]
    checksum = zlib.crc32(rest, zlib.crc32(head))
    return (checksum.to_bytes(4, "little") + head + rest).ljust(STEP_BYTES, b"\0")


def decode_step(
    written: bytes, at: int, source_ids: Container[int] | None = None
) -> SeriesStep | None:
    """Return the step that begins at a time; None for another one, or one that is broken.

    Args:
        written: as `encode_step` made it.
        at: seconds since 1970.
        source_ids: only the figures of these sources are wanted, besides those of the server; None
            for those of all.
    """
    if len(written) < STEP_BYTES:
        return None
    checksum, began, count = _HEAD.unpack_from(written)
    length = _HEAD.size + _SERVER.size + min(count, SOURCES_MAX) * _SOURCE_BYTES
    if began != at or zlib.crc32(written[4:length]) != checksum:
        return None
    server = tuple(
        None if math.isnan(one) else one for one in _SERVER.unpack_from(written, _HEAD.size)
    )
    sources: dict[int, Figures] = {}
    for place in range(_HEAD.size + _SERVER.size, length, _SOURCE_BYTES):
        key = int.from_bytes(written[place : place + _ID_BYTES], "little")
        if source_ids is None or key in source_ids:
            figures = _SOURCE.unpack_from(written, place + _ID_BYTES)
            sources[key] = tuple(map(_decode_figure, figures, _DIGITS))
    return SeriesStep(began, server, sources, is_full=count >= SOURCES_MAX)


def _encode_figure(figure: float | None) -> int:
    if figure is None:
        return _UNKNOWN
    return round(math.log1p(min(max(figure, 0.0), _GREATEST)) * _SCALE)


@functools.lru_cache(4096)  # most figures are small numbers, and come again and again
def _decode_figure(code: int, digits: int) -> float | None:
    return None if code == _UNKNOWN else round(math.expm1(code / _SCALE), digits)


def combine_steps(steps: Sequence[SeriesStep], at: int) -> SeriesStep | None:
    """Return the longer step of which these are the parts; None for none.

    Counts are summed. What waits, and sizes, are those of the last part. Ages are the greatest, and
    the median of freshness is the mean of the parts' medians, weighted with the records of their
    loads.

    Args:
        steps: in order.
        at: the beginning of the longer one, seconds since 1970.
    """
    if not steps:
        return None
    ids = {source_id for step in steps for source_id in step.sources}
    found = {
        source_id: _combine_figures([step.sources.get(source_id, IDLE) for step in steps])
        for source_id in ids
    }
    sources = select_busiest(found, {key: _weigh(figures) for key, figures in found.items()})
    return SeriesStep(at, _combine_figures([step.server for step in steps]), sources)


def merge_sources(several: Iterable[Figures]) -> Figures:
    """Return the figures of several sources together, of one step."""
    parts = [figures for figures in several if figures]
    if not parts:
        return IDLE
    combined = list(_combine_figures(parts))
    waiting = SOURCE_FIGURES.index("waiting")
    combined[waiting] = sum(figures[waiting] or 0.0 for figures in parts)
    return tuple(combined)


def select_busiest(
    sources: Mapping[int, Figures], weights: Mapping[int, float]
) -> dict[int, Figures]:
    """Return the sources that get a place in a step: those with the greatest weights."""
    able = [key for key in sources if 0 < key <= SOURCE_ID_MAX]
    chosen = sorted(able, key=lambda key: (-weights.get(key, 0.0), key))[:SOURCES_MAX]
    return {key: sources[key] for key in chosen}


def count_ended(figures: Figures) -> float:
    """Return how many records ended their waiting: by a load, whatever it did with them."""
    return sum(one or 0.0 for one in figures[1 : len(COUNTED)])


def _weigh(figures: Figures) -> float:
    return sum(one or 0.0 for one in figures[: len(COUNTED) + 1])


def _combine_figures(parts: Sequence[Figures]) -> Figures:
    names = SERVER_FIGURES[: len(parts[0])]
    columns = dict(zip(names, zip(*parts, strict=True), strict=True))
    ended = [count_ended(figures) for figures in parts]
    combined: list[float | None] = []
    for name, values in columns.items():
        known = [value for value in values if value is not None]
        if not known:
            combined.append(None)
        elif name in SUMS:
            combined.append(sum(known))
        elif name == "freshness_p50_seconds":
            pairs = [
                (value, weight)
                for value, weight in zip(values, ended, strict=True)
                if value is not None
            ]
            weight = sum(its for _, its in pairs)
            mean = sum(value * its for value, its in pairs) / weight if weight else max(known)
            combined.append(mean)
        elif name in AGES:
            combined.append(max(known))
        else:
            combined.append(known[-1])
    return tuple(combined)
