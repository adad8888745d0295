"""Loading of a JSON schema into nodes; the texts of import-api.md 10.5 for one that is unusable."""

from typing import Any
from urllib.parse import unquote

from treadle.records.validation import java_format
from treadle.records.validation.combined_nodes import CombinedNode, NotNode, ReferenceNode
from treadle.records.validation.container_nodes import ArrayNode, ObjectNode
from treadle.records.validation.effort import ENDLESS, UNITS_PER_LOADED_NODE, Effort
from treadle.records.validation.formats import FORMATS
from treadle.records.validation.scalar_nodes import (
    BooleanNode,
    EmptyNode,
    EnumNode,
    NullNode,
    NumberNode,
    StringNode,
)
from treadle.records.validation.schema_node import SchemaNode
from treadle.records.validation.string_pattern import PatternError, StringPattern

_COMBINED_KEYWORDS = ("allOf", "anyOf", "oneOf")
# Without a type, the first group that has one of its keywords in the schema decides what it is.
_ARRAY_KEYWORDS = ("items", "additionalItems", "minItems", "maxItems", "uniqueItems")
_OBJECT_KEYWORDS = (
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "patternProperties",
    "additionalProperties",
)
_NUMBER_KEYWORDS = ("minimum", "maximum", "minimumExclusive", "maximumExclusive", "multipleOf")
_STRING_KEYWORDS = ("minLength", "maxLength", "pattern", "format")


class SchemaError(Exception):
    """A schema cannot be used; `str(error)` follows "Invalid JSON schema: "."""


def load_schema(schema: dict[str, Any], effort: Effort = ENDLESS) -> SchemaNode:
    """Load a schema into its node.

    Args:
        schema: decoded.
        effort: is spent by every node and every pattern.

    Raises:
        SchemaError: it cannot be used.
        EffortSpentError: it is too large, with what its references name.
    """
    loader = _SchemaLoader(schema, effort)
    try:
        node = loader.load_node(schema)
        loader.check_reference_ends()
    except RecursionError as error:
        raise SchemaError("nested too deep") from error
    return node


