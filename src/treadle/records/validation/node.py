"""What a loaded schema is made of: nodes that explain a value.

`check` gives a Failure or None. `plain` gives a draft 4 schema that says the same to the fast
validator, which knows nothing of nodes; where it could say yes to what `check` refuses, the node
calls `Plain.unsure` instead.
"""

from collections.abc import Sequence
from math import inf
from typing import Any, Protocol

from treadle.records.validation import java
from treadle.records.validation.failure import Failure

Schema = dict[str, Any]


class Plain:
    """Collects what goes into one schema for the fast validator.

    Attributes:
        sure: whether the fast validator's yes can be trusted.
        definitions: schemas of references, by number.
    """

    def __init__(self) -> None:
        self.sure = True
        self.definitions: Schema = {}
        self._numbers: dict[int, str] = {}

    def unsure(self) -> Schema:
        """The fast validator cannot say this."""
        self.sure = False
        return {}

    def reference(self, target: "Node") -> Schema:
        """A reference to a node's schema, which may hold itself."""
        number = self._numbers.get(id(target))
        if number is None:
            number = self._numbers[id(target)] = str(len(self._numbers))
            self.definitions[number] = target.plain(self)
        return {"$ref": f"#/definitions/{number}"}


class Node(Protocol):
    """A part of a loaded schema."""

    def check(self, value: Any) -> Failure | None:
        """What is wrong with a value."""
        ...

    def plain(self, into: Plain) -> Schema:
        """The same for the fast validator."""
        ...

    def alike(self) -> Sequence["Node"]:
        """Inner nodes that look at the same value."""
        ...

    def inside(self) -> Sequence["Node"]:
        """Inner nodes that look at a part of the value."""
        ...


class Leaf:
    """A node without inner nodes."""

    def alike(self) -> Sequence[Node]:
        """None."""
        return ()

    def inside(self) -> Sequence[Node]:
        """None."""
        return ()


class Whole:
    """A node whose inner nodes all look at the same value."""

    def inside(self) -> Sequence[Node]:
        """None."""
        return ()


def unrolled(node: Node) -> float:
    """How many nodes a schema has with a copy for every reference; infinite if it holds itself."""
    return _unrolled(node, {})


def _unrolled(node: Node, sizes: dict[int, float]) -> float:
    known = sizes.get(id(node))
    if known is None:
        sizes[id(node)] = inf  # met again before it is counted: it holds itself
        inner = [*node.alike(), *node.inside()]
        known = sizes[id(node)] = 1 + sum(_unrolled(one, sizes) for one in inner)
    return known


def mistyped(expected: str, value: Any) -> Failure:
    """The failure of a value of another type than expected."""
    return Failure(f"expected type: {expected}, found: {java.type_name(value)}")


def identity(value: Any) -> Any:
    """A hashable that is equal for values Java finds deeply equal: 1 is neither 1.0 nor true."""
    if type(value) is dict:
        return dict, frozenset((name, identity(inner)) for name, inner in value.items())
    if type(value) is list:
        return list, tuple(map(identity, value))
    return type(value), value
