"""Nodes for schemas made of schemas: `not`, lists of types and of schemas, `$ref`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from treadle.records.validation.effort import ENDLESS, UNITS_PER_FAILURE, Effort
from treadle.records.validation.failure import ValidationFailure
from treadle.records.validation.scalar_nodes import EmptyNode
from treadle.records.validation.schema_node import Draft4Builder, Schema, SchemaNode


@dataclass(slots=True)
class NotNode(SchemaNode):
    """`not`."""

    node: SchemaNode
    source: Any

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Find a value wrong that the inner schema accepts."""
        effort.spend()
        if self.node.check(value, effort) is not None:
            return None
        return ValidationFailure("subject must not be valid against schema ", self.source)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate the keyword."""
        return {"not": self.node.to_draft4(into)}

    def same_value_nodes(self) -> Sequence[SchemaNode]:
        """Return the inner node."""
        return (self.node,)


@dataclass(slots=True)
class CombinedNode(SchemaNode):
    """Several schemas, of which all, any or exactly one must accept the value.

    Attributes:
        kind: "allOf", "anyOf" (also a list of types) or "oneOf".
    """

    kind: str
    nodes: list[SchemaNode]

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Count the schemas that accept the value; a failure has its causes in schema order."""
        effort.spend()
        any_of = self.kind == "anyOf"
        found: list[ValidationFailure] = []
        for node in self.nodes:
            failure = node.check(value, effort)
            if failure is not None:
                effort.spend(UNITS_PER_FAILURE)
                found.append(failure)
            elif any_of:
                return None
        total = len(self.nodes)
        matching = total - len(found)
        if any_of:
            text = f"#: no subschema matched out of the total {total} subschemas"
        elif self.kind == "allOf" and matching < total:
            text = f"#: only {matching} subschema matches out of {total}"
        elif self.kind == "oneOf" and matching != 1:
            text = f"#: {matching} subschemas matched instead of one"
        else:
            return None
        return ValidationFailure(text, causes=found)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate the keyword."""
        return {self.kind: [node.to_draft4(into) for node in self.nodes]}

    def same_value_nodes(self) -> Sequence[SchemaNode]:
        """Return all inner nodes."""
        return self.nodes


class ReferenceNode(SchemaNode):
    """`$ref`.

    Attributes:
        target: set after it is loaded, since it may contain the reference.
    """

    def __init__(self) -> None:
        self.target: SchemaNode = EmptyNode()

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Check the value by the target."""
        effort.spend()
        return self.target.check(value, effort)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Return a reference to the target's schema."""
        return into.add_reference(self.target)

    def same_value_nodes(self) -> Sequence[SchemaNode]:
        """Return the target."""
        return (self.target,)
