"""When processes are woken for errands, and when they rest again."""

import threading
from collections.abc import Callable, Iterable

from treadle.errors import RetriableError
from treadle.server.errand_watch import (
    CHILD_OF_ERRAND,
    await_rest,
    wake_after_change,
    wake_for_errands,
)
from treadle.store.errands import ErrandKind


def answer_in_turn(
    answers: Iterable[set[ErrandKind] | None], stop: threading.Event
) -> Callable[[], set[ErrandKind]]:
    """Give one answer after the other, an error for None, and stop with the last one."""
    left = list(answers)

    def list_kinds() -> set[ErrandKind]:
        answer = left.pop(0)
        if not left:
            stop.set()
        if answer is None:
            raise RetriableError("the store says nothing")
        return answer

    return list_kinds


def test_who_does_an_errand_is_woken_each_time_it_is_seen() -> None:
    stop = threading.Event()
    woken: list[str] = []
    answers: list[set[ErrandKind] | None] = [
        set(),
        {ErrandKind.DELIVERY},
        None,
        {ErrandKind.CHECK, ErrandKind.OPERATION},
        {ErrandKind.CHECK, ErrandKind.DELIVERY},
    ]
    wake_for_errands(answer_in_turn(answers, stop), woken.append, stop, 0.0)
    assert woken == ["courier", "desk", "courier", "desk"]


def test_a_change_wakes_only_for_what_there_is() -> None:
    woken: list[str] = []
    for answer in (set[ErrandKind](), {ErrandKind.CHECK}, None):
        stop = threading.Event()
        wake_after_change(answer_in_turn([answer], stop), woken.append)
        assert stop.is_set()
    assert woken == ["desk"]


def test_each_kind_of_errand_has_somebody() -> None:
    assert set(CHILD_OF_ERRAND) == set(ErrandKind)


def test_a_rest_begins_when_there_was_no_errand_for_a_while() -> None:
    now = 0.0
    busy_at = {3.0, 7.0}
    asked: list[float] = []

    def pass_second() -> float:
        nonlocal now
        now += 0.5  # it is asked twice in each look
        return now

    def has_errands() -> bool:
        asked.append(now)
        if now == 5.0:
            raise RetriableError("the store says nothing")
        return now in busy_at

    await_rest(has_errands, threading.Event(), 4.0, 0.0, pass_second)
    assert now >= 7.0 + 4.0
    assert now < 7.0 + 5.0


def test_a_stop_ends_the_wait_for_a_rest() -> None:
    stop = threading.Event()
    stop.set()
    await_rest(lambda: True, stop, 300.0)
