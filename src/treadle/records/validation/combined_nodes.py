"""Nodes for schemas made of schemas: `not`, lists of types and of schemas, `$ref`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from treadle.records.validation import java_format
from treadle.records.validation.failure import ValidationFailure
from treadle.records.validation.reference_budget import ReferenceBudget
from treadle.records.validation.scalar_nodes import EmptyNode
from treadle.records.validation.schema_node import Draft4Builder, Schema, SchemaNode


@dataclass(slots=True)
class NotNode(SchemaNode):
    """`not`."""

    node: SchemaNode
    source: Any

    def check(self, value: Any) -> ValidationFailure | None:
        """Find a value wrong that the inner schema accepts."""
        if self.node.check(value) is not None:
            return None
        return ValidationFailure(
            f"subject must not be valid against schema {java_format.format_value(self.source)}"
        )

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

    def check(self, value: Any) -> ValidationFailure | None:
        """Count the schemas that accept the value; a failure has its causes in schema order."""
        found = [failure for node in self.nodes if (failure := node.check(value)) is not None]
        total = len(self.nodes)
        matching = total - len(found)
        if self.kind == "allOf" and matching < total:
            return ValidationFailure(f"#: only {matching} subschema matches out of {total}", found)
        if self.kind == "anyOf" and not matching:
            text = f"#: no subschema matched out of the total {total} subschemas"
            return ValidationFailure(text, found)
        if self.kind == "oneOf" and matching != 1:
            return ValidationFailure(f"#: {matching} subschemas matched instead of one", found)
        return None

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
        budget: counts the steps through all references of the schema.
    """

    def __init__(self, budget: ReferenceBudget) -> None:
        self.target: SchemaNode = EmptyNode()
        self.budget = budget

    def check(self, value: Any) -> ValidationFailure | None:
        """Check the value by the target."""
        self.budget.spend_step()
        return self.target.check(value)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Return a reference to the target's schema."""
        return into.add_reference(self.target)

    def same_value_nodes(self) -> Sequence[SchemaNode]:
        """Return the target."""
        return (self.target,)
