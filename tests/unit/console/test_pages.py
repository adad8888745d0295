"""What pages decide without asking anything."""

from dataclasses import replace

from tests.unit.console.test_view import DAY, NOW, make_token

from treadle.console import view
from treadle.console.figures import AccountFigures, TableFigures
from treadle.console.pages.audit import describe_detail
from treadle.console.pages.overview import list_troubles
from treadle.console.pages.tables import select_tables
from treadle.console.pages.tokens import find_step
from treadle.store.model import Source, TableLoadStatus

SOURCE = Source(2, 1, "import_api", "Shop", "shop", None, NOW, NOW, None, None, None, {})
OTHER = replace(SOURCE, id=3, name="crm")


def make_table(name: str, source: Source = SOURCE, **status: object) -> TableFigures:
    found = TableLoadStatus(source.id, name, 5, NOW, None, None, stopped=False)
    return TableFigures(
        source, name, 10, 8, 1, 1, 0, None, replace(found, **status)  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_rotation_has_three_steps() -> None:
    old, fresh = make_token(1, last_used_at=NOW), make_token(2, created_at=NOW)
    assert find_step([], NOW) == 1
    assert find_step([old], NOW) == 1
    assert find_step([old, fresh], NOW) == 2
    used = replace(fresh, last_used_at=NOW)
    assert find_step([old, used], NOW) == 2
    assert find_step([replace(old, last_used_at=NOW - DAY), used], NOW) == 3


def test_what_is_bad_comes_before_what_is_old() -> None:
    stopped = make_table("a", error="key", error_since=NOW - 5, stopped=True)
    odd = make_table("b", trouble="all rejected", trouble_since=NOW - DAY)
    late = replace(make_table("c"), waiting=3, oldest=NOW - 16 * view.MINUTE_US)
    fine = make_table("d")
    seen = AccountFigures(tables=[odd, fine, late, stopped])
    found = list_troubles(seen, NOW)
    assert [(line.state.word, line.what) for line in found] == [
        ("stopped", "shop.a"),
        ("trouble", "shop.b"),
        ("waits long", "shop.c"),
    ]
    assert found[2].why == "3 records of it wait."


def test_tables_are_chosen_by_name_state_and_source() -> None:
    tables = [make_table("Orders"), make_table("orders", OTHER), make_table("x", error="e")]
    assert len(select_tables(tables, "", "", None)) == 3
    assert len(select_tables(tables, "ORDERS", "", None)) == 2
    assert select_tables(tables, "crm.", "", None) == [tables[1]]
    assert select_tables(tables, "", "failing", None) == [tables[2]]
    assert select_tables(tables, "", "", 3) == [tables[1]]


def test_the_detail_of_an_event_is_text() -> None:
    assert describe_detail({"role": "admin", "token_id": 3}) == "role: admin, token id: 3"
    assert describe_detail({}) == ""
