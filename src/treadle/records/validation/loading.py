"""A JSON schema to nodes, with the words of import-api.md 10.5 for one that cannot be used."""

from typing import Any
from urllib.parse import unquote

from treadle.records.validation import java
from treadle.records.validation.combined import Combined, Not, Reference
from treadle.records.validation.containers import Array, Object
from treadle.records.validation.effort import Effort
from treadle.records.validation.formats import FORMATS, pattern_test
from treadle.records.validation.node import Node
from treadle.records.validation.values import Anything, Boolean, Enum, Null, Number, Text

_COMBINED = ("allOf", "anyOf", "oneOf")
# Without a type, the first group that has one of its keywords in the schema decides what it is.
_ARRAY = ("items", "additionalItems", "minItems", "maxItems", "uniqueItems")
_OBJECT = (
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "patternProperties",
    "additionalProperties",
)
_NUMBER = ("minimum", "maximum", "minimumExclusive", "maximumExclusive", "multipleOf")
_TEXT = ("minLength", "maxLength", "pattern", "format")

_JAVA_TYPES: dict[str, tuple[type, ...]] = {
    "Boolean": (bool,),
    "Integer": (int,),
    "String": (str,),
}


class SchemaError(Exception):
    """A schema that cannot be used; `str(error)` follows "Invalid JSON schema: "."""


def load(schema: dict[str, Any], effort: Effort | None = None) -> Node:
    """The node that stands for a schema.

    Args:
        schema: decoded.
        effort: counts the steps through its references.

    Raises:
        SchemaError: it cannot be used.
    """
    loader = _Loader(schema, effort or Effort())
    try:
        node = loader.load(schema)
        loader.check_ends()
    except RecursionError as error:
        raise SchemaError("nested too deep") from error
    return node


class _Loader:
    def __init__(self, root: dict[str, Any], effort: Effort) -> None:
        self._root = root
        self._effort = effort
        self._references: dict[str, Reference] = {}

    def load(self, schema: dict[str, Any]) -> Node:
        if "enum" in schema:
            node: Node = Enum(_array(schema, "enum"))
        else:
            combined = self._combined(schema)
            if combined is not None:
                node = combined
            elif "type" not in schema or "$ref" in schema:
                node = self._untyped(schema)
            else:
                node = self._typed(schema, schema["type"])
        for name in ("id", "title", "description"):
            _value(schema, name, "String")
        return node

    def _combined(self, schema: dict[str, Any]) -> Node | None:
        kinds = [kind for kind in _COMBINED if kind in schema]
        if not kinds:
            return None
        if len(kinds) > 1:
            raise SchemaError(
                f"expected at most 1 of 'allOf', 'anyOf', 'oneOf', {len(kinds)} found"
            )
        [kind] = kinds
        nodes = []
        for index, inner in enumerate(_array(schema, kind)):
            if type(inner) is not dict:
                raise SchemaError(f"JSONArray[{index}] is not a JSONObject.")
            nodes.append(self.load(inner))
        combined = Combined(kind, nodes)
        base = self._typed(schema, schema["type"]) if "type" in schema else self._sniffed(schema)
        return combined if base is None else Combined("allOf", [base, combined])

    def _untyped(self, schema: dict[str, Any]) -> Node:
        if "$ref" in schema:
            return self._reference(_text(schema["$ref"], 'JSONObject["$ref"]'))
        sniffed = self._sniffed(schema)
        if sniffed is not None:
            return sniffed
        if "not" in schema:
            return Not(self.load(_object(schema, "not")), schema["not"])
        return Anything()

    def _sniffed(self, schema: dict[str, Any]) -> Node | None:
        if any(name in schema for name in _ARRAY):
            return self._array(schema, typed=False)
        if any(name in schema for name in _OBJECT):
            return self._object(schema, typed=False)
        if any(name in schema for name in _NUMBER):
            return _number(schema, typed=False)
        if any(name in schema for name in _TEXT):
            return _string(schema, typed=False)
        return None

    def _typed(self, schema: dict[str, Any], type_: Any) -> Node:
        if type(type_) is list:
            names = [_text(name, f"JSONArray[{index}]") for index, name in enumerate(type_)]
            return Combined("anyOf", [self._of_type(schema, name) for name in names])
        if type(type_) is str:
            return self._of_type(schema, type_)
        raise _unlike("type", ("JSONArray", "String"), type_)

    def _of_type(self, schema: dict[str, Any], name: str) -> Node:
        match name:
            case "string":
                return _string(schema, typed=True)
            case "integer":
                return _number(schema, typed=True, integer=True)
            case "number":
                return _number(schema, typed=True)
            case "boolean":
                return Boolean()
            case "null":
                return Null()
            case "array":
                return self._array(schema, typed=True)
            case "object":
                return self._object(schema, typed=True)
        raise SchemaError(f"unknown type: [{name}]")

    def _array(self, schema: dict[str, Any], *, typed: bool) -> Node:
        array = Array(
            typed,
            count_min=_value(schema, "minItems", "Integer"),
            count_max=_value(schema, "maxItems", "Integer"),
            unique=_value(schema, "uniqueItems", "Boolean") or False,
        )
        if "additionalItems" in schema:
            array.further = self._permission("additionalItems", schema["additionalItems"])
        if "items" in schema:
            items = schema["items"]
            if type(items) is dict:
                array.items = self.load(items)
            elif type(items) is list:
                array.tuple = [self._child(inner) for inner in items]
            else:
                raise _unlike("items", ("JSONArray", "JSONObject"), items)
        return array

    def _object(self, schema: dict[str, Any], *, typed: bool) -> Node:
        made = Object(
            typed,
            size_min=_value(schema, "minProperties", "Integer"),
            size_max=_value(schema, "maxProperties", "Integer"),
        )
        if "properties" in schema:
            properties = schema["properties"]
            if type(properties) is not dict:
                raise _unlike(None, ("JSONObject",), properties)
            for name in java.hash_order(properties):
                made.properties[name] = self._child(properties[name])
        if "additionalProperties" in schema:
            made.further = self._permission("additionalProperties", schema["additionalProperties"])
        if "required" in schema:
            for index, name in enumerate(_array(schema, "required")):
                made.required.append(_text(name, f"JSONArray[{index}]"))
        if "patternProperties" in schema:
            patterns = _object(schema, "patternProperties")
            for pattern in java.hash_order(patterns):
                made.patterns.append((_regex(pattern), self.load(_object(patterns, pattern))))
        dependencies = _value(schema, "dependencies", "JSONObject")
        for name in java.hash_order(dependencies or ()):
            self._dependency(made, name, dependencies[name])
        return made

    def _dependency(self, made: Object, name: str, needed: Any) -> None:
        if type(needed) is dict:
            made.schema_dependencies[name] = self.load(needed)
        elif type(needed) is list:
            made.key_dependencies[name] = [
                _text(other, f"JSONArray[{index}]") for index, other in enumerate(needed)
            ]
        else:
            raise _unlike(None, ("JSONArray", "JSONObject"), needed)

    def _permission(self, key: str, value: Any) -> bool | Node:
        if type(value) is bool:
            return value
        if type(value) is dict:
            return self.load(value)
        raise _unlike(key, ("Boolean", "JSONObject"), value)

    def _child(self, schema: Any) -> Node:
        if type(schema) is not dict:
            raise _unlike(None, ("JSONObject",), schema)
        return self.load(schema)

    def _reference(self, pointer: str) -> Node:
        known = self._references.get(pointer)
        if known is None:
            known = self._references[pointer] = Reference(self._effort)
            known.target = self.load(self._resolve(pointer))
        return known

    def check_ends(self) -> None:
        """Refuse references that lead back to themselves without going into the value."""
        done: set[int] = set()
        for pointer, reference in self._references.items():
            _follow(reference, pointer, [], done)

    def _resolve(self, pointer: str) -> dict[str, Any]:
        if not pointer.startswith("#"):
            raise SchemaError(f"$ref {pointer} leads out of the schema; use # or #/...")
        value: Any = self._root
        for part in pointer[1:].split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if type(value) is dict and name in value:
                value = value[name]
            elif type(value) is list and name.isascii() and name.isdigit():
                position = int(name) if len(name) < 10 else len(value)
                value = value[position] if position < len(value) else None
            else:
                value = None
        if type(value) is not dict:
            raise SchemaError(f"$ref {pointer} leads to no schema")
        return value


