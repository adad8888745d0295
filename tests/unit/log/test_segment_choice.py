"""When a log on PostgreSQL goes on in a new segment, and which old ones go."""

from treadle.log.postgres.segment_choice import (
    FREEZE_AGE_US,
    RESCUE_PAUSE_US,
    SEGMENT_AGE_US,
    SEGMENT_BYTES_MAX,
    LogSegment,
    count_rescued_max,
    is_rescue_due,
    list_overdue,
    list_unfrozen,
    list_unsealed,
    should_switch,
)


def segment(number: int, sealed_at: int | None = None, frozen_at: int | None = None) -> LogSegment:
    return LogSegment(number, 1, 2, 3, 4, 0, sealed_at, frozen_at)


def test_a_segment_ends_when_it_is_large_or_old_and_not_empty() -> None:
    assert should_switch(SEGMENT_BYTES_MAX, 0, 1, has_entries=True)
    assert should_switch(1, 0, SEGMENT_AGE_US, has_entries=True)
    assert not should_switch(SEGMENT_BYTES_MAX - 1, 0, SEGMENT_AGE_US - 1, has_entries=True)
    assert not should_switch(SEGMENT_BYTES_MAX, 0, SEGMENT_AGE_US, has_entries=False)


def test_a_log_that_is_bounded_has_segments_that_end_before_it_is_full() -> None:
    for log_bytes_max, expected in ((8_000, 1_000), (10**15, SEGMENT_BYTES_MAX)):
        ends = [
            should_switch(used, 0, 1, has_entries=True, log_bytes_max=log_bytes_max)
            for used in (expected - 1, expected)
        ]
        assert ends == [False, True]


def test_what_is_done_with_segments_that_ended() -> None:
    day, now = FREEZE_AGE_US, 10 * FREEZE_AGE_US
    segments = [
        segment(0, sealed_at=1),
        segment(1, sealed_at=now - 5 * day, frozen_at=now),
        segment(2, sealed_at=now - day),
        segment(3, sealed_at=now - day + 1),
        segment(4),
        segment(5),
    ]
    assert list_unsealed(segments, open_segment=5) == [4]
    assert list_unfrozen(segments[1:], now) == [2]
    assert [one.number for one in list_overdue(segments, now, retention_us=2 * day)] == [1]


def test_an_old_segment_of_which_much_waits_is_looked_at_once_an_hour() -> None:
    assert is_rescue_due(None, 5)
    assert not is_rescue_due(5, 5 + RESCUE_PAUSE_US - 1)
    assert is_rescue_due(5, 5 + RESCUE_PAUSE_US)
    assert is_rescue_due(5, 4)  # the clock was set back


def test_little_is_copied_out_of_an_old_segment_and_much_is_not() -> None:
    assert [count_rescued_max(entries) for entries in (0, 9, 10, 19, 100)] == [0, 0, 1, 1, 10]
