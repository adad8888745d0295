"""Bodies of /v2/import/batch whose schema or records ask for far more work than they have bytes."""

import json
from collections.abc import Callable
from typing import Any, Final

Body = Callable[[], bytes]


def make_body(schema: Any, records: list[Any], key_names: list[str] | None = None) -> bytes:
    """A body with one message for each record."""
    messages = [{"action": "upsert", "sequence": 1, "data": record} for record in records]
    body = {"table_name": "t", "schema": schema, "messages": messages}
    if key_names is not None:
        body["key_names"] = key_names
    return json.dumps(body, separators=(",", ":")).encode()


def nest(value: Any, levels: int, wrap: Callable[[Any], Any]) -> Any:
    """A value wrapped so many times."""
    for _ in range(levels):
        value = wrap(value)
    return value


def bomb_pointers(levels: int, width: int, leaves: int = 1) -> bytes:
    """Every place is named in full, with one more escape for every level."""
    schema = {
        "type": "object",
        "properties": {"z": {"type": "null"}},
        "additionalProperties": {"$ref": "#"},
    }
    extra = {f"y{number}": 1 for number in range(leaves - 1)}
    deep = nest({"z": 1}, levels, lambda inner: {"z": 1, **extra, "~" * width: inner})
    return make_body(schema, [deep])


def match_slowly(records: int, length: int = 19) -> bytes:
    """Each string takes the engine thousands of steps back."""
    schema = {"properties": {"a": {"pattern": r"^(?:(a|a?)+\1b|.*)$"}}}
    return make_body(schema, [{"a": "a" * length}] * records)


def compile_slowly(patterns: int) -> bytes:
    """Each pattern takes 0.1 s and 8 MB to compile."""
    properties = {f"p{n}": {"pattern": rf"\p{{L}}{{100}}{n}"} for n in range(patterns)}
    return make_body({"properties": properties}, [{"id": 1}])


def try_alternatives(alternatives: int, records: int) -> bytes:
    """Each record is checked by each alternative, and the last one takes it."""
    wrong = {"type": "string"}
    schema = {"properties": {"a": {"anyOf": [wrong] * alternatives + [{"type": "integer"}]}}}
    return make_body(schema, [{"a": 1}] * records)


def double_references(keyword: str, levels: int) -> bytes:
    """Each definition names the next one twice."""
    inner: dict[str, Any] = {
        f"d{level}": {keyword: [{"$ref": f"#/definitions/d{level + 1}"}] * 2}
        for level in range(levels)
    }
    inner[f"d{levels}"] = {"type": "null"}
    schema = {"definitions": inner, "properties": {"a": {"$ref": "#/definitions/d0"}}}
    return make_body(schema, [{"a": 1}])


def name_alike(references: int) -> bytes:
    """One schema, named in any number of ways, was loaded once for each of them."""
    properties = {f"p{n}": {"$ref": f"#{n}"} for n in range(references)}
    return make_body({"properties": properties}, [{"p1": {"p2": 1}}])


def name_ancestors(levels: int, width: int) -> bytes:
    """References to schemas inside each other, each loaded with all that is in it."""
    leaves = {f"x{n}": {"type": "string"} for n in range(width)}
    deep = nest({"properties": leaves}, levels, lambda inner: {"properties": {"a": inner}})
    pointers = ["#" + "/properties/a" * level for level in range(levels)]
    deep["properties"]["r"] = {"anyOf": [{"$ref": pointer} for pointer in pointers]}
    return make_body({"properties": {"r": deep["properties"]["r"], **deep["properties"]}}, [{}])


def tower(keyword: str, levels: int, records: int) -> bytes:
    """`not` of `not`, or one alternative in another."""
    wrap: dict[str, Callable[[Any], Any]] = {
        "not": lambda inner: {"not": inner},
        "oneOf": lambda inner: {"oneOf": [inner, {"type": "null"}]},
        "allOf": lambda inner: {"allOf": [inner, {}]},
        "dependencies": lambda inner: {"dependencies": {"a": inner}},
    }
    deep = nest({"type": "object"}, levels, wrap[keyword])
    return make_body(deep, [{"a": 1}] * records)


