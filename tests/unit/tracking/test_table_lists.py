"""Lists of tables: states, orders, pages."""

import time

import pytest

from treadle.log.protocol import TableBacklog
from treadle.store.model import TableOverview
from treadle.tracking.table_lists import (
    LoadingState,
    TableOrder,
    TablePage,
    TableQuestion,
    choose_page,
    decide_state,
    list_tables,
)


def overview(name: str, position: int = 0, **more: object) -> TableOverview:
    values = {"loaded_at": None, "rejected": 0, "failing": False, "stopped": False, **more}
    return TableOverview(hash(name), name, position, **values)  # type: ignore[arg-type]


def backlog(name: str, last: int, records: int = 1, oldest: int = 5) -> TableBacklog:
    return TableBacklog(1, name, last, 1, records, records * 10, oldest)


OVERVIEWS = [
    overview("b", 9, loaded_at=30, rejected=4),
    overview("A", 3, loaded_at=50),
    overview("stopped", stopped=True, failing=True),
    overview("failing", 2, failing=True, rejected=9),
]
BACKLOGS = {
    one.table_name: one
    for one in (
        backlog("b", 9),  # loaded already: the log was not told yet
        backlog("A", 8, 70, oldest=7),
        backlog("stopped", 8, 5, oldest=6),
        backlog("new", 4, 30, oldest=2),
    )
}


def ask(question: TableQuestion, *, can_load: bool = True) -> TablePage:
    found = list_tables(OVERVIEWS, BACKLOGS, can_load=can_load, order=question.order)
    return choose_page(found, question)


def names(question: TableQuestion) -> list[str]:
    return [table.name for table in ask(question).tables]


@pytest.mark.parametrize(
    ("stopped", "failing", "waits", "can_load", "state"),
    [
        (True, True, True, True, "stopped"),
        (False, True, False, True, "failing"),
        (False, False, True, True, "loading"),
        (False, False, True, False, "waiting"),
        (False, False, False, False, "idle"),
    ],
)
def test_states(stopped: bool, failing: bool, waits: bool, can_load: bool, state: str) -> None:
    found = decide_state(stopped=stopped, failing=failing, waits=waits, can_load=can_load)
    assert found == LoadingState(state)


def test_tables_of_the_log_and_of_the_store_are_listed_once() -> None:
    page = ask(TableQuestion())
    assert [(table.name, table.state.value, table.waiting) for table in page.tables] == [
        ("A", "loading", 70),
        ("b", "idle", 0),
        ("failing", "failing", 0),
        ("new", "loading", 30),
        ("stopped", "stopped", 5),
    ]
    assert page.tables[3].table_id is None
    assert (page.total, page.next) == (5, None)
    assert ask(TableQuestion(), can_load=False).states == {
        "idle": 1,
        "loading": 0,
        "waiting": 2,
        "failing": 1,
        "stopped": 1,
    }


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (TableOrder.WAITING, ["A", "new", "stopped", "b", "failing"]),
        (TableOrder.OLDEST, ["new", "stopped", "A", "b", "failing"]),
        (TableOrder.LAST_LOAD, ["A", "b", "failing", "new", "stopped"]),
        (TableOrder.REJECTED, ["failing", "b", "A", "new", "stopped"]),
    ],
)
def test_orders_and_their_pages(order: TableOrder, expected: list[str]) -> None:
    assert names(TableQuestion(order=order)) == expected
    after, seen = None, []
    while True:
        page = ask(TableQuestion(order=order, after=after, limit=2))
        assert page.total == 5
        seen += [table.name for table in page.tables]
        after = page.next
        if after is None:
            break
    assert seen == expected


def test_a_search_and_states_choose() -> None:
    page = ask(TableQuestion(search="A"))
    assert [table.name for table in page.tables] == ["A", "failing"]
    page = ask(TableQuestion(states=frozenset({LoadingState.STOPPED, LoadingState.FAILING})))
    assert [table.name for table in page.tables] == ["failing", "stopped"]
    assert (page.total, page.states[LoadingState.LOADING]) == (2, 2)


def test_ten_thousand_tables_are_listed_at_once() -> None:
    overviews = [overview(f"table_{n}", n, rejected=n % 7) for n in range(10_000)]
    backlogs = {f"table_{n}": backlog(f"table_{n}", n + n % 3) for n in range(10_000)}
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = list_tables(overviews, backlogs, can_load=True, order=TableOrder.REJECTED)
        choose_page(found, TableQuestion(order=TableOrder.REJECTED, search="9"))
        took.append(time.perf_counter() - began)
    assert min(took) < 0.5  # 15 ms on the machine that it was made on
