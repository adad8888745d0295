"""Records checked while they are parsed: a schema as a typed decoder, where it can be said as one.

The decoder's yes is always right: each of its types takes no more than the node it stands for. Its
no means nothing; whoever gets it asks the fast validator and the nodes.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import msgspec

from treadle.records.validation.combined import Combined
from treadle.records.validation.containers import Array, Object
from treadle.records.validation.node import Node
from treadle.records.validation.values import Anything, Boolean, Null, Number, Text

FIELDS_MAX = 256
"""Properties of a schema, at any depth, up to which it gets a decoder: each costs about 1 KB."""

_PRESENT = str | int | float | bool | list[Any] | dict[str, Any]


class _Unsayable(Exception):  # noqa: N818 - says what the schema is
    """No type takes only what the node takes."""


def decoder(node: Node, key_names: Sequence[str]) -> Callable[[bytes], object] | None:
    """What decodes an array of records and fails unless each conforms and has all its keys.

    Args:
        node: the loaded schema.
        key_names: as sent; each must be there with a value other than null.

    Returns:
        None when the schema cannot be said as a type.
    """
    if not isinstance(node, Object):
        return None
    try:
        kind = _Kinds().of_object(node, frozenset(key_names))
        return msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]  # made just now
    except (_Unsayable, TypeError, ValueError, RecursionError):
        return None


class _Kinds:
    """Types of the nodes of one schema."""

    def __init__(self) -> None:
        self._fields = 0

    def of_object(self, node: Object, keys: frozenset[str] = frozenset()) -> Any:
        limited = node.size_min is not None or node.size_max is not None
        if limited or node.further is not True or node.patterns:
            raise _Unsayable
        if node.key_dependencies or node.schema_dependencies:
            raise _Unsayable
        wanted = dict.fromkeys([*node.properties, *node.required, *keys])
        self._fields += len(wanted)
        if self._fields > FIELDS_MAX:
            raise _Unsayable
        fields: list[Any] = []
        rename = {}
        for number, name in enumerate(wanted):
            attribute = f"f{number}"
            rename[attribute] = name
            inner = node.properties.get(name)
            kind = Any if inner is None else self._of(inner)
            if name in keys:
                kind = _without_null(kind)
            needed = name in keys or name in node.required
            fields.append((attribute, kind) if needed else (attribute, kind, None))
        return msgspec.defstruct("Record", fields, rename=rename, gc=False, kw_only=True)

    def _of(self, node: Node) -> Any:
        match node:
            case Anything():
                return Any
            case Null():
                return None
            case Boolean():
                return bool
            case Text(length_min=None, length_max=None, pattern=None, format=None):
                return str
            case Text(length_min=None, length_max=None, pattern=None, format="date-time"):
                return datetime
            case Number(least=None, greatest=None, multiple=None):
                return int if node.integer else float
            case Array(count_min=None, count_max=None, unique=False, items=items, tuple=None):
                return list[Any] if items is None else list[self._of(items)]  # type: ignore[misc]
            case Object():
                return self.of_object(node)
            case Combined(kind="anyOf"):
                kinds = [self._of(inner) for inner in node.nodes]
                return Any if Any in kinds else reduce(or_, kinds)
            case _:
                raise _Unsayable


def _without_null(kind: Any) -> Any:
    if kind is Any:
        return _PRESENT
    kinds = [each for each in getattr(kind, "__args__", ()) if each is not type(None)]
    if kind is None:
        raise _Unsayable
    is_union = isinstance(kind, type(int | None))
    return reduce(or_, kinds) if is_union else kind
