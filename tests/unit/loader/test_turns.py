from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.loader.turns import SourceTurns
from treadle.log.protocol import TableBacklog


def waiting(source_id: int, table: str) -> TableBacklog:
    return TableBacklog(source_id, table, last=1, entries=1, records=1, size=1, oldest=0)


def take_all(turns: SourceTurns) -> list[tuple[int, str]]:
    found = []
    while (backlog := turns.take()) is not None:
        found.append((backlog.source_id, backlog.table_name))
    return found


def test_sources_take_turns_and_each_keeps_its_own_order() -> None:
    turns = SourceTurns()
    turns.offer([waiting(1, "a"), waiting(1, "b"), waiting(2, "x"), waiting(1, "c")])
    assert take_all(turns) == [(1, "a"), (2, "x"), (1, "b"), (1, "c")]


def test_a_weight_is_the_loads_of_one_turn() -> None:
    turns = SourceTurns({1: 3})
    turns.offer([*(waiting(1, name) for name in "abcd"), waiting(2, "x"), waiting(2, "y")])
    assert [source for source, _ in take_all(turns)] == [1, 1, 1, 2, 1, 2]


def test_the_rest_of_a_table_comes_first_in_the_next_turn_of_its_source() -> None:
    turns = SourceTurns()
    turns.offer([waiting(1, "large"), waiting(1, "next"), waiting(2, "x"), waiting(2, "y")])
    large = turns.take()
    assert large is not None
    turns.put_back(large)
    assert take_all(turns) == [(2, "x"), (1, "large"), (2, "y"), (1, "next")]


def test_alone_a_source_loads_a_table_to_its_end_before_the_next() -> None:
    turns = SourceTurns()
    turns.offer([waiting(1, "large"), waiting(1, "next")])
    for _ in range(3):
        large = turns.take()
        assert large is not None
        assert large.table_name == "large"
        turns.put_back(large)


def test_who_comes_later_waits_for_one_turn_of_each_other() -> None:
    turns = SourceTurns()
    turns.offer([waiting(source, f"t{n}") for source in (1, 2, 3) for n in range(100)])
    turns.take()
    turns.add([waiting(9, "late")])
    assert turns.is_waiting(9)
    order = [source for source, _ in take_all(turns)]
    assert order[:4] == [2, 3, 9, 1]
    assert not turns.is_waiting(9)


def test_the_circle_goes_on_when_all_is_offered_anew() -> None:
    turns = SourceTurns()
    everything = [waiting(source, f"t{n}") for source in (1, 2, 3) for n in range(9)]
    taken = []
    for _ in range(6):  # rounds that end after one load
        turns.offer(everything)
        backlog = turns.take()
        assert backlog is not None
        taken.append(backlog.source_id)
    assert taken == [1, 2, 3, 1, 2, 3]


def test_a_source_that_is_no_longer_offered_loses_its_turn() -> None:
    turns = SourceTurns({1: 5})
    turns.offer([waiting(1, "a"), waiting(1, "b"), waiting(2, "x")])
    turns.take()
    turns.offer([waiting(2, "x")])
    assert take_all(turns) == [(2, "x")]
    turns.offer([])
    assert turns.take() is None


groups = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30)), max_size=5)


@given(groups, st.dictionaries(st.integers(1, 5), st.integers(0, 4)))
def test_everything_is_taken_once_and_nobody_waits_for_more_than_a_turn_of_each(
    sizes: list[tuple[int, int]], weights: dict[int, int]
) -> None:
    offered = [
        waiting(source, f"{at} {n}") for at, (source, size) in enumerate(sizes) for n in range(size)
    ]
    turns = SourceTurns(weights)
    turns.offer(offered)
    order = take_all(turns)
    assert Counter(order) == Counter((one.source_id, one.table_name) for one in offered)
    for source in {source for source, _ in order}:
        mine = [place for place, (of, _) in enumerate(order) if of == source]
        for before, after in zip([-1, *mine], mine, strict=False):
            others = Counter(of for of, _ in order[before + 1 : after])
            assert all(count <= max(1, weights.get(of, 1)) for of, count in others.items())


@pytest.mark.parametrize("greedy", [20_000])
def test_a_source_with_many_tables_holds_a_single_one_up_for_one_load(greedy: int) -> None:
    turns = SourceTurns()
    turns.offer([waiting(1, f"t{n}") for n in range(greedy)])
    turns.take()
    turns.add([waiting(2, "single")])
    following = turns.take()
    assert following is not None
    assert following.source_id == 2
