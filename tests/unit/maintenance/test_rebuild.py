"""What speaks against putting a rebuilt table in the place of the one that is there."""

from collections import Counter
from dataclasses import replace

import pytest

from treadle.destinations.protocol import RowDiff
from treadle.maintenance.rebuild import (
    RebuildProgress,
    RelationComparison,
    TimeWindow,
    describe_shape_changes,
    find_doubts,
)
from treadle.store.model import TableLoadStatus
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Table

STATUS = TableLoadStatus(1, "t", 9, 1, None, None, False, began=3)
BUILT = RebuildProgress(first=3, position=9)
ALL = TimeWindow()


def test_a_table_that_is_whole() -> None:
    assert find_doubts(BUILT, STATUS, ALL) == []


@pytest.mark.parametrize(
    ("built", "status", "window", "said"),
    [
        (replace(BUILT, first=4), STATUS, ALL, "at position 3, and the first it holds is 4"),
        (replace(BUILT, first=None), STATUS, ALL, "holds nothing of the table any more"),
        (BUILT, replace(STATUS, began=None), ALL, "not known where the table begins"),
        (BUILT, None, ALL, "not known where the table begins"),
        (BUILT, STATUS, TimeWindow(since=1), "only a part of the log"),
        (BUILT, STATUS, TimeWindow(until=0), "only a part of the log"),
        (replace(BUILT, damaged=2), STATUS, ALL, "2 entries of the log are damaged"),
        (replace(BUILT, overtaken=True), STATUS, ALL, "trimmed while it was read"),
        (replace(BUILT, shape_changes=("it has another key",)), STATUS, ALL, "it has another key"),
        (
            replace(BUILT, rejected=Counter({"a": 1, "b": 4, "c": 2, "d": 2})),
            STATUS,
            ALL,
            "9 records that were loaded before are rejected now: b (4); c (2); d (2)",
        ),
    ],
)
def test_each_doubt_is_said(
    built: RebuildProgress, status: TableLoadStatus | None, window: TimeWindow, said: str
) -> None:
    [doubt] = find_doubts(built, status, window)
    assert said in doubt


@pytest.mark.parametrize(
    ("window", "held"),
    [
        (TimeWindow(), [0, 5, 9]),
        (TimeWindow(since=5), [5, 9]),
        (TimeWindow(until=5), [0]),
        (TimeWindow(since=5, until=9), [5]),
        (TimeWindow(since=0, until=0), []),
    ],
)
def test_which_entries_are_in_a_window(window: TimeWindow, held: list[int]) -> None:
    assert [at for at in (0, 5, 9) if window.contains(at)] == held


def test_only_a_window_that_ends_before_it_begins_is_impossible() -> None:
    bounds = [(None, None), (5, None), (None, 5), (4, 5), (5, 5), (6, 5)]
    assert [TimeWindow(*each).is_possible for each in bounds] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]


ONE_ROW, EVERY = "keeps one row for a key", "appends every record"


def keyed(*keys: str, append: bool = False) -> Table:
    columns = tuple(Column(key, key, ColumnType.BIGINT) for key in keys)
    return Table("s", "t", columns, False, append, 0, ())


SAME = [RelationComparison("t", RowDiff(3, 0, 1)), RelationComparison("t__x", RowDiff(2, 0, 0))]


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
                RelationComparison("t__y", RowDiff(0, 0, 0), True),
                RelationComparison("t__z", RowDiff(4, 0, 0), True),
            ],
            ("the subtable t__z holds 4 rows, and none such was built",),
        ),
    ],
)
def test_another_shape_is_told(
    here: Table | None, there: Table | None, found: list[RelationComparison], told: tuple[str, ...]
) -> None:
    assert describe_shape_changes(here, there, found) == told
