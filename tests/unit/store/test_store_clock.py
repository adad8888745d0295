"""The clock of a store's server between two questions for it."""

import contextlib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RetriableError
from treadle.store.clock import ClockMeasurement, StoreClock, follow_clock, measure_clock

SECOND = 1_000_000
THERE = 1_800_000_000 * SECOND


class Monotonic:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 77 * SECOND

    def __call__(self) -> int:
        return self.now


def measured(monotonic: Monotonic, there: int, round_trip: int = 0) -> ClockMeasurement:
    """An answer that came this moment."""
    return ClockMeasurement(monotonic.now - round_trip, monotonic.now, there)


def test_it_begins_with_the_servers_time_and_goes_on_by_itself() -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE, round_trip=4_000))
    assert clock.read() == THERE + 2_000
    monotonic.now += 10 * SECOND
    assert clock.read() == THERE + 2_000 + 10 * SECOND


def test_it_follows_a_server_that_is_ahead_at_once() -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE))
    clock.take(measured(monotonic, THERE + 3_600 * SECOND))
    assert clock.read() == THERE + 3_600 * SECOND


def test_a_server_that_is_behind_is_awaited_at_half_of_the_speed() -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE))
    clock.take(measured(monotonic, THERE - 10 * SECOND))
    assert clock.read() == THERE
    monotonic.now += 8 * SECOND
    assert clock.read() == THERE + 4 * SECOND
    monotonic.now += 12 * SECOND
    assert clock.read() == THERE + 10 * SECOND  # where the server is now
    monotonic.now += SECOND
    assert clock.read() == THERE + 11 * SECOND


def test_an_answer_that_took_long_says_nothing() -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE))
    clock.take(measured(monotonic, THERE + 99 * SECOND, round_trip=2 * SECOND))
    assert clock.read() == THERE


def test_an_answer_that_waited_for_its_thread_counts_from_when_it_came() -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE))
    found = measured(monotonic, THERE)
    monotonic.now += 5 * SECOND
    clock.take(found)
    assert clock.read() == THERE + 5 * SECOND


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20 * SECOND),
            st.integers(-3_600 * SECOND, 3_600 * SECOND),
            st.integers(0, 2 * SECOND),
        ),
        max_size=20,
    )
)
def test_it_never_goes_back_and_never_stands_still(steps: list[tuple[int, int, int]]) -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE))
    told = clock.read()
    for passed, off, round_trip in steps:
        monotonic.now += passed
        assert clock.read() >= told + passed // 2
        told = clock.read()
        clock.take(measured(monotonic, THERE + off, round_trip))
        assert clock.read() >= told
        told = clock.read()


def test_a_file_has_no_clock() -> None:
    assert measure_clock(lambda: None) is None


def test_a_server_that_does_not_answer_is_asked_again() -> None:
    monotonic = Monotonic()
    clock = StoreClock(monotonic, measured(monotonic, THERE))
    answers: Iterator[RetriableError | int] = iter([RetriableError("away"), THERE + SECOND])
    pauses = iter([10.0, 10.0])

    def read_time() -> int:
        answer = next(answers)
        if isinstance(answer, RetriableError):
            raise answer
        return answer

    def sleep(seconds: float) -> None:
        if next(pauses, None) is None:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        follow_clock(clock, read_time, sleep)
    assert next(answers, None) is None