def enum_of(values: list[Any], value: Any, records: int) -> bytes:
    return make_body({"properties": {"a": {"enum": values}}}, [{"a": value}] * records)


def compare_deeply(enums: int, width: int) -> bytes:
    """Each list of one value is compared with a value that is large."""
    large = {f"k{n}": n for n in range(width)}
    schema = {"properties": {"a": {"anyOf": [{"enum": [n]} for n in range(enums)]}}}
    return make_body(schema, [{"a": large}])


def repeat_unique(levels: int, width: int) -> bytes:
    """Arrays in arrays, of which each is compared with its neighbours, with all that is in them."""
    schema: dict[str, Any] = {
        "type": "array",
        "uniqueItems": True,
        "items": {"$ref": "#/definitions/a"},
    }
    root = {
        "definitions": {"a": {"anyOf": [schema, {"type": "integer"}]}},
        "properties": {"v": {"$ref": "#/definitions/a"}},
    }
    return make_body(root, [{"v": nest(list(range(width)), levels, lambda inner: [inner])}])


HASH: Final = (1 << 61) - 1
"""Integers that differ by this have one hash in Python."""


def collide(width: int) -> bytes:
    schema = {"properties": {"a": {"uniqueItems": True}}}
    return make_body(schema, [{"a": [n * HASH for n in range(width)]}])


def divide_hugely(digits: int, records: int) -> bytes:
    body = make_body({"properties": {"a": {"multipleOf": 0.01}}}, [{"a": 0}] * records)
    return body.replace(b'"a":0}', b'"a":1.' + b"7" * digits + b"e400}")


def match_keys(patterns: int, keys: int) -> bytes:
    """Each key is matched with each pattern."""
    schema = {
        "patternProperties": {f"^{n}.*x$": {"type": "string"} for n in range(patterns)},
        "additionalProperties": False,
    }
    return make_body(schema, [{f"key{n}": 1 for n in range(keys)}])


def miss_keys(keys: int, objects: int) -> bytes:
    """Each object lacks each key, and every one of these is a line."""
    item = {"required": [f"key{n}" for n in range(keys)]}
    return make_body({"properties": {"a": {"items": item}}}, [{"a": [{}] * objects}])


def compare_fields(fields: int, keys: int) -> bytes:
    """Each key is none of the fields."""
    properties = {f"field{n:04}": {"type": "string"} for n in range(fields)}
    return make_body({"properties": properties}, [{f"other{n:04}": 1 for n in range(keys)}])


def unite_types(kinds: int) -> bytes:
    """A union of types, each of which is unlike all others."""

    def make_kind(number: int) -> Any:
        kind: Any = {"type": "integer"}
        for bit in range(14):
            kind = {"type": "array", "items": kind}
            if number >> bit & 1:
                kind = {"anyOf": [kind, {"type": "string"}]}
        return kind

    return make_body(
        {"properties": {"a": {"anyOf": [make_kind(n) for n in range(kinds)]}}}, [{"a": 1}]
    )


def miss_messages(messages: int) -> bytes:
    """Each message is wrong, in six lines."""
    return json.dumps({"table_name": "t", "schema": {}, "messages": [{}] * messages}).encode()


def hash_names(size: int, levels: int) -> bytes:
    """The hash of Java of a long name is computed again for every level of the schema."""
    inner = nest({}, levels, lambda inner: {"allOf": [inner], "additionalProperties": False})
    return make_body({"properties": {"v": inner}}, [{"v": {"k" * size: 1, "l": 2}}])


FINDINGS: Final[dict[str, Body]] = {
    "pointer bomb": lambda: bomb_pointers(120, 100),
    "pointer bomb of 83 KB": lambda: bomb_pointers(200, 400),
    "slow matches": lambda: match_slowly(600),
    "slow compilation": lambda: compile_slowly(100),
    "many alternatives": lambda: try_alternatives(12_000, 1_500),
}
"""Small bodies that held a worker for ten seconds, or took gigabytes."""

