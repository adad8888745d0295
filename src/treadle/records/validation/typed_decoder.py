"""Validation of records while they are decoded: a schema as a msgspec type, where that is possible.

If the decoder accepts records, they conform: each of its types takes no more than its node does.
If it fails, that means nothing: the fast validator and the nodes decide.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import msgspec

from treadle.records.validation.combined_nodes import CombinedNode
from treadle.records.validation.container_nodes import ArrayNode, ObjectNode
from treadle.records.validation.scalar_nodes import (
    BooleanNode,
    EmptyNode,
    NullNode,
    NumberNode,
    StringNode,
)
from treadle.records.validation.schema_node import SchemaNode

FIELDS_MAX = 256
"""Most properties of a schema, at any depth, for which a decoder is made: each costs about 1 KB."""

TYPES_MAX = 2048
"""Most types of a schema, at any depth, for which a decoder is made."""

_KINDS_MAX = 16
"""Most alternatives of one value: to make their union takes the square of their number."""

_NOT_NULL = str | int | float | bool | list[Any] | dict[str, Any]


class UntypableSchemaError(Exception):
    """No type takes only what the node takes."""


def make_typed_decoder(
    node: SchemaNode, key_names: Sequence[str]
) -> Callable[[bytes], object] | None:
    """Make a decoder of an array of records that fails unless each conforms and has all its keys.

    Args:
        node: the loaded schema.
        key_names: as sent; each must be there with a value other than null.

    Returns:
        None if no type expresses the schema.
    """
    if not isinstance(node, ObjectNode):
        return None
    try:
        kind = _TypeBuilder().build_object(node, frozenset(key_names))
        return msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]  # made just now
    except (UntypableSchemaError, TypeError, ValueError, RecursionError):
        return None


class _TypeBuilder:
    """Builds the types of the nodes of one schema."""

    def __init__(self) -> None:
        self._field_count = 0
        self._type_count = 0

    def build_object(self, node: ObjectNode, keys: frozenset[str] = frozenset()) -> Any:
        limited = node.size_min is not None or node.size_max is not None
        if limited or node.additional is not True or node.patterns:
            raise UntypableSchemaError
        if node.key_dependencies or node.schema_dependencies:
            raise UntypableSchemaError
        wanted = dict.fromkeys([*node.properties, *node.required, *keys])
        # Keys that are only required get a field, too: a struct fails if a field is missing.
        self._field_count += len(wanted)
        if self._field_count > FIELDS_MAX:
            raise UntypableSchemaError
        fields: list[Any] = []
        rename = {}
        for number, name in enumerate(wanted):
            attribute = f"f{number}"
            rename[attribute] = name
            inner = node.properties.get(name)
            kind = Any if inner is None else self._build_type(inner)
            if name in keys:
                kind = _remove_null(kind)
            needed = name in keys or name in node.required
            fields.append((attribute, kind) if needed else (attribute, kind, None))
        return msgspec.defstruct("Record", fields, rename=rename, gc=False, kw_only=True)

    def _build_type(self, node: SchemaNode) -> Any:
        self._type_count += 1
        if self._type_count > TYPES_MAX:
            raise UntypableSchemaError
        match node:
            case EmptyNode():
                return Any
            case NullNode():
                return None
            case BooleanNode():
                return bool
            case StringNode(length_min=None, length_max=None, pattern=None, format=None):
                return str
            case StringNode(length_min=None, length_max=None, pattern=None, format="date-time"):
                return datetime
            case NumberNode(minimum=None, maximum=None, multiple_of=None):
                return int if node.integer else float
            case ArrayNode(count_min=None, count_max=None, unique=False, items=items, tuple=None):
                return list[Any] if items is None else list[self._build_type(items)]  # type: ignore[misc]
            case ObjectNode():
                return self.build_object(node)
            case CombinedNode(kind="anyOf") if len(node.nodes) <= _KINDS_MAX:
                kinds = [self._build_type(inner) for inner in node.nodes]
                return Any if Any in kinds else reduce(or_, kinds)
            case _:
                raise UntypableSchemaError


def _remove_null(kind: Any) -> Any:
    if kind is Any:
        return _NOT_NULL
    kinds = [each for each in getattr(kind, "__args__", ()) if each is not type(None)]
    if kind is None:
        raise UntypableSchemaError
    is_union = isinstance(kind, type(int | None))
    return reduce(or_, kinds) if is_union else kind