def _follow(node: Node, pointer: str, path: list[Node], done: set[int]) -> None:
    if id(node) in done:
        return
    if any(node is earlier for earlier in path):
        raise SchemaError(f"$ref {pointer} leads to itself without end")
    path.append(node)
    for inner in node.alike():
        _follow(inner, pointer, path, done)
    path.pop()
    done.add(id(node))


def _number(schema: dict[str, Any], *, typed: bool, integer: bool = False) -> Node:
    number = Number(
        typed,
        integer,
        least=_value(schema, "minimum", "Number"),
        greatest=_value(schema, "maximum", "Number"),
        multiple=_value(schema, "multipleOf", "Number"),
        above=_value(schema, "exclusiveMinimum", "Boolean") or False,
        below=_value(schema, "exclusiveMaximum", "Boolean") or False,
    )
    if number.multiple == 0:
        raise SchemaError("multipleOf is 0; nothing is a multiple of it")
    return number


def _string(schema: dict[str, Any], *, typed: bool) -> Node:
    pattern = _value(schema, "pattern", "String")
    format_ = _value(schema, "format", "String")
    return Text(
        typed,
        length_min=_value(schema, "minLength", "Integer"),
        length_max=_value(schema, "maxLength", "Integer"),
        pattern=None if pattern is None else _regex(pattern),
        format=format_ if format_ in FORMATS else None,
    )


# --- values of keywords ---------------------------------------------------------------------------


def _value(schema: dict[str, Any], key: str, expected: str) -> Any:
    """The value of a keyword that must be of a Java type; None where it is absent."""
    if key not in schema:
        return None
    value = schema[key]
    found = java.type_name(value)
    kind = "Integer" if found in ("Long", "BigInteger") and expected == "Integer" else found
    if expected == "Number" and found in ("Integer", "Long", "BigInteger", "Double"):
        return value
    if kind != expected:
        # The blanks are the original's.
        raise SchemaError(f"key {key} : expected type: {expected} , found : {found}")
    return value


def _array(schema: dict[str, Any], key: str) -> list[Any]:
    value = schema[key]
    if type(value) is not list:
        raise SchemaError(f'JSONObject["{key}"] is not a JSONArray.')
    return value


def _object(schema: dict[str, Any], key: str) -> dict[str, Any]:
    value = schema[key]
    if type(value) is not dict:
        raise SchemaError(f'JSONObject["{key}"] is not a JSONObject.')
    return value


def _text(value: Any, place: str) -> str:
    if type(value) is not str:
        raise SchemaError(f"{place} not a string.")
    return value


def _regex(pattern: str) -> str:
    try:
        pattern_test(pattern)
    except ValueError as error:
        raise SchemaError(str(error)) from error
    return pattern


def _unlike(key: str | None, expected: tuple[str, ...], value: Any) -> SchemaError:
    return SchemaError(
        f"key {'null' if key is None else key}: expected type is one of {', '.join(expected)},"
        f" found: {java.type_name(value)}"
    )
