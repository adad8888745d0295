import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.record_bisection import (
    RecordBisection,
    find_refused,
    find_refused_together,
)


@given(st.integers(1, 400), st.data())
def test_every_bad_record_is_found_and_no_other_in_bounded_rehearsals(
    count: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=5))
    rehearsals = 0

    def rehearse(records: Sequence[int]) -> str | None:
        nonlocal rehearsals
        rehearsals += 1
        hit = [record for record in records if record in bad]
        return f"record {hit[0]} is bad" if hit else None

    found = find_refused(list(range(count)), rehearse)
    assert found == {record: f"record {record} is bad" for record in bad}
    assert rehearsals <= 1 + 2 * len(bad) * (1 + math.ceil(math.log2(count + 1)))


@given(st.integers(0, 40), st.sets(st.tuples(st.integers(0, 39), st.integers(0, 39))), st.data())
def test_of_records_that_do_not_go_together_the_first_stays(
    count: int, pairs: set[tuple[int, int]], data: st.DataObject
) -> None:
    alone = data.draw(st.sets(st.integers(0, 39), max_size=5))

    def rehearse(some: Sequence[int]) -> str | None:
        chosen = set(some)
        if chosen & alone:
            return "alone"
        return "together" if any(a in chosen and b in chosen for a, b in pairs if a != b) else None

    records = list(range(count))
    found = find_refused_together(records, rehearse)
    kept = [record for record in records if record not in found]
    assert rehearse(kept) is None
    for record in found:  # none is refused without need
        earlier = [one for one in kept if one < record]
        assert rehearse([*earlier, record]) is not None


@given(st.integers(1, 60), st.sets(st.integers(0, 79)), st.booleans(), st.integers(1, 5))
def test_a_search_in_turns_finds_what_one_without_an_end_does(
    count: int, bad: set[int], together: bool, turn: int
) -> None:
    calls = 0

    def rehearse(some: Sequence[int]) -> str | None:
        nonlocal calls
        calls += 1
        return "bad" if bad & set(some) else None

    bisection = RecordBisection([list(range(count))], together)
    while not bisection.search(rehearse, lambda: calls % turn == 0):
        if calls > 3 and count < 80:  # more records arrive
            bisection.add_records(list(range(count, 80)))
            count = 80
    assert bisection.found == dict.fromkeys(bad & set(range(count)), "bad")
