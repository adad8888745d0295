"""A schema whose alternatives and patterns have no end costs the loader little."""

import json
import time
from typing import Any

import pytest
from tests.schema_attacks import nest
from tests.unit.tables.executor import Executor, batch

from treadle.records.validation.effort import Effort
from treadle.tables.column_type import ColumnType
from treadle.tables.prepare.key_pattern import COMPILED_UNITS_MAX, KeyPattern
from treadle.tables.prepare.schema_types import OBJECT_ALTERNATIVES_MAX, compile_schema
from treadle.tables.prepare.type_rules import VALUE_RULES, TypeRules
from treadle.tables.profiles import DUCKDB

SECONDS_MAX = 3.0
"""Of processor time, on a slow machine; it takes 0.2 s."""

PAIR = [{"type": "string"}, {"type": "integer"}]


def double(keyword: str, levels: int) -> dict[str, Any]:
    definitions: dict[str, Any] = {
        f"d{n}": {keyword: [{"$ref": f"#/definitions/d{n + 1}"}] * 2} for n in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "integer"}
    return {"definitions": definitions, "$ref": "#/definitions/d0"}


ENDLESS_SCHEMAS = {
    "products of alternatives": {"allOf": [{"anyOf": PAIR}] * 60},
    "products of unions": {"anyOf": PAIR * 500, "oneOf": PAIR * 500},
    "doubling anyOf": double("anyOf", 60),
    "doubling allOf": double("allOf", 60),
    "alternatives in alternatives": nest({}, 60, lambda inner: {"anyOf": [inner, {}]}),
    "a list beside alternatives": {"enum": list(range(50_000)), "anyOf": PAIR * 2_000},
    "names beside alternatives": {
        "properties": {str(n): {} for n in range(20_000)},
        "anyOf": [{"properties": {str(n): {}}} for n in range(5_000)],
    },
    "a chain of references": {
        "definitions": {f"d{n}": {"$ref": f"#/definitions/d{n + 1}"} for n in range(20_000)},
        "$ref": "#/definitions/d0",
    },
    "other keys of the same kind": {"additionalProperties": {"$ref": "#"}},
    "some keys of the same kind": {"patternProperties": {"a": {"$ref": "#"}}},
    "a place that is no number": {"enum": [1], "anyOf": [{"$ref": "#/anyOf/²"}]},
    "a place beyond all": {"enum": [1], "anyOf": [{"$ref": "#/anyOf/" + "9" * 5_000}]},
}


@pytest.mark.parametrize("name", ENDLESS_SCHEMAS)
def test_a_schema_is_compiled_in_bounded_time(name: str) -> None:
    before = time.thread_time()
    rules = compile_schema(json.dumps(ENDLESS_SCHEMAS[name]).encode()).rules
    assert isinstance(rules, TypeRules)
    assert time.thread_time() - before < SECONDS_MAX


@pytest.mark.parametrize("name", ENDLESS_SCHEMAS)
def test_its_records_are_loaded(name: str) -> None:
    executor = Executor(DUCKDB)
    schema = {
        **ENDLESS_SCHEMAS[name],
        "properties": {"id": {"type": "integer"}, "v": ENDLESS_SCHEMAS[name]},
    }
    record = {"id": 1, "v": {"a": {"b": {"a": 1}}}, "w": "x"}
    executor.run([batch([(1, record)], schema=schema)])
    assert executor.rejected == []
    assert [row["id"] for row in executor.live["t"].rows] == [1]


def test_what_has_too_many_alternatives_is_typed_by_value() -> None:
    found = compile_schema(json.dumps(ENDLESS_SCHEMAS["products of alternatives"]).encode()).rules
    assert found == VALUE_RULES


def test_a_wide_schema_is_compiled_whole() -> None:
    properties = {
        f"p{n}": {"type": ["null", "string"], "format": "date-time"} for n in range(3_000)
    }
    rules = compile_schema(json.dumps({"properties": properties}).encode()).rules
    [shape] = rules.objects
    assert {shape.properties[name].texts for name in properties} == {(ColumnType.TIMESTAMP,)}


@pytest.mark.parametrize(("count", "kept"), [(OBJECT_ALTERNATIVES_MAX, True), (1_000, False)])
def test_objects_are_compared_with_a_few_alternatives(count: int, kept: bool) -> None:
    schema = {"anyOf": [{"properties": {str(n): {"type": "string"}}} for n in range(count)]}
    rules = compile_schema(json.dumps(schema).encode()).rules
    assert len(rules.objects) == (count if kept else 0)


def test_what_other_keys_are_goes_on_for_ever() -> None:
    schema = {
        "properties": {"at": {"type": "string", "format": "date-time"}},
        "additionalProperties": {"$ref": "#"},
    }
    rules = compile_schema(json.dumps(schema).encode()).rules
    for _ in range(50):
        [shape] = rules.objects
        assert shape.properties["at"].texts == (ColumnType.TIMESTAMP,)
        assert shape.others is not None
        rules = shape.others()


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("^a", "ab", True),
        ("^a", "ba", False),
        (r"^\p{L}+$", "é", True),
        (r"^\p{L}+$", "1", False),
        ("(", "(", False),
        (r"^(?:(a|a?)+\1b|.*)$", "a" * 40, False),
        ("^(a+)+$", "a" * 5_000 + "!", False),
        ("(?:a|b){3000}$", "ab" * 100_000, False),
        (r"\p{L}{1000}", "a" * 1000, False),
        ("(((a{99}){99}){99}){99}", "a", False),
    ],
)
def test_keys_are_matched_as_in_the_check_of_a_batch(text: str, key: str, expected: bool) -> None:
    pattern = KeyPattern(text, Effort(COMPILED_UNITS_MAX))
    before = time.thread_time()
    assert [pattern.matches(key), pattern.matches(key)] == [expected, expected]
    assert time.thread_time() - before < SECONDS_MAX


def test_the_patterns_of_a_schema_share_what_they_may_take() -> None:
    effort = Effort(COMPILED_UNITS_MAX)
    patterns = [KeyPattern(rf"^\p{{L}}{{90}}{n}", effort) for n in range(100)]
    before = time.thread_time()
    assert sum(pattern.matches("x" * 90 + f"{n}") for n, pattern in enumerate(patterns)) <= 2
    assert time.thread_time() - before < SECONDS_MAX
