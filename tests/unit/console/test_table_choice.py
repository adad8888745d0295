"""The list of all tables of an account."""

from dataclasses import replace

from tests.unit.console.test_pages import OTHER, SOURCE
from tests.unit.console.test_view import NOW

from treadle.console.pages.tables import describe_state, make_path, parse_choice
from treadle.console.table_choice import PAGE_SIZE, TableChoice, choose_tables
from treadle.store.model import TableEntry
from treadle.tracking.table_lists import ListedTable, LoadingState, TableOrder

ENTRY = TableEntry(
    id=1, source_id=2, name="a", position=5, loaded_at=NOW, error=None, error_since=None,
    stopped=False, trouble=None, trouble_since=None, rebuilt_at=None, received=9, loaded=8,
    superseded=1, rejected=0, damaged=0, loads=2, failures=0, version=None, mode="upsert",
)  # fmt: skip


def make_table(
    name: str, state: LoadingState = LoadingState.IDLE, rank: int = 0, waiting: int = 0
) -> ListedTable:
    return ListedTable(rank, name, state, waiting, 0, None, None)


TABLES = [
    (SOURCE, [make_table("Orders"), make_table("lines", LoadingState.STOPPED)]),
    (OTHER, [make_table("orders"), make_table("notes", LoadingState.FAILING)]),
]


def names(choice: TableChoice, source_id: int | None = None) -> list[str]:
    page = choose_tables(lambda: TABLES, choice, source_id)
    return [f"{one.source.name}.{one.table.name}" for one in page.tables]


def test_tables_are_chosen_by_name_state_and_source() -> None:
    assert names(TableChoice()) == ["crm.notes", "crm.orders", "shop.Orders", "shop.lines"]
    assert names(TableChoice("ORDERS")) == ["crm.orders", "shop.Orders"]
    assert names(TableChoice("crm.")) == ["crm.notes", "crm.orders"]
    assert names(TableChoice(states=frozenset({LoadingState.STOPPED}))) == ["shop.lines"]
    assert names(TableChoice(), OTHER.id) == ["crm.notes", "crm.orders"]
    page = choose_tables(lambda: TABLES, TableChoice("o", frozenset({LoadingState.IDLE})))
    assert (page.found, page.total, page.states[LoadingState.FAILING]) == (2, 4, 1)


def test_ranks_decide_before_names() -> None:
    tables = [(SOURCE, [make_table("b", rank=-5), make_table("a", rank=0)])]
    page = choose_tables(lambda: tables, TableChoice(order=TableOrder.WAITING))
    assert [one.table.name for one in page.tables] == ["b", "a"]


def test_ten_thousand_tables_have_a_hundred_pages() -> None:
    tables = [(SOURCE, [make_table(f"t{number:05}") for number in range(10_000)])]
    page = choose_tables(lambda: tables, TableChoice(number=50))
    assert (page.number, page.pages, len(page.tables)) == (50, 100, PAGE_SIZE)
    assert page.tables[0].table.name == "t04900"
    assert choose_tables(lambda: tables, TableChoice(number=5_000)).number == 100
    searched = choose_tables(lambda: tables, TableChoice("t0", number=100))
    assert (searched.found, searched.pages) == (10_000, 100)
    assert [one.table.name for one in searched.tables] == [f"t{n:05}" for n in range(9_900, 10_000)]


def test_a_late_page_does_without_a_table_that_is_gone_meanwhile() -> None:
    tables = [make_table(f"t{number:05}") for number in range(3_000)]
    reads = iter([tables, tables[:-10]])
    page = choose_tables(lambda: [(SOURCE, next(reads))], TableChoice(number=30))
    assert (page.found, len(page.tables)) == (3_000, PAGE_SIZE - 10)
    assert choose_tables(list, TableChoice(number=3)).pages == 1


def test_a_url_names_a_choice() -> None:
    wanted = parse_choice({"q": " a ", "state": "stopped,nothing", "sort": "oldest", "page": "7"})
    assert wanted == TableChoice("a", frozenset({LoadingState.STOPPED}), TableOrder.OLDEST, 7)
    assert parse_choice({"sort": "accepted", "page": "x"}) == TableChoice()


def test_a_state_has_its_sentence() -> None:
    assert describe_state(LoadingState.IDLE, None).tone == "good"
    stopped = describe_state(LoadingState.STOPPED, replace(ENTRY, error="keys differ"))
    assert (stopped.word, stopped.tone, stopped.detail) == ("stopped", "bad", "keys differ")
    odd = describe_state(LoadingState.IDLE, replace(ENTRY, trouble="all rejected"))
    assert (odd.word, odd.tone, odd.detail) == ("idle", "warn", "all rejected")


def test_a_long_name_has_a_short_path() -> None:
    assert make_path(3, "a/b") == "/sources/3/tables/a%2Fb"
    assert len(make_path(3, "x" * 1_000_000)) < 100