class _SchemaLoader:
    def __init__(self, root: dict[str, Any], effort: Effort) -> None:
        self._root = root
        self._effort = effort
        # By the schema that they lead to: one schema can be named in any number of ways.
        self._references: dict[int, tuple[str, ReferenceNode]] = {}
        self._patterns: dict[str, StringPattern] = {}

    def load_node(self, schema: dict[str, Any]) -> SchemaNode:
        self._effort.spend(UNITS_PER_LOADED_NODE)
        if "enum" in schema:
            values = _get_array(schema, "enum")
            self._effort.spend(len(values))
            node: SchemaNode = EnumNode(values, self._effort)
        else:
            combined = self._load_combined(schema)
            if combined is not None:
                node = combined
            elif "type" not in schema or "$ref" in schema:
                node = self._load_untyped(schema)
            else:
                node = self._load_typed(schema, schema["type"])
        for name in ("id", "title", "description"):
            _get_keyword(schema, name, "String")
        return node

    def _load_combined(self, schema: dict[str, Any]) -> SchemaNode | None:
        kinds = [kind for kind in _COMBINED_KEYWORDS if kind in schema]
        if not kinds:
            return None
        if len(kinds) > 1:
            raise SchemaError(
                f"expected at most 1 of 'allOf', 'anyOf', 'oneOf', {len(kinds)} found"
            )
        [kind] = kinds
        nodes = []
        for index, inner in enumerate(_get_array(schema, kind)):
            if type(inner) is not dict:
                raise SchemaError(f"JSONArray[{index}] is not a JSONObject.")
            nodes.append(self.load_node(inner))
        combined = CombinedNode(kind, nodes)
        base = (
            self._load_typed(schema, schema["type"])
            if "type" in schema
            else self._load_by_keywords(schema)
        )
        return combined if base is None else CombinedNode("allOf", [base, combined])

    def _load_untyped(self, schema: dict[str, Any]) -> SchemaNode:
        if "$ref" in schema:
            return self._load_reference(_require_text(schema["$ref"], 'JSONObject["$ref"]'))
        sniffed = self._load_by_keywords(schema)
        if sniffed is not None:
            return sniffed
        if "not" in schema:
            return NotNode(self.load_node(_get_object(schema, "not")), schema["not"])
        return EmptyNode()

    def _load_by_keywords(self, schema: dict[str, Any]) -> SchemaNode | None:
        if any(name in schema for name in _ARRAY_KEYWORDS):
            return self._load_array(schema, typed=False)
        if any(name in schema for name in _OBJECT_KEYWORDS):
            return self._load_object(schema, typed=False)
        if any(name in schema for name in _NUMBER_KEYWORDS):
            return _load_number(schema, typed=False)
        if any(name in schema for name in _STRING_KEYWORDS):
            return self._load_string(schema, typed=False)
        return None

    def _load_typed(self, schema: dict[str, Any], type_: Any) -> SchemaNode:
        if type(type_) is list:
            names = [_require_text(name, f"JSONArray[{index}]") for index, name in enumerate(type_)]
            return CombinedNode("anyOf", [self._load_type(schema, name) for name in names])
        if type(type_) is str:
            return self._load_type(schema, type_)
        raise _make_type_error("type", ("JSONArray", "String"), type_)

    def _load_type(self, schema: dict[str, Any], name: str) -> SchemaNode:
        match name:
            case "string":
                return self._load_string(schema, typed=True)
            case "integer":
                return _load_number(schema, typed=True, integer=True)
            case "number":
                return _load_number(schema, typed=True)
            case "boolean":
                return BooleanNode()
            case "null":
                return NullNode()
            case "array":
                return self._load_array(schema, typed=True)
            case "object":
                return self._load_object(schema, typed=True)
        raise SchemaError(f"unknown type: [{name}]")

    def _load_array(self, schema: dict[str, Any], *, typed: bool) -> SchemaNode:
        array = ArrayNode(
            typed,
            count_min=_get_keyword(schema, "minItems", "Integer"),
            count_max=_get_keyword(schema, "maxItems", "Integer"),
            unique=_get_keyword(schema, "uniqueItems", "Boolean") or False,
        )
        if "additionalItems" in schema:
            array.additional = self._load_additional("additionalItems", schema["additionalItems"])
        if "items" in schema:
            items = schema["items"]
            if type(items) is dict:
                array.items = self.load_node(items)
            elif type(items) is list:
                array.tuple = [self._load_child(inner) for inner in items]
            else:
                raise _make_type_error("items", ("JSONArray", "JSONObject"), items)
        return array

    def _load_object(self, schema: dict[str, Any], *, typed: bool) -> SchemaNode:
        made = ObjectNode(
            typed,
            size_min=_get_keyword(schema, "minProperties", "Integer"),
            size_max=_get_keyword(schema, "maxProperties", "Integer"),
        )
        if "properties" in schema:
            properties = schema["properties"]
            if type(properties) is not dict:
                raise _make_type_error(None, ("JSONObject",), properties)
            for name in self._sort_names(properties):
                made.properties[name] = self._load_child(properties[name])
        if "additionalProperties" in schema:
            made.additional = self._load_additional(
                "additionalProperties", schema["additionalProperties"]
            )
        if "required" in schema:
            self._effort.spend(len(_get_array(schema, "required")))
            for index, name in enumerate(_get_array(schema, "required")):
                made.required.append(_require_text(name, f"JSONArray[{index}]"))
        if "patternProperties" in schema:
            patterns = _get_object(schema, "patternProperties")
            for pattern in self._sort_names(patterns):
                made.patterns.append(
                    (self._load_pattern(pattern), self.load_node(_get_object(patterns, pattern)))
                )
        dependencies = _get_keyword(schema, "dependencies", "JSONObject")
        for name in self._sort_names(dependencies or {}):
            self._load_dependency(made, name, dependencies[name])
        return made

    def _load_dependency(self, made: ObjectNode, name: str, needed: Any) -> None:
        if type(needed) is dict:
            made.schema_dependencies[name] = self.load_node(needed)
        elif type(needed) is list:
            made.key_dependencies[name] = [
                _require_text(other, f"JSONArray[{index}]") for index, other in enumerate(needed)
            ]
        else:
            raise _make_type_error(None, ("JSONArray", "JSONObject"), needed)

    def _load_additional(self, key: str, value: Any) -> bool | SchemaNode:
        if type(value) is bool:
            return value
        if type(value) is dict:
            return self.load_node(value)
        raise _make_type_error(key, ("Boolean", "JSONObject"), value)

    def _load_child(self, schema: Any) -> SchemaNode:
        if type(schema) is not dict:
            raise _make_type_error(None, ("JSONObject",), schema)
        return self.load_node(schema)

    def _load_string(self, schema: dict[str, Any], *, typed: bool) -> SchemaNode:
        pattern = _get_keyword(schema, "pattern", "String")
        format_ = _get_keyword(schema, "format", "String")
        return StringNode(
            typed,
            length_min=_get_keyword(schema, "minLength", "Integer"),
            length_max=_get_keyword(schema, "maxLength", "Integer"),
            pattern=None if pattern is None else self._load_pattern(pattern),
            format=format_ if format_ in FORMATS else None,
        )

    def _load_pattern(self, text: str) -> StringPattern:
        known = self._patterns.get(text)
        if known is None:
            try:
                known = self._patterns[text] = StringPattern(text, self._effort)
            except PatternError as error:
                raise SchemaError(str(error)) from error
        return known

    def _sort_names(self, names: dict[str, Any]) -> list[str]:
        """Sort names in the order of a Java HashMap, which takes time for every character."""
        self._effort.spend(len(names) + sum(map(len, names)) // 8)
        return java_format.sort_by_hash(names)

    def _load_reference(self, pointer: str) -> SchemaNode:
        target = self._resolve_pointer(pointer)
        found = self._references.get(id(target))
        if found is not None:
            return found[1]
        reference = ReferenceNode()
        self._references[id(target)] = pointer, reference
        reference.target = self.load_node(target)
        return reference

    def check_reference_ends(self) -> None:
        """Refuse references that lead back to themselves without going into the value."""
        done: set[int] = set()
        for pointer, reference in self._references.values():
            _check_reference_end(reference, pointer, [], done)

    def _resolve_pointer(self, pointer: str) -> dict[str, Any]:
        self._effort.spend(1 + len(pointer) // 8)
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


def _check_reference_end(
    node: SchemaNode, pointer: str, path: list[SchemaNode], done: set[int]
) -> None:
    if id(node) in done:
        return
    if any(node is earlier for earlier in path):
        raise SchemaError(f"$ref {pointer} leads to itself without end")
    path.append(node)
    for inner in node.same_value_nodes():
        _check_reference_end(inner, pointer, path, done)
    path.pop()
    done.add(id(node))


def _load_number(schema: dict[str, Any], *, typed: bool, integer: bool = False) -> SchemaNode:
    number = NumberNode(
        typed,
        integer,
        minimum=_get_keyword(schema, "minimum", "Number"),
        maximum=_get_keyword(schema, "maximum", "Number"),
        multiple_of=_get_keyword(schema, "multipleOf", "Number"),
        exclusive_minimum=_get_keyword(schema, "exclusiveMinimum", "Boolean") or False,
        exclusive_maximum=_get_keyword(schema, "exclusiveMaximum", "Boolean") or False,
    )
    if number.multiple_of == 0:
        raise SchemaError("multipleOf is 0; nothing is a multiple of it")
    return number


# --- values of keywords ---------------------------------------------------------------------------


def _get_keyword(schema: dict[str, Any], key: str, expected: str) -> Any:
    """Return the value of a keyword that must have a Java type; None if it is absent."""
    if key not in schema:
        return None
    value = schema[key]
    found = java_format.get_type_name(value)
    kind = "Integer" if found in ("Long", "BigInteger") and expected == "Integer" else found
    if expected == "Number" and found in ("Integer", "Long", "BigInteger", "Double"):
        return value
    if kind != expected:
        # The original has these blanks, too.
        raise SchemaError(f"key {key} : expected type: {expected} , found : {found}")
    return value


def _get_array(schema: dict[str, Any], key: str) -> list[Any]:
    value = schema[key]
    if type(value) is not list:
        raise SchemaError(f'JSONObject["{key}"] is not a JSONArray.')
    return value


def _get_object(schema: dict[str, Any], key: str) -> dict[str, Any]:
    value = schema[key]
    if type(value) is not dict:
        raise SchemaError(f'JSONObject["{key}"] is not a JSONObject.')
    return value


def _require_text(value: Any, place: str) -> str:
    if type(value) is not str:
        raise SchemaError(f"{place} not a string.")
    return value


def _make_type_error(key: str | None, expected: tuple[str, ...], value: Any) -> SchemaError:
    return SchemaError(
        f"key {'null' if key is None else key}: expected type is one of {', '.join(expected)},"
        f" found: {java_format.get_type_name(value)}"
    )
