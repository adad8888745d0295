"""Every step spends effort before it is done, and schemas cannot ask for more than there is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema_attacks import HASH, nest

from treadle.records.validation.effort import (
    ENDLESS,
    INLINE_UNITS,
    Effort,
    EffortSpentError,
    make_inline_effort,
    make_request_effort,
)
from treadle.records.validation.schema_loader import SchemaError, load_schema
from treadle.records.validation.schema_node import make_identity
from treadle.records.validation.schema_validator import SchemaValidator
from treadle.records.validation.string_pattern import PatternError, StringPattern


@given(st.lists(st.integers(0, 50)), st.integers(0, 200))
def test_effort_is_spent_once(steps: list[int], units: int) -> None:
    effort = Effort(units)
    spent = 0
    for step in steps:
        if spent + step > units:
            with pytest.raises(EffortSpentError):
                effort.spend(step)
            return
        effort.spend(step)
        spent += step
        assert effort.units_left == units - spent


def test_work_that_could_be_done_in_another_way_is_tried_only_where_nobody_waits() -> None:
    request = Effort(10)
    assert request.try_spend(11) is False
    assert request.try_spend(10) is True
    assert request.units_left == 0
    inline = make_inline_effort()
    assert inline.try_spend(INLINE_UNITS) is True
    with pytest.raises(EffortSpentError):
        inline.try_spend(1)


def test_a_larger_request_has_more_effort() -> None:
    assert make_request_effort(0).units_left < make_request_effort(1_000_000).units_left


def spent_by(schema: Any, value: Any) -> float:
    effort = Effort(10**9)
    load_schema(schema).check(value, effort)
    return 10**9 - effort.units_left


@pytest.mark.parametrize(
    ("schema", "value", "least"),
    [
        ({"allOf": [{"type": "integer"}] * 100}, 1, 100),
        ({"anyOf": [{"type": "string"}] * 100}, 1, 400),
        ({"items": {"type": "integer"}}, [1] * 100, 100),
        ({"items": {"type": "integer"}}, ["x"] * 100, 400),
        ({"uniqueItems": True}, list(range(100)), 100),
        ({"uniqueItems": True}, [[n] for n in range(100)], 300),
        ({"enum": [1]}, {str(n): n for n in range(100)}, 100),
        ({"required": [str(n) for n in range(100)]}, {}, 300),
        ({"required": [str(n) for n in range(1600)]}, {str(n): 1 for n in range(1600)}, 100),
        ({"properties": {str(n): {} for n in range(1600)}}, {}, 100),
        ({"additionalProperties": False}, {str(n): 1 for n in range(100)}, 300),
        ({"dependencies": {"a": [str(n) for n in range(100)]}}, {"a": 1}, 300),
        ({"patternProperties": {"^x": {}}}, {str(n): 1 for n in range(100)}, 100),
        ({"pattern": "(?:a|b){100}$"}, "a" * 6_400, 20_000),
        ({"format": "email"}, "a" * 640_000, 10_000),
        ({"multipleOf": 3}, 10**4000, 200),
        (nest({}, 100, lambda inner: {"not": inner}), 1, 100),
    ],
)
def test_checks_spend_as_they_work(schema: Any, value: Any, least: int) -> None:
    assert spent_by(schema, value) >= least


def loaded_by(schema: Any) -> float:
    effort = Effort(10**9)
    load_schema(schema, effort)
    return 10**9 - effort.units_left


@pytest.mark.parametrize(
    ("schema", "least"),
    [
        ({"allOf": [{}] * 100}, 800),
        ({"enum": [[n] for n in range(100)]}, 300),
        ({"pattern": "a{1000}"}, 1000),
        ({"pattern": r"\p{L}{100}"}, 50_000),
        ({"required": ["x"] * 100}, 100),
        ({"properties": {"x" * 8_000: {}}}, 1000),
    ],
)
def test_loading_spends_as_it_works(schema: Any, least: int) -> None:
    assert loaded_by(schema) >= least


def test_a_schema_is_loaded_once_however_it_is_named() -> None:
    names = ["#", *(f"#{n}" for n in range(50)), "#/definitions/a", "#x/definitions/%61"]
    schema = {
        "definitions": {"a": {"properties": {str(n): {} for n in range(100)}}},
        "properties": {f"p{n}": {"$ref": name} for n, name in enumerate(names)},
    }
    once = {**schema, "properties": {"p0": {"$ref": "#"}, "p1": {"$ref": "#/definitions/a"}}}
    assert loaded_by(schema) < loaded_by(once) + 52 * 50


def test_a_schema_that_is_too_large_is_given_up() -> None:
    with pytest.raises(EffortSpentError):
        SchemaValidator({"allOf": [{}] * 1000}, Effort(1000))


def test_equal_patterns_are_compiled_once() -> None:
    schema = {"allOf": [{"pattern": "a{900}"}] * 100}
    assert loaded_by(schema) < 3_000


# --- patterns -------------------------------------------------------------------------------------

SLOW = r"^(?:(a|a?)+\1b|.*)$"


def test_a_pattern_that_takes_too_many_steps_is_no_mismatch() -> None:
    pattern = StringPattern(SLOW, ENDLESS)
    assert pattern.matches("aa", ENDLESS)
    with pytest.raises(PatternError, match="steps for one value"):
        pattern.matches("a" * 40, ENDLESS)
    for schema in ({"pattern": SLOW}, {"not": {"pattern": SLOW}}):
        validator = SchemaValidator({"properties": {"a": schema}})
        assert validator.all_valid_fast is None
        with pytest.raises(SchemaError, match="steps for one value"):
            validator.explain_failure({"a": "a" * 40})


def test_a_pattern_that_tries_is_not_matched_where_others_wait() -> None:
    pattern = StringPattern("^(?=a)", make_inline_effort())
    with pytest.raises(EffortSpentError):
        pattern.matches("a", make_inline_effort())
    assert pattern.matches("a", make_request_effort(0))
    assert not pattern.matches("b", make_request_effort(0))


@pytest.mark.parametrize("text", ["(((a{99}){99}){99}){99}", r"\p{L}{9999}", r"(\w{500}){500}"])
def test_a_pattern_that_is_too_large_is_not_compiled(text: str) -> None:
    with pytest.raises(EffortSpentError):
        StringPattern(text, make_request_effort(0))


def test_a_pattern_that_takes_too_much_memory_is_refused() -> None:
    with pytest.raises(PatternError, match="too large"):
        StringPattern(r"\p{L}{1000}", ENDLESS)
    with pytest.raises(PatternError, match=r"of ECMA 262$"):
        StringPattern("a(", ENDLESS)


# --- hashes that a client chooses -----------------------------------------------------------------


@given(st.integers(), st.integers())
def test_identities_of_integers_are_equal_for_equal_ones_only(left: int, right: int) -> None:
    assert (make_identity(left) == make_identity(right)) == (left == right)


def test_integers_of_one_hash_have_identities_of_many() -> None:
    numbers = [n * HASH for n in range(1, 1000)]
    assert len(set(map(hash, numbers))) == 1
    assert len({hash(make_identity(number)) for number in numbers}) > 900
