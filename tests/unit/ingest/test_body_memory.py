"""The memory for bodies is dealt out by source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.work_turns import ALONE

from treadle.errors import RetriableError
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.body_threads import BodyThreads

LIMIT = 1_200


def make_budget() -> BodyMemoryBudget:
    return BodyMemoryBudget(BodyThreads(ALONE), LIMIT)


def fill(budget: BodyMemoryBudget, source_id: int) -> int:
    """Take all that a source can get, a byte at a time; return how much it got."""
    taken = 0
    while True:
        try:
            budget.reserve(source_id, 1)
        except RetriableError:
            return taken
        taken += 1


def test_one_source_gets_half() -> None:
    assert fill(make_budget(), 1) == LIMIT // 2


def test_sources_that_take_what_they_can_leave_room_for_the_next() -> None:
    budget = make_budget()
    taken = [fill(budget, source_id) for source_id in range(5)]
    assert taken == [600, 300, 150, 75, 37]
    assert fill(budget, 9) > 0


def test_sources_that_come_and_go_get_the_same_part() -> None:
    budget = make_budget()
    held = {1: fill(budget, 1), 2: fill(budget, 2)}
    for _ in range(30):
        for source_id in (1, 2):
            given_back = held[source_id] // 2
            budget.release(source_id, given_back)
            held[source_id] += fill(budget, source_id) - given_back
    assert abs(held[1] - held[2]) <= 2
    assert abs(held[1] - LIMIT // 3) <= 2


def test_a_refusal_names_the_source_and_changes_nothing() -> None:
    budget = make_budget()
    with pytest.raises(RetriableError, match="source 4 hold 0 bytes"):
        budget.reserve(4, LIMIT // 2 + 1)
    budget.reserve(4, LIMIT // 2)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, LIMIT), st.booleans()), max_size=60))
def test_whatever_comes_and_goes_adds_up(steps: list[tuple[int, int, bool]]) -> None:
    budget = make_budget()
    held: list[tuple[int, int]] = []
    for source_id, count, gives_back in steps:
        if gives_back and held:
            budget.release(*held.pop(count % len(held)))
            continue
        own = sum(size for owner, size in held if owner == source_id)
        free = LIMIT - sum(size for _, size in held)
        if own + count <= free - count:
            budget.reserve(source_id, count)
            held.append((source_id, count))
        else:
            with pytest.raises(RetriableError):
                budget.reserve(source_id, count)
        assert sum(size for _, size in held) < LIMIT
    for one in held:
        budget.release(*one)
    assert fill(budget, 5) == LIMIT // 2
