"""The backlog of one table, counted without keeping anything for each entry.

Entries are summed up in segments, stretches of positions of up to `SEGMENT_ENTRIES` entries. When
loading ends inside a segment only that segment is counted again.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from treadle.log.protocol import BacklogSight, TableBacklog

# Smaller: more memory for a long backlog. Greater: more to count again after a partial load.
SEGMENT_ENTRIES: Final = 1024


SIGHTS_MAX: Final = 32
"""Sights that are kept of a table. Of more, neighbours are joined, and count as old as the older
one. A table that is loaded each second has twenty."""


@dataclass(frozen=True, slots=True)
class BacklogSegment:
    """Sums over neighbouring entries of one table."""

    last: int
    entries: int
    records: int
    size: int
    oldest: int

    def __add__(self, other: "BacklogSegment") -> "BacklogSegment":
        return BacklogSegment(
            max(self.last, other.last),
            self.entries + other.entries,
            self.records + other.records,
            self.size + other.size,
            min(self.oldest, other.oldest),
        )


class SegmentQueue:
    """The segments of one table, in order of position.

    They are in a list and not in a deque, which takes 600 bytes when it is empty: each reader of
    the log has a queue for each table, and hardly any table waits.
    """

    __slots__ = ("_segments",)

    def __init__(self) -> None:
        self._segments: list[BacklogSegment] = []

    def __len__(self) -> int:
        return len(self._segments)

    def append(self, segment: BacklogSegment) -> None:
        """Add entries above all others."""
        if self._segments and self._segments[-1].entries + segment.entries <= SEGMENT_ENTRIES:
            segment = self._segments.pop() + segment
        self._segments.append(segment)

    def drop_through(self, position: int) -> int | None:
        """Forget the segments that end at or below a position, and the one it may lie in.

        Returns:
            Where that last one ended, so that what is left of it is counted again and given to
            `prepend`; None when nothing above the position was forgotten.
        """
        ended = bisect_right(self._segments, position, key=attrgetter("last"))
        last = self._segments[ended].last if ended < len(self._segments) else None
        del self._segments[: ended + 1]
        return last

    def prepend(self, segments: Iterable[BacklogSegment]) -> None:
        """Add entries below all others, in order of position."""
        below = SegmentQueue()
        below.replace(segments)
        self._segments[:0] = below._segments

    def replace(self, segments: Iterable[BacklogSegment]) -> None:
        """Forget everything and begin with these."""
        self._segments.clear()
        for segment in segments:
            self.append(segment)

    def sum_backlog(
        self,
        source_id: int,
        table_name: str,
        loaded: int,
        sights: tuple[BacklogSight, ...] = (),
    ) -> TableBacklog | None:
        """Return the sums of all segments as the table's backlog; None when there are none."""
        if not self._segments:
            return None
        return TableBacklog(
            source_id=source_id,
            table_name=table_name,
            last=self._segments[-1].last,
            entries=sum(segment.entries for segment in self._segments),
            records=sum(segment.records for segment in self._segments),
            size=sum(segment.size for segment in self._segments),
            oldest=min(segment.oldest for segment in self._segments),
            loaded=loaded,
            sights=sights,
        )


def add_sight(sights: tuple[BacklogSight, ...], last: int, seen: int) -> tuple[BacklogSight, ...]:
    """Return sights with one more, of entries up to `last`."""
    if sights and sights[-1].seen == seen:
        return (*sights[:-1], BacklogSight(last, seen))
    if len(sights) >= SIGHTS_MAX:
        # The newer of a pair knows how far both reach, the older one since when.
        sights = tuple(
            BacklogSight(newer.last, older.seen)
            for older, newer in zip(sights[::2], sights[1::2], strict=True)
        )
    return (*sights, BacklogSight(last, seen))


def drop_sights(sights: tuple[BacklogSight, ...], loaded: int) -> tuple[BacklogSight, ...]:
    """Return the sights of what lies above a position."""
    return sights[bisect_right(sights, loaded, key=attrgetter("last")) :]
