"""Types of batch fields by their JSON schema (loading.md 3.1)."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.tables.executor import Executor, batch

from treadle.tables.column_type import ColumnType
from treadle.tables.profiles import DUCKDB, POSTGRES

B, D, T = ColumnType.BIGINT, ColumnType.DOUBLE, ColumnType.TEXT
DECIMAL, STAMP, BOOL = ColumnType.DECIMAL, ColumnType.TIMESTAMP, ColumnType.BOOLEAN
NEW_YEAR = 1_704_067_200_000_000


def loaded(schema: Any, *values: Any, **document: Any) -> list[tuple[ColumnType | None, Any]]:
    """(type of its column, stored value) of each value of a field `v`."""
    executor = Executor(DUCKDB)
    document = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "v": schema},
        **document,
    }
    rows = [(n, {"id": n, "v": value}) for n, value in enumerate(values)]
    executor.run([batch(rows, schema=document)])
    assert [reason for _, reason, _ in executor.rejected] == []
    held = executor.live["t"]
    return [
        next(
            (held.columns[name], value)
            for name, value in row.items()
            if value is not None and (name == "v" or name.startswith("v__"))
        )
        for row in sorted(held.rows, key=lambda row: row["id"])
    ]


STRING: dict[str, Any] = {"type": "string"}
MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
NOON = "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("schema", "value", "type_", "stored"),
    [
        ({"type": "integer"}, 3, B, 3),
        ({"type": "integer"}, 3.0, B, 3),
        ({"type": "number"}, 15, D, 15.0),
        ({"type": "number"}, 15.5, D, 15.5),
        ({"type": ["integer", "number"]}, 3, D, 3.0),
        ({"type": ["null", "integer", "string"]}, 3, B, 3),
        ({"type": ["null", "integer", "string"]}, "3", T, "3"),
        ({"type": "number", "multipleOf": 0.01}, 12.34, DECIMAL, Decimal("12.34")),
        ({"type": "number", "multipleOf": 0.01}, 12, DECIMAL, Decimal(12)),
        ({"type": "number", "multipleOf": 1e-9}, 0.1, DECIMAL, Decimal("0.1")),
        ({"type": ["null", "string"], "format": "singer.decimal"}, "0.1", DECIMAL, Decimal("0.1")),
        ({"type": "string", "format": "singer.decimal"}, "abc", T, "abc"),
        ({"type": "number", "format": "singer.decimal"}, 1.1, DECIMAL, Decimal("1.1")),
        (MOMENT, NOON, STAMP, NEW_YEAR),
        (
            {"type": ["null", "string"], "format": "date-time"},
            "2024-01-01 00:00:00",
            STAMP,
            NEW_YEAR,
        ),
        (MOMENT, "2024-01-01", T, "2024-01-01"),
        ({"type": "string", "format": "date"}, "2024-01-01", T, "2024-01-01"),
        ({"format": "date-time"}, NOON, T, NOON),
        ({"type": "boolean"}, False, BOOL, False),
        ({}, 5, B, 5),
        ({}, 5.5, D, 5.5),
        ({"enum": ["a", 1]}, 1, B, 1),
        ({"const": 4}, 4, B, 4),
        ({"anyOf": [MOMENT, STRING]}, NOON, STAMP, NEW_YEAR),
        ({"anyOf": [MOMENT, STRING]}, "soon", T, "soon"),
        ({"anyOf": [MOMENT, STRING]}, "2024-02-30T00:00:00Z", T, "2024-02-30T00:00:00Z"),
        ({"anyOf": [STRING, MOMENT]}, NOON, T, NOON),
        ({"anyOf": [{"type": "null"}, MOMENT]}, NOON, STAMP, NEW_YEAR),
        ({"anyOf": [{"enum": ["never"]}, MOMENT]}, "never", T, "never"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, 3, B, 3),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, 3.5, D, 3.5),
        ({"anyOf": [{"type": "number"}, {"type": "integer"}]}, 3, D, 3.0),
        ({"oneOf": [{"type": "number", "multipleOf": 0.1}, STRING]}, 3.5, DECIMAL, Decimal("3.5")),
        ({"allOf": [{"type": "string"}, {"format": "date-time"}]}, NOON, STAMP, NEW_YEAR),
        ({"allOf": [{"type": ["integer", "string"]}, {"type": ["integer", "null"]}]}, 3, B, 3),
        ({"$ref": "#/definitions/when"}, NOON, STAMP, NEW_YEAR),
        ({"anyOf": [{"$ref": "#/definitions/list/1"}, {"type": "null"}]}, 3, D, 3.0),
        ({"$ref": "#/definitions/loop"}, 3, B, 3),
        ({"$ref": "#/nowhere"}, 3, B, 3),
        ({"$ref": "http://elsewhere/x"}, 3, B, 3),
    ],
)
def test_type_by_schema(schema: Any, value: Any, type_: ColumnType, stored: Any) -> None:
    definitions = {
        "when": MOMENT,
        "list": [STRING, {"type": "number"}],
        "loop": {"$ref": "#/definitions/loop"},
    }
    found = loaded(schema, value, definitions=definitions)
    assert found == [(type_, stored)]
    assert type(found[0][1]) is type(stored)


def test_a_union_splits_record_by_record() -> None:
    assert loaded({"anyOf": [MOMENT, STRING]}, NOON, "soon") == [(STAMP, NEW_YEAR), (T, "soon")]


def test_pattern_and_additional_properties() -> None:
    document = {
        "patternProperties": {"^v": {"type": "number"}},
        "additionalProperties": {"type": "number"},
        "properties": {},
    }
    executor = Executor(POSTGRES)
    executor.run([batch([(1, {"id": 1, "v": 2, "w": 3})], schema=document)])
    assert executor.live["t"].columns["v"] is D
    assert executor.live["t"].columns["w"] is D


def test_a_schema_that_contains_itself() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {
            "at": MOMENT,
            "next": {"$ref": "#/definitions/node"},
            "list": {"type": "array", "items": {"$ref": "#/definitions/node"}},
        },
    }
    document = {
        "definitions": {"node": node},
        "properties": {"id": {"type": "integer"}, "o": {"$ref": "#/definitions/node"}},
    }
    value = {"next": {"next": {"at": NOON, "list": [{"list": [{"at": NOON}]}]}}}
    executor = Executor(POSTGRES)
    executor.run([batch([(1, {"id": 1, "o": value})], schema=document)])
    assert executor.live["t"].columns["o__next__next__at"] is STAMP
    assert executor.live["t__o__next__next__list__list"].columns["at"] is STAMP


def test_objects_take_the_alternative_they_fit() -> None:
    kinds = {
        "anyOf": [
            {
                "type": "object",
                "required": ["n", "x"],
                "properties": {"n": {"type": "number"}, "x": {"type": "integer"}},
            },
            {"type": "object", "properties": {"n": MOMENT}},
        ]
    }
    executor = Executor(DUCKDB)
    document = {"properties": {"id": {"type": "integer"}, "o": kinds}}
    rows: list[tuple[int, dict[str, Any]]] = [
        (1, {"id": 1, "o": {"n": 2, "x": 1}}),
        (2, {"id": 2, "o": {"n": NOON}}),
        (3, {"id": 3, "o": None}),
    ]
    executor.run([batch(rows, schema=document)])
    held = executor.live["t"]
    assert held.columns["o__n"] is D
    assert held.columns["o__n__ti"] is STAMP
    assert [(row["o__n"], row["o__n__ti"]) for row in held.rows] == [
        (2.0, None),
        (None, NEW_YEAR),
        (None, None),
    ]


def test_items_by_place() -> None:
    document = {
        "properties": {
            "id": {"type": "integer"},
            "l": {
                "type": "array",
                "items": [MOMENT, {"type": "number"}],
                "additionalItems": STRING,
            },
        }
    }
    executor = Executor(DUCKDB)
    executor.run([batch([(1, {"id": 1, "l": [NOON, 3, NOON]})], schema=document)])
    held = executor.live["t__l"]
    assert held.columns["value"] is D
    rows = sorted(held.rows, key=lambda row: row["_sdc_level_0_id"])
    assert [(r.get("value"), r.get("value__ti"), r.get("value__st")) for r in rows] == [
        (None, NEW_YEAR, None),
        (3.0, None, None),
        (None, None, NOON),
    ]


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        (
            MOMENT,
            "0000-01-01T00:00:00Z",
            "timestamp out of range for <DEST> on 0000-01-01T00:00:00Z",
        ),
        (
            MOMENT,
            "2024-02-30T00:00:00Z",
            "timestamp out of range for <DEST> on 2024-02-30T00:00:00Z",
        ),
        (
            {"type": "string", "format": "singer.decimal"},
            "NaN",
            "decimal out of range for <DEST> on NaN",
        ),
        ({"type": "number"}, 10**400, f"decimal out of range for <DEST> on 1{'0' * 400}"),
        ({"type": "integer"}, 2**63, "integer out of range for <DEST> on 9223372036854775808"),
    ],
)
def test_out_of_range(schema: Any, value: Any, reason: str) -> None:
    executor = Executor(DUCKDB)
    document = {"properties": {"id": {"type": "integer"}, "v": schema}}
    executor.run([batch([(1, {"id": 1, "v": value}), (2, {"id": 2})], schema=document)])
    assert [(table, why) for table, why, _ in executor.rejected] == [
        ("t", reason.replace("<DEST>", "DuckDB"))
    ]
    assert [row["id"] for row in executor.live["t"].rows] == [2]
