import pytest
from tests.loads import load

from treadle.loader.notes import REPORTS_MAX, SMALL_BYTES_MAX, WAIT_US, Note, Notes, gathers


def note(table: str, position: int = 5) -> Note:
    its = load(1, table, position, id=f"{table}-{position}")
    return Note((1, table), position, its, [])


def test_only_small_loads_of_new_tables_wait() -> None:
    assert gathers(-1, 0)
    assert gathers(-1, SMALL_BYTES_MAX)
    assert not gathers(-1, SMALL_BYTES_MAX + 1)
    assert not gathers(0, 1)
    assert not gathers(7, 1)


def test_reports_wait_in_order_until_they_are_cleared() -> None:
    notes = Notes()
    assert (notes.waiting, tuple(notes.keys)) == ([], ())
    notes.add(note("b"), 0)
    notes.add(note("a"), 1)
    assert notes.waiting == [note("b"), note("a")]
    assert tuple(notes.keys) == ((1, "b"), (1, "a"))
    notes.are_late = True
    notes.clear()
    assert (notes.waiting, notes.are_late) == ([], False)
    notes.add(note("b", 9), 2)
    assert notes.waiting == [note("b", 9)]


def test_a_second_report_of_a_table_cannot_wait() -> None:
    notes = Notes()
    notes.add(note("a"), 0)
    with pytest.raises(ValueError, match="before its load was noted"):
        notes.add(note("a", 9), 0)
    assert notes.waiting == [note("a")]


def test_reports_are_due_a_while_after_the_first_one() -> None:
    notes = Notes()
    assert not notes.are_due(10**9)
    notes.add(note("a"), 1_000)
    notes.add(note("b"), WAIT_US)
    assert not notes.are_due(1_000 + WAIT_US - 1)
    assert notes.are_due(1_000 + WAIT_US)
    notes.clear()
    assert not notes.are_due(10**9)
    notes.add(note("c"), 10**9)
    assert not notes.are_due(10**9 + 1)


def test_reports_are_due_when_they_are_many() -> None:
    notes = Notes()
    for number in range(REPORTS_MAX - 1):
        notes.add(note(f"t{number}"), 0)
    assert not notes.are_due(0)
    notes.add(note("last"), 0)
    assert notes.are_due(0)
