"""What speaks against putting a rebuilt table in the place of the one that is there."""

from collections import Counter
from dataclasses import replace

import pytest

from treadle.destinations.protocol import Parted
from treadle.loader.replay import Built, Compared, Window, doubts, reshaped
from treadle.store.model import TableStatus
from treadle.tables.model import Column, ColumnType, Table

STATUS = TableStatus(1, "t", 9, 1, None, None, False, began=3)
BUILT = Built(first=3, position=9)
ALL = Window()


def test_a_table_that_is_whole() -> None:
    assert doubts(BUILT, STATUS, ALL) == []


@pytest.mark.parametrize(
    ("built", "status", "window", "said"),
    [
        (replace(BUILT, first=4), STATUS, ALL, "at position 3, and the first it holds is 4"),
        (replace(BUILT, first=None), STATUS, ALL, "holds nothing of the table any more"),
        (BUILT, replace(STATUS, began=None), ALL, "not known where the table begins"),
        (BUILT, None, ALL, "not known where the table begins"),
        (BUILT, STATUS, Window(since=1), "only a part of the log"),
        (BUILT, STATUS, Window(until=0), "only a part of the log"),
        (replace(BUILT, damaged=2), STATUS, ALL, "2 entries of the log are damaged"),
        (replace(BUILT, overtaken=True), STATUS, ALL, "trimmed while it was read"),
        (replace(BUILT, reshaped=("it has another key",)), STATUS, ALL, "it has another key"),
        (
            replace(BUILT, rejected=Counter({"a": 1, "b": 4, "c": 2, "d": 2})),
            STATUS,
            ALL,
            "9 records that were loaded before are rejected now: b (4); c (2); d (2)",
        ),
    ],
)
def test_each_doubt_is_said(
    built: Built, status: TableStatus | None, window: Window, said: str
) -> None:
    [doubt] = doubts(built, status, window)
    assert said in doubt


@pytest.mark.parametrize(
    ("window", "held"),
    [
        (Window(), [0, 5, 9]),
        (Window(since=5), [5, 9]),
        (Window(until=5), [0]),
        (Window(since=5, until=9), [5]),
        (Window(since=0, until=0), []),
    ],
)
def test_which_entries_are_in_a_window(window: Window, held: list[int]) -> None:
    assert [at for at in (0, 5, 9) if window.holds(at)] == held


def test_only_a_window_that_ends_before_it_begins_is_impossible() -> None:
    bounds = [(None, None), (5, None), (None, 5), (4, 5), (5, 5), (6, 5)]
    assert [Window(*each).possible for each in bounds] == [True, True, True, True, False, False]


ONE_ROW, EVERY = "keeps one row for a key", "appends every record"


def keyed(*keys: str, append: bool = False) -> Table:
    columns = tuple(Column(key, key, ColumnType.BIGINT) for key in keys)
    return Table("s", "t", columns, False, append, 0, ())


SAME = [Compared("t", Parted(3, 0, 1)), Compared("t__x", Parted(2, 0, 0))]


@pytest.mark.parametrize(
    ("here", "there", "found", "told"),
    [
        (None, keyed("id"), SAME, ()),
        (keyed("id"), None, SAME, ()),
        (keyed("id"), keyed("id"), SAME, ()),
        (
            keyed("id"),
            keyed("id", append=True),
            SAME,
            (f"the table {ONE_ROW}, and by the options it has now it {EVERY}",),
        ),
        (
            keyed("a", "b"),
            keyed("b"),
            SAME,
            ("the table has the key a, b, and what was built b",),
        ),
        (
            keyed("id"),
            keyed("id"),
            [
                *SAME,
                Compared("t__y", Parted(0, 0, 0), True),
                Compared("t__z", Parted(4, 0, 0), True),
            ],
            ("the subtable t__z holds 4 rows, and none such was built",),
        ),
    ],
)
def test_another_shape_is_told(
    here: Table | None, there: Table | None, found: list[Compared], told: tuple[str, ...]
) -> None:
    assert reshaped(here, there, found) == told
