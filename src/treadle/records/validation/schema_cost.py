"""Computes the highest cost of checking records by a schema, before the check begins.

The fast validator cannot be stopped and counts nothing. But each node of a schema, with a copy for
each reference, checks each value at most once, since only one way leads to a value. So two
products bound its steps: all nodes times the records, where no node applies to many parts of a
value; and the nodes that can apply to one value times the values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from treadle.records.validation.combined_nodes import CombinedNode, NotNode, ReferenceNode
from treadle.records.validation.container_nodes import ArrayNode, ObjectNode
from treadle.records.validation.effort import STEPS_PER_UNIT
from treadle.records.validation.formats import FORMAT_STATES
from treadle.records.validation.scalar_nodes import EnumNode, NumberNode, StringNode
from treadle.records.validation.schema_node import SchemaNode
from treadle.records.validation.string_pattern import StringPattern

FAST_STEPS_PER_UNIT: Final = 8
"""Steps of the fast validator in one unit of effort."""

_BYTES_PER_VALUE: Final = 2
"""The shortest value and the comma behind it."""
_DIVISION_STEPS: Final = 8
"""Steps of the check of `multipleOf`, which divides."""


@dataclass(frozen=True, slots=True)
class SchemaCost:
    """The highest cost of one value, in steps of the fast validator.

    Attributes:
        nodes: of the schema, with a copy for each reference; infinite if it contains itself.
        total: all steps for one record, if no node applies to many of its parts.
        breadth: the most steps for one value.
        text_breadth: the most steps for one byte of a string, in parts of 64.
        spreads: whether some node applies to many parts of a value, as that of `items` does.
    """

    nodes: float
    total: float
    breadth: float
    text_breadth: float
    spreads: bool

    def measure_records(self, records: int, size: int) -> float:
        """Return the units of effort that records take at most.

        Args:
            records: how many.
            size: their bytes.
        """
        values = self.breadth * (size / _BYTES_PER_VALUE + records)
        steps = values if self.spreads else min(values, self.total * records)
        texts = self.text_breadth * size / STEPS_PER_UNIT
        return steps / FAST_STEPS_PER_UNIT + texts


_UNKNOWN: Final = SchemaCost(inf, inf, inf, inf, True)


def measure_schema(node: SchemaNode) -> SchemaCost:
    """Measure a loaded schema."""
    return _SchemaMeter().measure_node(node)


class _SchemaMeter:
    """Measures the nodes of one schema, each once."""

    def __init__(self) -> None:
        self._known: dict[int, SchemaCost] = {}

    def measure_node(self, node: SchemaNode) -> SchemaCost:
        found = self._known.get(id(node))
        if found is None:
            # If it is met again before it is measured, it contains itself.
            self._known[id(node)] = _UNKNOWN
            found = self._known[id(node)] = self._measure(node)
        return found

    def _measure(self, node: SchemaNode) -> SchemaCost:
        match node:
            case ObjectNode():
                return self._measure_object(node)
            case ArrayNode():
                return self._measure_array(node)
            case CombinedNode() | NotNode() | ReferenceNode():
                return _add_costs(1, map(self.measure_node, node.same_value_nodes()))
            case StringNode():
                return _make_leaf(1, _measure_texts(node))
            case NumberNode():
                return _make_leaf(1 if node.multiple_of is None else _DIVISION_STEPS)
            case EnumNode():
                return _make_leaf(1 + len(node.values))
            case _:
                return _make_leaf(1)

    def _measure_object(self, node: ObjectNode) -> SchemaCost:
        own = 1 + node.count_keys() + sum(map(len, node.key_dependencies.values()))
        named = [self.measure_node(inner) for inner in node.properties.values()]
        others = [self.measure_node(inner) for _, inner in node.patterns]
        alike = [] if isinstance(node.additional, bool) else [self.measure_node(node.additional)]
        # The steps for each key, whatever its value.
        tests = [pattern.states for pattern, _ in node.patterns]
        per_key = len(tests) + (node.additional is not True)
        inside = SchemaCost(
            nodes=1 + sum(cost.nodes for cost in (*named, *others, *alike)),
            total=own + sum(cost.total for cost in named),
            breadth=max(
                own,
                max((cost.breadth for cost in (*named, *alike)), default=0)
                + sum(cost.breadth for cost in others)
                + per_key,
            ),
            text_breadth=max((cost.text_breadth for cost in (*named, *alike)), default=0)
            + sum(cost.text_breadth for cost in others)
            + sum(tests),
            spreads=bool(others or alike or per_key) or any(cost.spreads for cost in named),
        )
        needed = [self.measure_node(inner) for inner in node.schema_dependencies.values()]
        return _add_costs(0, (inside, *needed)) if needed else inside

    def _measure_array(self, node: ArrayNode) -> SchemaCost:
        parts = [self.measure_node(inner) for inner in node.part_nodes()]
        own = 1 + len(node.tuple or ())
        spreads = (node.items is not None and node.tuple is None) or not isinstance(
            node.additional, bool
        )
        return SchemaCost(
            nodes=1 + sum(cost.nodes for cost in parts),
            total=own + sum(cost.total for cost in parts),
            breadth=max(own, max((cost.breadth for cost in parts), default=0)),
            text_breadth=max((cost.text_breadth for cost in parts), default=0),
            spreads=spreads or any(cost.spreads for cost in parts),
        )


def _make_leaf(steps: float, text_steps: float = 0) -> SchemaCost:
    return SchemaCost(1, steps, steps, text_steps, False)


def _add_costs(own: float, costs: Iterable[SchemaCost]) -> SchemaCost:
    """Add up nodes that check the same value."""
    found = list(costs)
    return SchemaCost(
        nodes=1 + sum(cost.nodes for cost in found),
        total=own + sum(cost.total for cost in found),
        breadth=own + sum(cost.breadth for cost in found),
        text_breadth=sum(cost.text_breadth for cost in found),
        spreads=any(cost.spreads for cost in found),
    )


def _measure_texts(node: StringNode) -> int:
    steps = 1 if node.length_min is not None or node.length_max is not None else 0
    steps += 0 if node.format is None else FORMAT_STATES
    return steps + _count_states(node.pattern)


def _count_states(pattern: StringPattern | None) -> int:
    return 0 if pattern is None else pattern.states
