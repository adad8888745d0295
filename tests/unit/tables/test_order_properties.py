"""Whatever the order, the repetition and the batching of messages, the tables come out the same."""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.unit.tables.executor import Executor, batch

from treadle.tables import table_codec
from treadle.tables.column_type import ColumnType
from treadle.tables.model import TableOptions
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import DUCKDB, POSTGRES

PROFILES = pytest.mark.parametrize("profile", [POSTGRES, DUCKDB], ids=["pg", "duckdb"])


def contents(executor: Executor, table: str = "t") -> dict[str, list[Any]]:
    """Rows by relation, as {(field, type): value}, however the columns are called."""
    text = executor.catalogue.get(table)
    out: dict[str, list[Any]] = {}
    for relation in table_codec.decode_table(text).relations if text is not None else ():
        rows = [
            {
                (column.field, column.type.value): row[column.name]
                for column in relation.columns
                if row.get(column.name) is not None
                and column.name not in ("_sdc_batched_at", "_sdc_received_at")
            }
            for row in executor.live[relation.name].rows
        ]
        if rows:
            out[relation.name] = sorted(rows, key=lambda row: repr(sorted(row.items())))
    return out


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 2.0]), st.text(max_size=2)
)
VALUES = st.one_of(
    SCALARS,
    st.lists(st.one_of(SCALARS, st.fixed_dictionaries({}, optional={"k": SCALARS})), max_size=3),
    st.dictionaries(st.sampled_from(["p", "q"]), SCALARS, max_size=2),
)
MESSAGES = st.lists(
    st.tuples(
        st.integers(1, 3), st.dictionaries(st.sampled_from(["a", "b", "l"]), VALUES, max_size=3)
    ),
    min_size=1,
    max_size=6,
)


@PROFILES
@given(messages=MESSAGES, data=st.data())
@settings(max_examples=examples(120), deadline=None)
def test_any_order_and_repetition_gives_the_same_rows(
    profile: DestinationProfile, messages: list[tuple[int, dict[str, Any]]], data: st.DataObject
) -> None:
    rows = [(number, {"id": key, **record}) for number, (key, record) in enumerate(messages)]
    straight = Executor(profile)
    straight.run([batch(rows)])
    repeated = [*rows, *data.draw(st.lists(st.sampled_from(rows), max_size=3))]
    mixed = data.draw(st.permutations(repeated))
    crooked = Executor(profile)
    while mixed:
        count = data.draw(st.integers(1, len(mixed)))
        split = data.draw(st.integers(0, count))
        parts = [part for part in (mixed[:split], mixed[split:count]) if part]
        crooked.run([batch(part) for part in parts])
        mixed = mixed[count:]
    assert contents(crooked) == contents(straight)


SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        ColumnType.BIGINT: {"type": "integer"},
        ColumnType.BOOLEAN: {"type": "boolean"},
        ColumnType.DECIMAL: {"type": "string", "format": "singer.decimal"},
        ColumnType.DOUBLE: {"type": "number"},
        ColumnType.TEXT: {"type": "string"},
        ColumnType.TIMESTAMP: {"type": "string", "format": "date-time"},
    },
}
SENT: Mapping[ColumnType, Any] = {
    ColumnType.BIGINT: 7,
    ColumnType.BOOLEAN: True,
    ColumnType.DECIMAL: "1.5",
    ColumnType.DOUBLE: 0.25,
    ColumnType.TEXT: "x",
    ColumnType.TIMESTAMP: "2024-01-01T00:00:00Z",
}
AS_TEXT: Mapping[ColumnType, str] = {
    ColumnType.BIGINT: "7",
    ColumnType.BOOLEAN: "true",
    ColumnType.DECIMAL: "1.5",
    ColumnType.DOUBLE: "0.25",
    ColumnType.TEXT: "x",
    ColumnType.TIMESTAMP: "2024-01-01T00:00:00Z",
}


def _typed(type_: ColumnType) -> dict[str, Any]:
    return {"properties": {"id": {"type": "integer"}, "v": SCHEMA["properties"][type_]}}  # type: ignore[index]  # a plain dict literal


@PROFILES
@pytest.mark.parametrize("mode", ["profile", "keep", "widen"])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("one", "two"), list(permutations(SENT, 2)))
def test_no_pair_of_types_loses_a_value(
    profile: DestinationProfile, mode: Any, together: bool, one: ColumnType, two: ColumnType
) -> None:
    executor = Executor(profile)
    options = TableOptions(split_mode=mode)
    batches = [
        batch([(1, {"id": 1, "v": SENT[one]})], schema=_typed(one)),
        batch([(1, {"id": 2, "v": SENT[two]})], schema=_typed(two)),
    ]
    if together:
        executor.run(batches, options=options)
    else:
        executor.run(batches[:1], options=options)
        executor.run(batches[1:], options=options)
    assert executor.rejected == []
    rows = {
        row["id"]: {
            column: value
            for column, value in row.items()
            if column == "v" or (column.startswith("v__") and value is not None)
        }
        for row in executor.live["t"].rows
    }
    values = {key: [v for v in row.values() if v is not None] for key, row in rows.items()}
    assert {key: len(held) for key, held in values.items()} == {1: 1, 2: 1}
    if mode == "widen":
        assert executor.live["t"].columns["v"] is not None
        if executor.live["t"].columns["v"] is ColumnType.TEXT:
            assert values == {1: [AS_TEXT[one]], 2: [AS_TEXT[two]]}
    else:
        names = {k: next(n for n, v in row.items() if v is not None) for k, row in rows.items()}
        types = {key: executor.live["t"].columns[name] for key, name in names.items()}
        assert types == {1: one, 2: two}


@PROFILES
def test_three_types_in_three_loads_keep_one_column_each(profile: DestinationProfile) -> None:
    executor = Executor(profile)
    for number, type_ in enumerate(SENT):
        executor.run([batch([(1, {"id": number, "v": SENT[type_]})], schema=_typed(type_))])
    first = "v__bi" if profile.split == "rename" else "v"
    names = [first, "v__bo", "v__de", "v__do", "v__st", "v__ti"]
    assert [n for n in executor.live["t"].columns if n.startswith("v")] == names
