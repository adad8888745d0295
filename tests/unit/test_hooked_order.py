"""The judge of `python -m benchmarks.hooked deliver`: a wrong order is seen."""

from benchmarks.hooked import find_disorder

from treadle.courier.decisions import TRIES_MAX
from treadle.store.model import HookDelivery


def make_delivery(number: int) -> HookDelivery:
    return HookDelivery(
        number=number,
        id=f"d{number}",
        hook_id=1,
        source_id=1,
        table_name="orders",
        load_id=f"l{number}",
        body="{}",
        state="delivered",
        created_at=number,
        due_at=number,
        tries=1,
        tried_at=number,
        finished_at=number,
        took_us=1,
        status=200,
        answer="",
        error=None,
    )


MADE = [make_delivery(number) for number in range(3)]


def test_each_after_the_one_before_it_was_taken() -> None:
    came = [("d0", 500), ("d0", 200), ("x", 200), ("d1", 200), ("d2", 200)]
    assert find_disorder(MADE, came) == []


def test_one_that_goes_before_another_was_taken_is_named() -> None:
    [found] = find_disorder(MADE, [("d0", 500), ("d1", 200), ("d0", 200), ("d2", 200)])
    assert found.startswith("d1 came before d0")


def test_one_that_was_given_up_holds_up_nothing_and_may_come_again() -> None:
    came = [("d0", 500)] * TRIES_MAX + [("d1", 200), ("d2", 200), ("d0", 200)]
    assert find_disorder(MADE, came) == []
