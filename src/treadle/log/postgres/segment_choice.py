"""When a log goes on in a new segment, and which old ones go. All of it judges values."""

from dataclasses import dataclass
from typing import Final

from treadle.log.postgres.schema import RESCUE_SEGMENT

SEGMENT_BYTES_MAX: Final = 1 << 30

SEGMENT_PARTS: Final = 8
"""A log that is bounded has at least so many segments when it is full: only those that ended go."""

SEGMENT_AGE_US: Final = 3_600_000_000

FREEZE_AGE_US: Final = 86_400_000_000
"""A sealed segment that is older is frozen once, so that the server need not do so later."""

RESCUED_PART_MAX: Final = 0.1
"""The most of a segment that is copied out of it, so that the rest can go."""

RESCUE_PAUSE_US: Final = 3_600_000_000
"""Time between two looks at how much of an overdue segment waits: to count it takes a while."""


@dataclass(frozen=True, slots=True)
class LogSegment:
    """A segment as `treadle_log.segments` has it; times in microseconds since 1970.

    Attributes:
        first: where it begins; None until the log goes on in it.
        last: where it ends; None until then.
        stored_bytes: None until it is sealed.
        entries: None until it is sealed.
    """

    number: int
    first: int | None
    last: int | None
    stored_bytes: int | None
    entries: int | None
    made_at: int
    sealed_at: int | None
    frozen_at: int | None


def should_switch(
    used_bytes: int, made_at: int, now: int, *, has_entries: bool, log_bytes_max: int = 0
) -> bool:
    """Return whether the log goes on in a new segment: the open one is large, or old.

    Args:
        used_bytes: of the open segment.
        made_at: when the log went on in it.
        now: microseconds since 1970.
        has_entries: whether something was appended to it.
        log_bytes_max: what the log may hold; 0 for any.
    """
    bytes_max = min(SEGMENT_BYTES_MAX, log_bytes_max // SEGMENT_PARTS or SEGMENT_BYTES_MAX)
    return has_entries and (used_bytes >= bytes_max or now - made_at >= SEGMENT_AGE_US)


def list_unsealed(segments: list[LogSegment], open_segment: int) -> list[int]:
    """Return the segments that are ended and not sealed yet."""
    return [
        one.number
        for one in segments
        if one.number != RESCUE_SEGMENT and one.number < open_segment and one.sealed_at is None
    ]


def list_unfrozen(segments: list[LogSegment], now: int) -> list[int]:
    """Return the sealed segments that are to be frozen now."""
    return [
        one.number
        for one in segments
        if one.sealed_at is not None
        and one.frozen_at is None
        and now - one.sealed_at >= FREEZE_AGE_US
    ]


def list_overdue(segments: list[LogSegment], now: int, retention_us: int) -> list[LogSegment]:
    """Return the sealed segments that should have gone: older than twice the retention."""
    return [
        one
        for one in segments
        if one.number != RESCUE_SEGMENT
        and one.sealed_at is not None
        and now - one.sealed_at > 2 * retention_us
    ]


def is_rescue_due(left_at: int | None, now: int) -> bool:
    """Return whether an overdue segment is looked at.

    Args:
        left_at: when it was found that too much of it waits; None where it was not.
        now: microseconds since 1970.
    """
    return left_at is None or not 0 <= now - left_at < RESCUE_PAUSE_US


def count_rescued_max(entries: int) -> int:
    """Return how many entries of an overdue segment are copied out of it at most.

    Where more of it wait their destination is away: then it is kept as it is.
    """
    return int(RESCUED_PART_MAX * entries)
