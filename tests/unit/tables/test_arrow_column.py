"""Columns that Arrow holds: they are the list of the same values, and a load comes out the same."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.unit.tables.executor import batch
from tests.unit.tables.test_flatten_properties import RECORDS

from treadle.records import row_decoder
from treadle.tables import arrow_column
from treadle.tables.arrow_column import (
    ArrowColumn,
    TypedColumn,
    find_present_rows,
    has_none,
    to_arrow,
    to_values,
)
from treadle.tables.column_type import ColumnType
from treadle.tables.model import TableOptions
from treadle.tables.prepare.frame import concatenate_frames, make_row_picker
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB, POSTGRES

VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.BIGINT: st.integers(-(2**63), 2**63 - 1),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.DOUBLE: st.floats(allow_nan=False),
    ColumnType.TEXT: st.text(),
    ColumnType.TIMESTAMP: st.integers(-(2**63), 2**63 - 1),
}
COLUMNS = st.sampled_from(list(VALUES)).flatmap(
    lambda type_: st.tuples(st.just(type_), st.lists(st.none() | VALUES[type_], min_size=1))
)


@given(COLUMNS, st.data())
def test_a_packed_column_is_its_list(
    column: tuple[ColumnType, list[Any]], data: st.DataObject
) -> None:
    type_, values = column
    found = to_arrow(values, type_)
    assert found is not None
    rows = data.draw(st.lists(st.integers(0, len(values) - 1)))
    assert found.null_count == values.count(None)
    assert has_none(found) == (None in values)
    present = [row for row, value in enumerate(values) if value is not None]
    assert list(find_present_rows(found)) == list(find_present_rows(values)) == present
    assert len(found) == len(values)
    assert to_values(found) == values
    assert list(map(type, to_values(found))) == list(map(type, values))
    assert to_values(make_row_picker(rows)(found)) == [values[row] for row in rows]
    twice = arrow_column.concatenate_arrow([values, found, []], type_)
    assert twice is not None
    assert to_values(twice) == values + values


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (ColumnType.BIGINT, [1, 2**63]),
        (ColumnType.TEXT, ["a", "\ud800"]),
        (ColumnType.DECIMAL, [None]),
        (ColumnType.JSON, ["{}"]),
    ],
)
def test_what_has_no_place_in_arrow_stays_a_list(type_: ColumnType, values: list[Any]) -> None:
    assert to_arrow(values, type_) is None
    assert arrow_column.to_arrow_if_long(values * 100, type_) == values * 100
    assert arrow_column.concatenate_arrow([values, values], type_) is None


def test_nothing_is_none_so_many_times() -> None:
    for type_ in ColumnType:
        for size in (1, arrow_column.ARROW_ROWS_MIN):
            assert list(to_values(arrow_column.make_null_column(size, type_))) == [None] * size


# --- the quick ways of `prepare_load` against the general one
# ------------------------------------------


@contextmanager
def quick_from(count: int) -> Iterator[None]:
    """Entries and columns from that length on take the quick ways."""
    with (
        patch.object(row_decoder, "RECORDS_MIN", count),
        patch.object(arrow_column, "ARROW_ROWS_MIN", count),
    ):
        arrow_column.make_null_column.cache_clear()
        yield
    arrow_column.make_null_column.cache_clear()


def everything(prepared: PreparedLoad) -> Any:
    """What came out, in plain values."""
    groups = [
        (
            group.segment,
            group.version,
            group.keys,
            *(list(each) for each in (group.entries, group.indexes, group.sequences)),
            [
                (
                    frame.path,
                    frame.source_name,
                    frame.size,
                    list(frame.root_rows),
                    [list(level) for level in frame.levels],
                    {
                        folded: (each.name, {t: _shown(c) for t, c in each.columns.items()})
                        for folded, each in frame.fields.items()
                    },
                )
                for frame in group.frames
            ],
        )
        for group in prepared.groups
    ]
    rest = (
        [*prepared.left_out, *prepared.rounded],
        prepared.superseded,
        prepared.received,
        prepared.nul_removed,
    )
    # Fields that one record leaves out are told in any order.
    return groups, sorted(prepared.rejections, key=repr), rest, prepared.extracted_max


def _shown(column: TypedColumn) -> list[tuple[str, str]]:
    return [(type(value).__name__, repr(value)) for value in to_values(column)]


DAY = {"type": "string", "format": "date-time"}
SCHEMA: Mapping[str, Any] = {
    "properties": {"a": {"type": "number"}, "b": DAY, "A": {"type": "integer"}, "e-mail": {}}
}
DECIMALS: Mapping[str, Any] = {"properties": {"a": {"type": "number", "multipleOf": 0.01}}}
TIMES = st.sampled_from(
    ["2024-01-01T00:00:00Z", "2024-02-29 23:59:59.123456Z", "2024-01-01T00:00:00+01", "0000-01-01"]
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FLAT = st.fixed_dictionaries(
    {"a": st.none() | st.integers() | NUMBERS, "b": TIMES | st.text()},
    optional={"A": st.integers(), "e-mail": st.text() | st.booleans()},
)


@pytest.mark.parametrize("profile", [POSTGRES, DUCKDB], ids=["pg", "duckdb"])
@pytest.mark.parametrize("schema", [None, SCHEMA, DECIMALS], ids=["value", "schema", "decimals"])
@given(
    entries=st.lists(
        st.lists(st.tuples(st.integers(0, 9), FLAT | RECORDS), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    ),
    options=st.sampled_from(
        [TableOptions(), TableOptions(collisions="hash"), TableOptions(on_bad_value="null_field")]
    ),
)
@example(  # subtables that come in another order where records are walked apart
    entries=[[(0, {"a": None, "b": "x"}), (1, {"b": [False]})], [(2, {"a": [False]})]],
    options=TableOptions(),
)
@example(  # two fields left out of one record
    entries=[
        [(0, {"a": None, "b": "2024-01-01T00:00:00Z"})],
        [(0, {})],
        [(0, {"c" * 60: {"a": False}, "a": {"": False}})],
    ],
    options=TableOptions(),
)
@example(  # the row that names a field is superseded, and the row that stays spells it otherwise
    entries=[[(1, {"a": None})], [(1, {"a": 0})], [(0, {"a": None, "A": 0})]],
    options=TableOptions(),
)
@settings(max_examples=examples(60), deadline=None)
def test_the_quick_ways_change_nothing(
    profile: DestinationProfile,
    schema: Mapping[str, Any] | None,
    entries: list[list[tuple[int, dict[str, Any]]]],
    options: TableOptions,
) -> None:
    arrivals = [
        LogBatch(batch([(s, {"id": s, **r}) for s, r in rows], schema=schema), place, place)
        for place, rows in enumerate(entries)
    ]

    def made(count: int) -> Any:
        with quick_from(count):
            return everything(prepare_load(arrivals, profile=profile, options=options, schema="s"))

    assert made(1) == made(1_000_000)


def test_a_long_load_takes_the_quick_way() -> None:
    rows = [(n, {"id": n, "name": f"n{n}", "x": n / 7, "ok": n % 2 == 0}) for n in range(300)]
    arrivals = [LogBatch(batch(rows[at : at + 100]), at, at) for at in (0, 100, 200)]
    with patch.object(
        row_decoder.RowDecoder,
        "decode_rows",
        autospec=True,
        side_effect=row_decoder.RowDecoder.decode_rows,
    ) as rows_of:
        prepared = prepare_load(arrivals, profile=POSTGRES, options=TableOptions(), schema="s")
    assert rows_of.call_count == 2
    (group,) = prepared.groups
    fields = group.frames[0].fields
    for name in ("id", "name", "x", "ok"):
        (column,) = fields[name].columns.values()
        assert isinstance(column, ArrowColumn), name
        assert to_values(column) == [record[name] for _, record in rows]


def test_which_reason_comes_first_is_asked_of_the_record_as_sent() -> None:
    """Two faults in a record: the one whose field was sent first is told, whatever the shape."""
    good = [(n, {"id": n, "a": 1, "b": 1}) for n in range(40)]
    bad = [(50, {"id": 50, "b": 2**64, "a": 2**63})]
    arrivals = [LogBatch(batch(good), 0, 0), LogBatch(batch(good[1:] + bad), 1, 1)]
    prepared = prepare_load(arrivals, profile=POSTGRES, options=TableOptions(), schema="s")
    (rejection,) = prepared.rejections
    assert rejection.reason == f"integer out of range for PostgreSQL on {2**64}"
    assert json.loads(rejection.record) == bad[0][1]


def test_frames_of_packed_and_plain_columns_are_joined() -> None:
    def frames(count: int) -> Any:
        rows = [(n, {"id": n, "v": f"v{n}"}) for n in range(count)]
        prepared = prepare_load(
            [LogBatch(batch(rows), 0, 0)], profile=DUCKDB, options=TableOptions(), schema="s"
        )
        return prepared.groups[0].frames

    (both,) = concatenate_frames([frames(100), frames(3)], DUCKDB.fold)
    (column,) = both.fields["v"].columns.values()
    assert to_values(column) == [f"v{n}" for n in (*range(100), *range(3))]
    assert isinstance(column, ArrowColumn)
