"""What is sent when, and what an answer means (connect-rest.md A.2.6)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.courier.decisions import (
    AT_ONCE_MAX,
    AT_ONCE_OF_HOOK_MAX,
    TryResult,
    choose_deliveries,
    judge_try,
)
from treadle.store.model import DueDelivery

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


def due(
    number: int,
    hook: int = 1,
    table: int = 0,
    *,
    account: int = 0,
    due_at: int = NOW,
    tries: int = 0,
) -> DueDelivery:
    return DueDelivery(
        number=number,
        id=f"delivery {number}",
        account_id=account or hook,
        hook_id=hook,
        table_id=table or number,
        url="https://example.com/",
        secret=None,
        body="{}",
        due_at=due_at,
        tries=tries,
    )


def answered(status: int | None, error: str | None = None) -> TryResult:
    return TryResult(status, "said", error, 7)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_2xx_is_the_end(status: int) -> None:
    judged = judge_try(due(5), answered(status), NOW, 0.5)
    assert (judged.state, judged.status, judged.answer, judged.error) == (
        "delivered",
        status,
        "said",
        None,
    )
    assert (judged.number, judged.hook_id, judged.at, judged.took_us) == (5, 1, NOW, 7)


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 401, 404, 410, 429, 500, 503])
def test_anything_else_is_tried_again(status: int) -> None:
    judged = judge_try(due(5), answered(status), NOW, 0.0)
    assert judged.state == "waiting"
    assert str(status) in str(judged.error)
    assert ("redirects are not followed" in str(judged.error)) == (300 <= status < 400)


def test_silence_and_trouble_are_tried_again_without_a_status() -> None:
    judged = judge_try(due(5), answered(None, "the connection failed: refused"), NOW, 0.0)
    assert (judged.state, judged.status, judged.answer) == ("waiting", None, None)
    assert judged.error == "the connection failed: refused"


def test_there_are_five_more_tries_with_the_documented_pauses() -> None:
    pauses = []
    for tries in range(6):
        judged = judge_try(due(1, tries=tries), answered(500), NOW, 0.0)
        pauses.append((judged.due_at - NOW) // SECOND if judged.state == "waiting" else None)
    assert pauses == [10, 30, 120, 600, 3600, None]
    assert judged.state == "failed"


@given(st.integers(0, 4), st.floats(0, 1))
def test_the_jitter_only_lengthens_a_pause(tries: int, dice: float) -> None:
    judged = judge_try(due(1, tries=tries), answered(500), NOW, dice)
    pause = (10, 30, 120, 600, 3600)[tries] * SECOND
    assert pause <= judged.due_at - NOW <= pause * 1.1


def test_eight_go_at_once_and_two_of_a_hook() -> None:
    every = [due(number, hook=number % 7) for number in range(100)]
    chosen = choose_deliveries(every, [])
    assert len(chosen) == AT_ONCE_MAX == 8
    assert max(Counter(one.hook_id for one in chosen).values()) == AT_ONCE_OF_HOOK_MAX == 2
    assert choose_deliveries(every, chosen) == []
    assert len(choose_deliveries([due(number) for number in range(9)], [])) == 2


def test_a_table_whose_delivery_is_under_way_waits() -> None:
    first = due(1, table=4)
    assert choose_deliveries([due(1, table=4), due(9, table=5)], [first]) == [due(9, table=5)]


def test_who_has_the_fewest_under_way_is_next() -> None:
    slow = [due(number, hook=number, account=1) for number in range(1, 20)]
    other = due(99, hook=99, account=2, due_at=NOW + 5)
    assert choose_deliveries([*slow, other], slow[:7]) == [other]
    again = due(98, hook=3, account=1, table=7)
    assert choose_deliveries([again, slow[9]], slow[:7]) == [slow[9]]


def test_what_is_due_longest_goes_first() -> None:
    late, early = due(1, table=1, due_at=NOW - 1), due(2, table=2, due_at=NOW - 5)
    assert choose_deliveries([late, early], []) == [early, late]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 30)), unique=True, max_size=40),
    st.integers(0, 8),
)
def test_the_bounds_hold_whatever_is_due(pairs: list[tuple[int, int]], count: int) -> None:
    every = [due(number, hook=hook, table=table) for number, (hook, table) in enumerate(pairs, 1)]
    under_way: list[DueDelivery] = []
    for one in every[:count]:
        if Counter(other.hook_id for other in under_way)[one.hook_id] < 2:
            under_way.append(one)
    both = under_way + choose_deliveries(every, under_way)
    assert len(both) <= 8
    assert all(number <= 2 for number in Counter(one.hook_id for one in both).values())
    assert len({(one.hook_id, one.table_id) for one in both}) == len(both)
