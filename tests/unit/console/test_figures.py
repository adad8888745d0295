"""The numbers of a source: sums, and the tables that are shown one by one."""

from dataclasses import replace

from tests.unit.console.test_pages import OTHER, SOURCE
from tests.unit.console.test_view import NOW

from treadle.console.figures import BUSIEST_MAX, AccountFigures, SourceFigures, TableFigures
from treadle.store.model import Source, TableCondition


def make_table(
    name: str, accepted: int, loaded: int = 0, oldest: int | None = None, source: Source = SOURCE
) -> TableFigures:
    condition = TableCondition(
        source.id, name, 5, accepted, loaded, 1, 2, NOW, stopped=False, error=None, trouble=None
    )
    return TableFigures(source, name, accepted, loaded, 1, 2, 3, oldest, condition)


def test_numbers_of_tables_are_summed() -> None:
    figures = SourceFigures(SOURCE)
    figures.add(make_table("a", 10, 4, oldest=70))
    figures.add(make_table("b", 20, 6, oldest=50))
    figures.add(make_table("c", 30))
    figures.add(make_table("d", 5)._replace(status=None))
    assert (figures.tables, figures.accepted, figures.loaded) == (4, 65, 10)
    assert (figures.superseded, figures.rejected, figures.waiting) == (4, 8, 12)
    assert figures.oldest == 50
    assert figures.untried == ["d"]
    assert figures.most_loaded is not None
    assert figures.most_loaded.table_name == "b"
    assert [one.table_name for one in figures.busiest] == ["c", "b", "a", "d"]


def test_only_the_busiest_tables_are_kept_whatever_the_order() -> None:
    names = [f"t{number:03}" for number in range(100)]
    expected = [f"t{number:03}" for number in range(99, 99 - BUSIEST_MAX, -1)]
    for order in (names, names[::-1], names[50:] + names[:50]):
        figures = SourceFigures(SOURCE)
        for name in order:
            figures.add(make_table(name, int(name[1:])))
        assert [one.table_name for one in figures.busiest] == expected


def test_equal_tables_are_shown_by_name() -> None:
    figures = SourceFigures(SOURCE)
    for number in (30, 10, 20, *range(40, 80)):
        figures.add(make_table(f"t{number}", 7, 7))
    assert [one.table_name for one in figures.busiest[:3]] == ["t10", "t20", "t30"]
    assert figures.most_loaded is not None
    assert figures.most_loaded.table_name == "t10"


def test_the_busiest_of_an_account_come_from_all_of_its_sources() -> None:
    one, two = SourceFigures(SOURCE), SourceFigures(replace(OTHER))
    for number in range(30):
        one.add(make_table(f"a{number}", 10 * number))
        two.add(make_table(f"b{number}", 10 * number + 5, source=OTHER))
    account = AccountFigures(by_source={SOURCE.id: one, OTHER.id: two})
    found = [table.table_name for table in account.busiest]
    assert found[:4] == ["b29", "a29", "b28", "a28"]
    assert len(found) == BUSIEST_MAX
