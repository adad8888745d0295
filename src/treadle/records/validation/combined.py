"""Nodes for schemas made of schemas: `not`, lists of types and of schemas, `$ref`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from treadle.records.validation import java
from treadle.records.validation.effort import Effort
from treadle.records.validation.failure import Failure
from treadle.records.validation.node import Node, Plain, Schema, Whole
from treadle.records.validation.values import Anything


@dataclass(slots=True)
class Not(Whole):
    """`not`."""

    node: Node
    source: Any

    def check(self, value: Any) -> Failure | None:
        """A value that the inner schema takes is wrong."""
        if self.node.check(value) is not None:
            return None
        return Failure(f"subject must not be valid against schema {java.shown(self.source)}")

    def plain(self, into: Plain) -> Schema:
        """The same."""
        return {"not": self.node.plain(into)}

    def alike(self) -> Sequence[Node]:
        """The inner schema."""
        return (self.node,)


@dataclass(slots=True)
class Combined(Whole):
    """Several schemas of which all, any or exactly one must take the value.

    Attributes:
        kind: "allOf", "anyOf" (also a list of types) or "oneOf".
    """

    kind: str
    nodes: list[Node]

    def check(self, value: Any) -> Failure | None:
        """Too few or too many schemas that take the value; causes in schema order."""
        found = [failure for node in self.nodes if (failure := node.check(value)) is not None]
        total = len(self.nodes)
        matching = total - len(found)
        if self.kind == "allOf" and matching < total:
            return Failure(f"#: only {matching} subschema matches out of {total}", found)
        if self.kind == "anyOf" and not matching:
            text = f"#: no subschema matched out of the total {total} subschemas"
            return Failure(text, found)
        if self.kind == "oneOf" and matching != 1:
            return Failure(f"#: {matching} subschemas matched instead of one", found)
        return None

    def plain(self, into: Plain) -> Schema:
        """The same."""
        return {self.kind: [node.plain(into) for node in self.nodes]}

    def alike(self) -> Sequence[Node]:
        """All of them."""
        return self.nodes


class Reference(Whole):
    """`$ref`.

    Attributes:
        target: put in when that is loaded, since it may hold the reference.
        effort: counts the steps through all references of the schema.
    """

    def __init__(self, effort: Effort) -> None:
        self.target: Node = Anything()
        self.effort = effort

    def check(self, value: Any) -> Failure | None:
        """What the target says."""
        self.effort.spend()
        return self.target.check(value)

    def plain(self, into: Plain) -> Schema:
        """A reference too."""
        return into.reference(self.target)

    def alike(self) -> Sequence[Node]:
        """The target."""
        return (self.target,)
