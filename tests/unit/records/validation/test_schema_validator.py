"""The nodes, the fast validator beside them, and the ways of Java."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.records.json_decoder import HugeNumber
from treadle.records.validation import java_format
from treadle.records.validation.effort import Effort, EffortSpentError, make_request_effort
from treadle.records.validation.formats import FORMATS, get_format_test
from treadle.records.validation.schema_loader import SchemaError, load_schema
from treadle.records.validation.schema_validator import SchemaValidator, get_validator


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1.0"),
        (-15, "-15.0"),
        (0.001, "0.001"),
        (0.00099, "9.9E-4"),
        (1e-5, "1.0E-5"),
        (9999999, "9999999.0"),
        (10_000_000, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (100, "100.0"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e300, "1.0E300"),
        (123456.789, "123456.789"),
        (10**400, "Infinity"),
        (HugeNumber("1e400"), "1e400"),
        (Decimal("1.50"), "1.5"),
    ],
)
def test_doubles_are_printed_as_java_does(number: Any, text: str) -> None:
    assert java_format.format_double(number) == text


def test_names_come_in_the_order_of_a_java_hash_map() -> None:
    # Made with java.util.HashMap, inserted in this order.
    names = ["id", "name", "age", "has_magic", "modified_at", "email", "Aa", "BB"]
    assert java_format.sort_by_hash(names) == (
        ["Aa", "BB", "name", "id", "modified_at", "has_magic", "age", "email"]
    )
    many = [f"field{n}" for n in range(30)]
    numbers = [int(name[5:]) for name in java_format.sort_by_hash(many)]
    assert numbers[:14] == [19, 17, 18, 22, 23, 20, 21, 26, 27, 24, 25, 28, 29, 11]
    assert numbers[14:] == [12, 1, 0, 10, 15, 16, 13, 14, 7, 6, 9, 8, 3, 2, 5, 4]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", ["a@b.co", "a.b+c@d.example.com"], ["x", "a@b", "a b@c.d", "john.doecom"]),
        ("ipv4", ["1.2.3.4"], ["1.2.3", "::1", "256.1.1.1"]),
        ("ipv6", ["::1", "::ffff:1.2.3.4"], ["1.2.3.4", "x"]),
        ("uri", ["http://a/b?c=d#e", "/path", "", "urn:x", "a%20b"], ["a b", "a%2", "{}", "a#b#c"]),
        ("hostname", ["example.com", "a_b", "localhost"], ["-", "a..b", "a b", "1.2.3.4"]),
    ],
)
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    assert name in FORMATS
    assert [text for text in good if not get_format_test(name)(text)] == []
    assert [text for text in bad if get_format_test(name)(text)] == []


def test_names_in_causes_are_escaped_once_more() -> None:
    schema = {"properties": {"a/b": {"items": {"type": "null"}}}}
    node = load_schema({"type": "object", "properties": {"x/y": schema}})
    failure = node.check({"x/y": {"a/b": [1, 2]}})
    assert failure is not None
    assert [*failure.format_lines()] == [
        "#/x~1y/a~1b: 2 schema violations found\n",
        "#/x~01y/a~01b/0: expected: null, found: Integer\n",
        "#/x~01y/a~01b/1: expected: null, found: Integer\n",
    ]


def test_schemas_are_kept() -> None:
    assert get_validator(b'{"type":"object"}') is get_validator(b'{"type":"object"}')


def test_a_recursive_schema_goes_down_with_the_value() -> None:
    schema = b'{"properties":{"a":{"$ref":"#"},"b":{"type":"integer"}}}'
    deep: dict[str, Any] = {"b": "x"}
    for _ in range(100):
        deep = {"a": deep}
    text = get_validator(schema).explain_failure(deep)
    assert text == "#" + "/a" * 100 + "/b: expected type: Number, found: String\n"


def doubling(levels: int) -> dict[str, Any]:
    """Definitions that each name the next one twice."""
    definitions: dict[str, Any] = {
        str(level): {"anyOf": [{"$ref": f"#/definitions/{level + 1}"}] * 2}
        for level in range(levels)
    }
    definitions[str(levels)] = {"type": "null"}
    return {"definitions": definitions, "$ref": "#/definitions/0"}


def test_a_schema_that_asks_too_often_is_refused() -> None:
    small, great = SchemaValidator(doubling(5)), SchemaValidator(doubling(60))
    assert small.all_valid_fast is not None
    assert great.all_valid_fast is None
    lines = small.explain_failure(1, make_request_effort(100))
    assert lines is not None
    assert lines.count("\n") == 2**6 - 1
    with pytest.raises(EffortSpentError):
        great.explain_failure(1, Effort(100_000))
    inner: dict[str, Any] = {"$ref": "#"}
    tree = SchemaValidator({"properties": {"a": {"anyOf": [inner, inner]}, "b": {"type": "null"}}})
    assert tree.all_valid_fast is None
    deep: dict[str, Any] = {"b": 1}
    for _ in range(60):
        deep = {"a": deep}
    with pytest.raises(EffortSpentError):
        tree.explain_failure(deep, Effort(100_000))


# --- the fast validator never takes what the nodes refuse -----------------------------------------

numbers = st.sampled_from(
    [0, 1, 2, 5, -3, 0.5, 1.0, 2.5, 0.01, 1e-5, 1e300, 2**53 + 1, 2**63, 2**70]
)
values = st.recursive(
    st.sampled_from([None, True, False, "", "x", "ab", "2020-01-13T21:25:03Z", "1.2.3.4", "é"])
    | numbers,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)
sizes = st.integers(0, 3)
types = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from("abc")
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=3),
            "minimum": numbers,
            "maximum": numbers,
            "exclusiveMinimum": st.booleans(),
            "exclusiveMaximum": st.booleans(),
            "multipleOf": numbers.filter(lambda number: number > 0),
            "minLength": sizes,
            "maxLength": sizes,
            "pattern": st.sampled_from(["^x", "b$", "", "\\d"]),
            "format": st.sampled_from([*FORMATS, "date", "other"]),
            "items": inner | st.lists(inner, max_size=2),
            "additionalItems": st.booleans() | inner,
            "minItems": sizes,
            "maxItems": sizes,
            "uniqueItems": st.booleans(),
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "patternProperties": st.dictionaries(st.sampled_from(["a", "^b"]), inner, max_size=1),
            "dependencies": st.dictionaries(names, inner | st.lists(names, max_size=2), max_size=2),
            "minProperties": sizes,
            "maxProperties": sizes,
            "not": inner,
        },
    ) | st.one_of(
        st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=4)}),
        st.fixed_dictionaries(
            {"anyOf": st.lists(inner, max_size=3)}, optional={"type": types, "minimum": numbers}
        ),
        st.fixed_dictionaries({"oneOf": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, max_size=3)}),
        st.just({"$ref": "#/definitions/a"}),
    )


schemas: st.SearchStrategy[Any] = st.recursive(st.just({}), keywords, max_leaves=6)


@settings(max_examples=examples(400), deadline=None)
@example({"definitions": {"a": {}}, "enum": [1]}, [1.0])
@example({"definitions": {"a": {}}, "not": {"enum": [1]}}, [1])
@given(
    st.builds(lambda schema, a: {**schema, "definitions": {"a": a}}, schemas, schemas),
    st.lists(values, min_size=1, max_size=3),
)
def test_a_quick_yes_is_a_yes(schema: dict[str, Any], sent: list[Any]) -> None:
    try:
        conforming = SchemaValidator(schema)
    except SchemaError:
        return  # a reference that leads to itself
    found = [value for value in sent if conforming.explain_failure(value) is not None]
    if conforming.all_valid_fast is not None and conforming.all_valid_fast(sent):
        assert found == []
