"""Rows in COPY's binary form, made by column: read again as the manual says."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.unit.tables.test_arrow_column import VALUES

from treadle.destinations.postgres import copy_format
from treadle.tables.arrow_column import TypedColumn, to_arrow, to_values
from treadle.tables.column_type import ColumnType

Y2000 = 946_684_800_000_000
MANY = st.integers(copy_format.ROWS_MIN, copy_format.ROWS_MIN + 3)


def read(stream: bytes, types: Sequence[ColumnType]) -> list[tuple[Any, ...]]:
    """The rows of a stream."""
    assert stream.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    assert stream.endswith(b"\xff\xff")
    rows, at = [], 19
    while at < len(stream) - 2:
        assert struct.unpack_from(">h", stream, at) == (len(types),)
        at += 2
        row = []
        for type_ in types:
            (length,) = struct.unpack_from(">i", stream, at)
            at += 4
            piece = None if length < 0 else stream[at : at + length]
            at += max(length, 0)
            row.append(None if piece is None else value(type_, piece))
        rows.append(tuple(row))
    return rows


def value(type_: ColumnType, piece: bytes) -> Any:
    if type_ is ColumnType.BOOLEAN:
        return {b"\0": False, b"\1": True}[piece]
    if type_ is ColumnType.TEXT:
        return piece.decode()
    (number,) = struct.unpack(">d" if type_ is ColumnType.DOUBLE else ">q", piece)
    return number + Y2000 if type_ is ColumnType.TIMESTAMP else number


def stream_of(columns: Sequence[tuple[ColumnType, TypedColumn]]) -> bytes:
    found = copy_format.encode_rows(columns)
    assert found is not None
    return b"".join(found)


# A timestamp that a column of PostgreSQL holds, so that it can be counted from 2000.
COLUMN = st.sampled_from(list(VALUES)).flatmap(
    lambda type_: st.tuples(
        st.just(type_),
        st.lists(
            st.integers(-(2**62), 2**62) if type_ is ColumnType.TIMESTAMP else VALUES[type_],
            min_size=1,
            max_size=9,
        ),
        st.booleans(),
        st.booleans(),
    )
)


@given(drawn=st.lists(COLUMN, min_size=1, max_size=6), size=MANY)
@settings(max_examples=examples(200), deadline=None)
def test_a_stream_holds_the_rows(
    drawn: list[tuple[ColumnType, list[Any], bool, bool]], size: int
) -> None:
    columns: list[tuple[ColumnType, TypedColumn]] = []
    for type_, values, nulls, packed in drawn:
        some = [*values, None] if nulls else values
        column = [some[row % len(some)] for row in range(size)]
        found = to_arrow(column, type_)
        assert found is not None
        columns.append((type_, found if packed else column))
    order = copy_format.order_fields([type_ for type_, _ in columns])
    assert sorted(order) == list(range(len(columns)))
    columns = [columns[at] for at in order]
    expected = list(zip(*(to_values(column) for _, column in columns), strict=True))
    assert read(stream_of(columns), [type_ for type_, _ in columns]) == expected


def test_rows_are_made_some_at_a_time_and_a_null_may_be_in_one_part_only() -> None:
    size = 20_000
    numbers: list[int | None] = list(range(size))
    numbers[9_000] = None
    columns: list[tuple[ColumnType, Sequence[Any]]] = [
        (ColumnType.BIGINT, list(range(size))),
        (ColumnType.TIMESTAMP, numbers),
        (ColumnType.DOUBLE, [n / 3 for n in range(size)]),
        (ColumnType.TEXT, [None if n % 5_000 == 1 else "ü" * (n % 7) for n in range(size)]),
    ]
    expected = list(zip(*(to_values(column) for _, column in columns), strict=True))
    assert read(stream_of(columns), [type_ for type_, _ in columns]) == expected


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (ColumnType.DECIMAL, [None] * 100),
        (ColumnType.JSON, ["{}"] * 100),
        (ColumnType.TEXT, ["\ud800"] * 100),
        (ColumnType.BIGINT, [1] * (copy_format.ROWS_MIN - 1)),
    ],
)
def test_what_is_written_row_by_row(type_: ColumnType, values: list[Any]) -> None:
    assert copy_format.encode_rows([(type_, values)]) is None


def test_no_column_is_written_row_by_row() -> None:
    assert copy_format.encode_rows([]) is None
