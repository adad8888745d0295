"""Rows beyond the greatest key of a table, told from the others, and rows by their key."""

from dataclasses import replace

import pytest

from treadle.destinations.sql.appending_writer import split
from treadle.destinations.sql.row_choice import sort_rows
from treadle.tables.arrow_column import to_arrow_if_long, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation, RelationRows

OF = Relation(
    (),
    "orders",
    (Column("id", "id", ColumnType.BIGINT, nullable=False), Column("a", "a", ColumnType.TEXT)),
    ("id",),
    "orders",
)
FEW = RelationRows(OF, {"id": [4, 2, 9, 3], "a": ["d", None, "i", "c"]}, [7, 8, 9, 9])


def held(part: RelationRows) -> list[tuple[object, ...]]:
    return list(zip(*map(to_values, part.columns.values()), part.entries, strict=True))


def test_each_row_is_in_one_part_in_its_order() -> None:
    rest, beyond = split(FEW, FEW.columns["id"], 3)
    assert held(rest) == [(2, None, 8), (3, "c", 9)]
    assert held(beyond) == [(4, "d", 7), (9, "i", 9)]


def test_a_part_may_have_nothing() -> None:
    rest, beyond = split(FEW, FEW.columns["id"], 1)
    assert (len(rest), held(beyond)) == (0, held(FEW))
    rest, beyond = split(FEW, FEW.columns["id"], 9)
    assert (held(rest), len(beyond)) == (held(FEW), 0)


def test_children_without_entries_and_packed_columns() -> None:
    columns = {"id": to_arrow_if_long(list(range(200)), ColumnType.BIGINT), "a": ["x"] * 200}
    rest, beyond = split(RelationRows(OF, columns), columns["id"], 149)
    assert (len(rest), len(beyond)) == (150, 50)
    assert to_values(beyond.columns["id"]) == list(range(150, 200))
    assert (rest.entries, beyond.entries) == ((), ())


@pytest.mark.parametrize("step", [1, 7])
def test_many_rows_are_put_in_the_order_of_their_key(step: int) -> None:
    ids = [number * step % 101 for number in range(101)]
    given = {
        "id": to_arrow_if_long(ids, ColumnType.BIGINT),
        "a": to_arrow_if_long([None if n % 5 == 0 else str(n) for n in ids], ColumnType.TEXT),
    }
    found = sort_rows(RelationRows(OF, given, list(ids)))
    assert held(found) == [(n, None if n % 5 == 0 else str(n), n) for n in range(101)]


def test_few_rows_and_those_without_a_key_stay_as_they_are() -> None:
    assert sort_rows(FEW) is FEW
    keyless = RelationRows(replace(OF, key=()), FEW.columns)
    assert sort_rows(keyless) is keyless
