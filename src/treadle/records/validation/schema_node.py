"""The nodes of a loaded schema, which explain what is wrong with a value.

`check` returns a failure or None. `to_draft4` returns a draft 4 schema for the fast validator,
which knows nothing of nodes. That schema must refuse whatever `check` refuses; a node that cannot
express itself so calls `Draft4Builder.mark_inexact` instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf
from typing import Any

from treadle.records.validation import java_format
from treadle.records.validation.failure import ValidationFailure

Schema = dict[str, Any]


class Draft4Builder:
    """Collects the parts of one schema for the fast validator.

    Attributes:
        is_exact: whether an acceptance by the fast validator can be trusted.
        definitions: schemas of references, by number.
    """

    def __init__(self) -> None:
        self.is_exact = True
        self.definitions: Schema = {}
        self._numbers: dict[int, str] = {}

    def mark_inexact(self) -> Schema:
        """Note that the fast validator cannot check this; return a placeholder."""
        self.is_exact = False
        return {}

    def add_reference(self, target: "SchemaNode") -> Schema:
        """Return a reference to a node's schema, which may contain itself."""
        number = self._numbers.get(id(target))
        if number is None:
            number = self._numbers[id(target)] = str(len(self._numbers))
            self.definitions[number] = target.to_draft4(self)
        return {"$ref": f"#/definitions/{number}"}


class SchemaNode(ABC):
    """A part of a loaded schema."""

    __slots__ = ()

    @abstractmethod
    def check(self, value: Any) -> ValidationFailure | None:
        """Return what is wrong with a value; None if nothing is."""

    @abstractmethod
    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Return the same schema for the fast validator."""

    def same_value_nodes(self) -> Sequence["SchemaNode"]:
        """Return the inner nodes that check the same value."""
        return ()

    def part_nodes(self) -> Sequence["SchemaNode"]:
        """Return the inner nodes that check a part of the value."""
        return ()


def count_unrolled_nodes(node: SchemaNode) -> float:
    """Count a schema's nodes, with a copy for every reference; infinite if it contains itself."""
    return _count_unrolled(node, {})


def _count_unrolled(node: SchemaNode, sizes: dict[int, float]) -> float:
    known = sizes.get(id(node))
    if known is None:
        sizes[id(node)] = inf  # if it is met again before it is counted, it contains itself
        inner = [*node.same_value_nodes(), *node.part_nodes()]
        known = sizes[id(node)] = 1 + sum(_count_unrolled(one, sizes) for one in inner)
    return known


def make_type_failure(expected: str, value: Any) -> ValidationFailure:
    """Make the failure of a value that has another type than expected."""
    return ValidationFailure(
        f"expected type: {expected}, found: {java_format.get_type_name(value)}"
    )


def make_identity(value: Any) -> Any:
    """Return a hashable, equal for values that Java finds deeply equal: 1 is not 1.0 or true."""
    if type(value) is dict:
        return dict, frozenset((name, make_identity(inner)) for name, inner in value.items())
    if type(value) is list:
        return list, tuple(map(make_identity, value))
    return type(value), value
