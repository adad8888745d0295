"""The typed decoder of a schema: what it takes, the nodes take as well."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.records.validation.schema_loader import load_schema
from treadle.records.validation.schema_node import SchemaNode
from treadle.records.validation.typed_decoder import FIELDS_MAX, make_typed_decoder

NAMES = ("a", "b", "c")
TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")

moments = st.sampled_from(
    [
        "2024-02-29T10:00:00Z",
        "2023-02-29T10:00:00Z",
        "2024-02-29 10:00:00.123456789012z",
        "2024-02-29T24:00:00Z",
        "2024-02-29T23:59:60Z",
        "2024-02-29T10:00:00+0530",
        "2024-02-29T10:00:00+24:00",
        "2024-02-29T10:00:00",
        "0000-01-01T00:00:00Z",
        "2024-02-29",
        "1709200800",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | moments,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=8,
)
records = st.dictionaries(st.sampled_from(NAMES), values)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(st.sampled_from(NAMES), inner)
    return (
        st.builds(lambda found: {"type": "object", "properties": found}, properties)
        | st.builds(lambda found: {"properties": found, "required": ["a"]}, properties)
        | st.builds(lambda found: {"type": ["array", "null"], "items": found}, inner)
        | st.builds(lambda found: {"anyOf": found}, st.lists(inner, min_size=1, max_size=3))
    )


fields = st.recursive(
    st.sampled_from(
        [
            {},
            *({"type": name} for name in TYPES),
            {"type": ["null", "integer"]},
            {"type": ["string", "number"]},
            {"type": "string", "format": "date-time"},
            {"type": ["null", "string"], "format": "date-time"},
            {"format": "date-time"},
            {"type": "string", "minLength": 2},
            {"type": "integer", "maximum": 3},
            {"enum": [1, "x"]},
        ]
    ),
    _nested,
    max_leaves=5,
)
schemas = st.builds(
    lambda properties, required: {"properties": properties, "required": required},
    st.dictionaries(st.sampled_from(NAMES), fields, min_size=1),
    st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
)


def node_of(schema: dict[str, Any]) -> SchemaNode:
    return load_schema(schema)


def taken(
    node: SchemaNode, keys: tuple[str, ...], given_records: list[dict[str, Any]]
) -> bool | None:
    decode = make_typed_decoder(node, keys)
    if decode is None:
        return None
    try:
        decode(json.dumps(given_records).encode())
    except (ValueError, RecursionError):
        return False
    return True


@given(schemas, st.lists(records, min_size=1, max_size=3), st.sampled_from([(), ("a",), ("d",)]))
def test_what_the_decoder_takes_the_nodes_take(
    schema: dict[str, Any], given_records: list[dict[str, Any]], keys: tuple[str, ...]
) -> None:
    node = node_of(schema)
    if taken(node, keys, given_records):
        for record in given_records:
            assert node.check(record) is None
            assert all(record.get(key) is not None for key in keys)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ({"type": "integer"}, 5, True),
        ({"type": "integer"}, 5.0, False),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, 5, True),
        ({"type": ["null", "string"]}, None, True),
        ({"type": "string"}, None, False),
        ({"type": "string", "format": "date-time"}, "2024-02-29T10:00:00Z", True),
        ({"type": "string", "format": "date-time"}, "2023-02-29T10:00:00Z", False),
        ({"type": "array", "items": {"type": "integer"}}, [1, 2], True),
        ({"type": "array", "items": {"type": "integer"}}, [1, "2"], False),
        ({"type": "object", "properties": {"b": {"type": "string"}}}, {"b": "x", "c": 1}, True),
        ({"type": "object", "properties": {"b": {"type": "string"}}}, {"b": 1}, False),
        ({"type": "string", "maxLength": 3}, "abc", None),
        ({"enum": [1]}, 1, None),
    ],
)
def test_types(type_: dict[str, Any], value: Any, expected: bool | None) -> None:
    node = node_of({"properties": {"a": type_}})
    assert taken(node, (), [{"a": value}]) is expected


def test_keys_are_there_and_not_null() -> None:
    node = node_of({"properties": {"id": {"type": ["null", "integer"]}}})
    assert taken(node, ("id",), [{"id": 1}, {"id": 2}]) is True
    assert taken(node, ("id",), [{"id": 1}, {"id": None}]) is False
    assert taken(node, ("id",), [{"id": 1}, {}]) is False
    assert taken(node, ("other",), [{"id": 1, "other": [0]}]) is True
    assert taken(node, ("other",), [{"id": 1}]) is False


def test_very_wide_schemas_get_none() -> None:
    properties = {f"p{number}": {"type": "string"} for number in range(FIELDS_MAX + 1)}
    assert make_typed_decoder(node_of({"properties": properties}), ()) is None