OTHERS: Final[dict[str, Body]] = {
    "pointer bomb with many leaves": lambda: bomb_pointers(100, 30, leaves=100),
    "slow matches, more of them": lambda: match_slowly(20_000),
    "slow matches, just allowed": lambda: match_slowly(20_000, 12),
    "slow matches, a few": lambda: match_slowly(50, 12),
    "one huge pattern": lambda: make_body(
        {"properties": {"a": {"pattern": "(((a{99}){99}){99}){99}"}}}, [{}]
    ),
    "patterns that look ahead": lambda: make_body(
        {"properties": {"a": {"pattern": "^(?=(a+)+$)(a|aa)+b$"}}}, [{"a": "a" * 40}] * 300
    ),
    "a pattern that is slow in one pass": lambda: make_body(
        {"properties": {"a": {"pattern": "(?:a|b|ab|ba|[ab]{0,9}){0,900}c{2}$"}}},
        [{"a": "ab" * 100_000}],
    ),
    "doubling anyOf": lambda: double_references("anyOf", 60),
    "doubling oneOf": lambda: double_references("oneOf", 60),
    "doubling allOf": lambda: double_references("allOf", 60),
    "one schema with many names": lambda: name_alike(20_000),
    "references to ancestors": lambda: name_ancestors(100, 2_000),
    "a tower of not": lambda: tower("not", 200, 20_000),
    "a tower of oneOf": lambda: tower("oneOf", 120, 20_000),
    "a tower of allOf": lambda: tower("allOf", 120, 20_000),
    "a tower of dependencies": lambda: tower("dependencies", 110, 20_000),
    "an enum of 100,000 values": lambda: enum_of(
        [f"v{n}" for n in range(100_000)], "v99999", 9_000
    ),
    "an enum of deep values": lambda: enum_of(
        [nest(1, 200, lambda v: [v])] * 2_000, nest(2, 200, lambda v: [v]), 900
    ),
    "many enums and one large value": lambda: compare_deeply(5_000, 9_000),
    "unique arrays in unique arrays": lambda: repeat_unique(200, 9_000),
    "integers of one hash": lambda: collide(9_900),
    "an enum of integers of one hash": lambda: enum_of([n * HASH for n in range(40_000)], 1, 1),
    "huge numbers": lambda: divide_hugely(9_000, 500),
    "patterns for keys": lambda: match_keys(2_000, 9_000),
    "missing keys": lambda: miss_keys(5_000, 9_000),
    "keys that are no field": lambda: compare_fields(256, 9_900),
    "a union of many types": lambda: unite_types(9_000),
    "wrong messages": lambda: miss_messages(20_000),
    "hashes of long names": lambda: hash_names(5_000_000, 100),
    "a minLength beyond all": lambda: make_body(
        {"properties": {"a": {"minLength": 10**4000, "maxLength": -(10**4000)}}},
        [{"a": "x" * 400_000}] * 40,
    ),
    "formats of long strings": lambda: make_body(
        {
            "anyOf": [
                {"properties": {"a": {"format": name}}} for name in ("email", "hostname", "uri")
            ]
            * 99
        },
        [{"a": "a." * 200_000}],
    ),
    "a long unknown type": lambda: make_body({"type": "x" * 5_000_000}, [{}]),
    "a long missing key": lambda: make_body({}, [{}], ["k" * 5_000_000]),
    "a key a million times": lambda: make_body(
        {"not": {"required": ["x"]}}, [{"id": 1}] * 9_000, ["id"] * 900_000
    ),
    "unknown keywords of later drafts": lambda: make_body(
        {
            "if": {},
            "then": {},
            "contains": {},
            "const": nest(1, 200, lambda v: [v]),
            "propertyNames": {},
        },
        [{"a": 1}] * 9_000,
    ),
}
"""More of the same kinds."""
