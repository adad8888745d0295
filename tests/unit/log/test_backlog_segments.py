from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from treadle.log.backlog_segments import (
    SEGMENT_ENTRIES,
    SIGHTS_MAX,
    BacklogSegment,
    SegmentQueue,
    add_sight,
    drop_sights,
)
from treadle.log.protocol import BacklogSight, TableBacklog

Row = tuple[int, int, int, int]  # position, records, size, received_at

NUMBERS = st.integers(0, 1000)
ROWS = st.lists(st.tuples(st.integers(1, 9), NUMBERS, NUMBERS, NUMBERS), max_size=40)


def placed(steps: list[Row]) -> list[Row]:
    """Rows at growing positions."""
    rows, position = [], 0
    for step, *numbers in steps:
        position += step
        rows.append((position, numbers[0], numbers[1], numbers[2]))
    return rows


def segment(rows: list[Row]) -> BacklogSegment:
    return BacklogSegment(
        last=rows[-1][0],
        entries=len(rows),
        records=sum(row[1] for row in rows),
        size=sum(row[2] for row in rows),
        oldest=min(row[3] for row in rows),
    )


def segments(rows: list[Row], length: int) -> Iterable[BacklogSegment]:
    return (segment(rows[n : n + length]) for n in range(0, len(rows), length))


def summed(rows: list[Row]) -> TableBacklog | None:
    if not rows:
        return None
    whole = segment(rows)
    return TableBacklog(
        1, "t", whole.last, whole.entries, whole.records, whole.size, whole.oldest, loaded=5
    )


@given(ROWS, st.integers(1, 5), st.lists(st.integers(0, 400), max_size=4))
def test_what_is_loaded_goes_and_the_rest_is_counted(
    steps: list[Row], length: int, loaded: list[int]
) -> None:
    rows = placed(steps)
    waiting = SegmentQueue()
    for one in segments(rows, length):
        waiting.append(one)
    assert waiting.sum_backlog(1, "t", 5) == summed(rows)
    for position in sorted(loaded):
        last = waiting.drop_through(position)
        if last is not None:
            again = [row for row in rows if position < row[0] <= last]
            waiting.prepend(segments(again, 2))
        assert waiting.sum_backlog(1, "t", 5) == summed([row for row in rows if row[0] > position])


@given(ROWS, ROWS)
def test_replacing_forgets_the_rest(first: list[Row], second: list[Row]) -> None:
    waiting = SegmentQueue()
    for rows in (placed(first), placed(second)):
        waiting.replace(segments(rows, 3))
        assert waiting.sum_backlog(1, "t", 5) == summed(rows)


def test_a_long_backlog_takes_few_segments() -> None:
    waiting = SegmentQueue()
    for position in range(1, 100_001):
        waiting.append(BacklogSegment(position, 1, 1, 1, 1))
    assert len(waiting) <= 2 * 100_000 / SEGMENT_ENTRIES


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=120), st.integers(0, 400))
def test_sights_are_few_and_never_too_young(steps: list[tuple[int, int]], loaded: int) -> None:
    sights: tuple[BacklogSight, ...] = ()
    known: list[tuple[int, int]] = []
    last = seen = 0
    for entries, later in steps:
        last, seen = last + entries, seen + later
        known.append((last, seen))
        sights = add_sight(sights, last, seen)
    left = drop_sights(sights, loaded)
    assert len(sights) <= SIGHTS_MAX
    assert [one.last for one in sights] == sorted({one.last for one in sights})
    expected = [at for until, at in known if until > loaded]
    assert bool(left) == bool(expected)
    if expected:
        assert left[0].seen <= expected[0]
        assert left[-1].last == last
