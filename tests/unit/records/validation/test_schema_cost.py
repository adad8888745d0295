"""What a schema can cost, known beforehand: never less than what it does cost."""

import json
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.unit.records.validation.test_schema_validator import doubling, schemas, values

from treadle.records.validation.effort import Effort
from treadle.records.validation.schema_cost import FAST_STEPS_PER_UNIT, measure_schema
from treadle.records.validation.schema_loader import SchemaError, load_schema


class VisitCounter(Effort):
    """Counts how often anything was spent: at least once for each node that checks a value."""

    __slots__ = ("visits",)

    def __init__(self) -> None:
        super().__init__()
        self.visits = 0

    def spend(self, units: float = 1) -> None:
        self.visits += units == 1


@settings(max_examples=examples(300), deadline=None)
@given(
    st.builds(lambda schema, a: {**schema, "definitions": {"a": a}}, schemas, schemas),
    st.lists(values, min_size=1, max_size=4),
)
def test_no_check_takes_more_steps_than_were_foretold(schema: Any, sent: list[Any]) -> None:
    try:
        node = load_schema(schema)
    except SchemaError:
        return
    counter = VisitCounter()
    for value in sent:
        node.check(value, counter)
    size = sum(len(json.dumps(value, separators=(",", ":"))) for value in sent)
    foretold = measure_schema(node).measure_records(len(sent), size)
    assert counter.visits <= foretold * FAST_STEPS_PER_UNIT + 2 * len(sent)


def test_a_schema_in_itself_has_no_bound() -> None:
    cost = measure_schema(load_schema({"properties": {"a": {"$ref": "#"}}}))
    assert cost.nodes == inf
    assert cost.measure_records(1, 10) == inf


def test_copies_for_references_count() -> None:
    assert measure_schema(load_schema(doubling(5))).nodes > 2**5
    assert measure_schema(load_schema(doubling(60))).nodes > 2**60


def test_a_wide_flat_schema_is_cheap() -> None:
    properties = {f"p{n}": {"type": ["null", "string"]} for n in range(200)}
    cost = measure_schema(load_schema({"properties": properties}))
    assert not cost.spreads
    assert cost.measure_records(1000, 4_000_000) < 200_000


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"anyOf": [{"type": "string"}] * 12_000}}},
        {"properties": {"a": {"enum": [str(n) for n in range(12_000)]}}},
        {"items": {"anyOf": [{"type": "string"}] * 12_000}},
    ],
)
def test_many_alternatives_for_many_records_are_not(schema: Any) -> None:
    cost = measure_schema(load_schema(schema))
    assert cost.measure_records(1_500, 90_000) > 2_000_000


def test_the_length_of_strings_counts_where_a_pattern_sees_them() -> None:
    plain = measure_schema(load_schema({"properties": {"a": {"type": "string"}}}))
    tested = measure_schema(load_schema({"properties": {"a": {"pattern": "(?:ab){100}"}}}))
    assert tested.measure_records(1, 1_000_000) > plain.measure_records(1, 1_000_000) + 1_000_000
