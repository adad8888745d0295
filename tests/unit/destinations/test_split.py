"""Rows beyond the greatest key of a table, told from the others, and rows by their key."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from treadle.destinations.sql.appending_writer import split
from treadle.destinations.sql.row_choice import sort_rows
from treadle.tables.arrow_column import (
    ArrowColumn,
    concatenate_arrow,
    to_arrow_if_long,
    to_values,
)
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


def arrow(values: Sequence[Any], type_: ColumnType, pieces: int) -> ArrowColumn:
    """A column in so many pieces, as it is when a load has several entries."""
    size = len(values) // pieces + 1
    parts = [values[at : at + size] for at in range(0, len(values), size)]
    found = concatenate_arrow([to_arrow_if_long(part, type_) for part in parts], type_)
    assert found is not None
    return found


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
@pytest.mark.parametrize("pieces", [1, 3])
def test_many_rows_are_put_in_the_order_of_their_key(step: int, pieces: int) -> None:
    ids = [number * step % 211 for number in range(211)]
    texts = [None if n % 5 == 0 else str(n) for n in ids]
    given: dict[str, Sequence[Any] | ArrowColumn] = {
        "id": arrow(ids, ColumnType.BIGINT, pieces),
        "a": arrow(texts, ColumnType.TEXT, 1),
    }
    found = sort_rows(RelationRows(OF, given, list(ids)))
    assert held(found) == [(n, None if n % 5 == 0 else str(n), n) for n in range(211)]


def test_few_rows_and_those_without_a_key_stay_as_they_are() -> None:
    assert sort_rows(FEW) is FEW
    keyless = RelationRows(replace(OF, key=()), FEW.columns)
    assert sort_rows(keyless) is keyless
