"""What a loaded schema is made of: nodes that explain a value.

`check` gives a Failure or None. `to_draft4` gives a draft 4 schema that says the same to the fast
validator, which knows nothing of nodes; where it could say yes to what `check` refuses, the node
calls `Draft4Builder.mark_inexact` instead.
"""

from collections.abc import Sequence
from math import inf
from typing import Any, Protocol

from treadle.records.validation import java_format
from treadle.records.validation.failure import ValidationFailure

Schema = dict[str, Any]


class Draft4Builder:
    """Collects what goes into one schema for the fast validator.

    Attributes:
        sure: whether the fast validator's yes can be trusted.
        definitions: schemas of references, by number.
    """

    def __init__(self) -> None:
        self.is_exact = True
        self.definitions: Schema = {}
        self._numbers: dict[int, str] = {}

    def mark_inexact(self) -> Schema:
        """The fast validator cannot say this."""
        self.is_exact = False
        return {}

    def add_reference(self, target: "SchemaNode") -> Schema:
        """A reference to a node's schema, which may hold itself."""
        number = self._numbers.get(id(target))
        if number is None:
            number = self._numbers[id(target)] = str(len(self._numbers))
            self.definitions[number] = target.to_draft4(self)
        return {"$ref": f"#/definitions/{number}"}


class SchemaNode(Protocol):
    """A part of a loaded schema."""

    def check(self, value: Any) -> ValidationFailure | None:
        """What is wrong with a value."""
        ...

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """The same for the fast validator."""
        ...

    def same_value_nodes(self) -> Sequence["SchemaNode"]:
        """Inner nodes that look at the same value."""
        ...

    def part_nodes(self) -> Sequence["SchemaNode"]:
        """Inner nodes that look at a part of the value."""
        ...


class LeafNode:
    """A node without inner nodes."""

    def same_value_nodes(self) -> Sequence[SchemaNode]:
        """None."""
        return ()

    def part_nodes(self) -> Sequence[SchemaNode]:
        """None."""
        return ()


class SameValueNode:
    """A node whose inner nodes all look at the same value."""

    def part_nodes(self) -> Sequence[SchemaNode]:
        """None."""
        return ()


def count_unrolled_nodes(node: SchemaNode) -> float:
    """How many nodes a schema has with a copy for every reference; infinite if it holds itself."""
    return _count_unrolled(node, {})


def _count_unrolled(node: SchemaNode, sizes: dict[int, float]) -> float:
    known = sizes.get(id(node))
    if known is None:
        sizes[id(node)] = inf  # met again before it is counted: it holds itself
        inner = [*node.same_value_nodes(), *node.part_nodes()]
        known = sizes[id(node)] = 1 + sum(_count_unrolled(one, sizes) for one in inner)
    return known


def make_type_failure(expected: str, value: Any) -> ValidationFailure:
    """The failure of a value of another type than expected."""
    return ValidationFailure(
        f"expected type: {expected}, found: {java_format.get_type_name(value)}"
    )


def make_identity(value: Any) -> Any:
    """A hashable that is equal for values Java finds deeply equal: 1 is neither 1.0 nor true."""
    if type(value) is dict:
        return dict, frozenset((name, make_identity(inner)) for name, inner in value.items())
    if type(value) is list:
        return list, tuple(map(make_identity, value))
    return type(value), value
