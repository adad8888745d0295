"""Nodes for arrays and objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle.records.validation import java_format
from treadle.records.validation.effort import ENDLESS, UNITS_PER_FAILURE, Effort
from treadle.records.validation.failure import ValidationFailure, combine_failures
from treadle.records.validation.schema_node import (
    Draft4Builder,
    Schema,
    SchemaNode,
    make_identity,
    make_type_failure,
)
from treadle.records.validation.string_pattern import StringPattern

_KEYS_PER_UNIT = 16
"""Keys that are looked up in one unit."""
_HASHED_PER_UNIT = 8
"""Characters of names whose hash of Java is computed in one unit."""


@dataclass(slots=True)
class ArrayNode(SchemaNode):
    """Arrays.

    Attributes:
        typed: other types are wrong; otherwise they pass.
        items: the node of every element.
        tuple: the nodes of the first elements.
        additional: whether there may be elements behind those of `tuple`, or their node.
    """

    typed: bool
    count_min: int | None = None
    count_max: int | None = None
    unique: bool = False
    items: SchemaNode | None = None
    tuple: list[SchemaNode] | None = None
    additional: "bool | SchemaNode" = True

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Check count, uniqueness and elements, in this order."""
        effort.spend()
        if type(value) is not list:
            return make_type_failure("JSONArray", value) if self.typed else None
        found = []
        count = len(value)
        if self.count_min is not None and count < self.count_min:
            text = f"expected minimum item count: {self.count_min}, found: {count}"
            found.append(ValidationFailure(text))
        if self.count_max is not None and count > self.count_max:
            text = f"expected maximum item count: {self.count_max}, found: {count}"
            found.append(ValidationFailure(text))
        if self.unique:
            effort.spend(count)
            if len({make_identity(element, effort) for element in value}) < count:
                found.append(ValidationFailure("array items are not unique"))
        if self.tuple is not None and self.additional is False and count > len(self.tuple):
            found.append(
                ValidationFailure(f"expected: [{len(self.tuple)}] array items, found: [{count}]")
            )
        for index in range(self._count_checked(count)):
            element = value[index]
            node = self._get_node_at(index)
            failure = node.check(element, effort) if node is not None else None
            if failure is not None:
                effort.spend(UNITS_PER_FAILURE)
                found.append(failure.move_inside(str(index)))
        return combine_failures(found)

    def part_nodes(self) -> Sequence[SchemaNode]:
        """Return the nodes of elements."""
        nodes = [] if self.items is None else [self.items]
        nodes.extend(self.tuple or ())
        return nodes if isinstance(self.additional, bool) else [*nodes, self.additional]

    def _count_checked(self, count: int) -> int:
        """Return how many of so many elements have a node."""
        if self.tuple is None:
            return 0 if self.items is None else count
        return min(count, len(self.tuple)) if isinstance(self.additional, bool) else count

    def _get_node_at(self, index: int) -> SchemaNode | None:
        if self.tuple is None:
            return self.items
        if index < len(self.tuple):
            return self.tuple[index]
        return None if isinstance(self.additional, bool) else self.additional

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate keyword by keyword."""
        if self.unique:  # 1 and 1.0 are different to Java and equal to the fast validator
            return into.mark_inexact()
        schema: Schema = {"type": "array"} if self.typed else {}
        if self.count_min is not None:
            schema["minItems"] = self.count_min
        if self.count_max is not None:
            schema["maxItems"] = self.count_max
        if self.tuple is not None:
            schema["items"] = [node.to_draft4(into) for node in self.tuple]
            further = self.additional
            schema["additionalItems"] = (
                further if isinstance(further, bool) else further.to_draft4(into)
            )
        elif self.items is not None:
            schema["items"] = self.items.to_draft4(into)
        return schema


@dataclass(slots=True)
class ObjectNode(SchemaNode):
    """Objects.

    Attributes:
        typed: other types are wrong; otherwise they pass.
        properties: in the order of Java's HashMap.
        additional: whether there may be other keys, or the node of their values.
        patterns: pattern of keys and the node of their values.
        key_dependencies: keys that must be there when a key is.
        schema_dependencies: the node of the whole object when a key is there.
    """

    typed: bool
    properties: dict[str, SchemaNode] = field(default_factory=dict)
    additional: "bool | SchemaNode" = True
    required: list[str] = field(default_factory=list)
    size_min: int | None = None
    size_max: int | None = None
    patterns: list[tuple[StringPattern, SchemaNode]] = field(default_factory=list)
    key_dependencies: dict[str, list[str]] = field(default_factory=dict)
    schema_dependencies: dict[str, SchemaNode] = field(default_factory=dict)

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Check properties, required, other keys, size, dependencies, patterns, in this order."""
        effort.spend(1 + self.count_keys() // _KEYS_PER_UNIT)
        if type(value) is not dict:
            return make_type_failure("JSONObject", value) if self.typed else None
        found: list[ValidationFailure] = []
        for name, node in self.properties.items():
            if name in value:
                _add_failure(found, node.check(value[name], effort), name, effort)
        missing = [name for name in self.required if name not in value]
        effort.spend(UNITS_PER_FAILURE * len(missing))
        found.extend(ValidationFailure("required key [", name, "] not found") for name in missing)
        if self.additional is not True:
            self._check_additional(value, self.additional, found, effort)
        size = len(value)
        if self.size_min is not None and size < self.size_min:
            found.append(ValidationFailure(f"minimum size: [{self.size_min}], found: [{size}]"))
        if self.size_max is not None and size > self.size_max:
            found.append(ValidationFailure(f"maximum size: [{self.size_max}], found: [{size}]"))
        for name, needed in self.key_dependencies.items():
            if name in value:
                effort.spend(len(needed) // _KEYS_PER_UNIT)
                lacking = [other for other in needed if other not in value]
                effort.spend(UNITS_PER_FAILURE * len(lacking))
                found.extend(
                    ValidationFailure("property [", other, "] is required") for other in lacking
                )
        for name, node in self.schema_dependencies.items():
            failure = node.check(value, effort) if name in value else None
            if failure is not None:
                found.append(failure)
        for pattern, node in self.patterns:
            matching = [name for name in value if pattern.matches(name, effort)]
            for name in _sort_names(matching, effort):
                _add_failure(found, node.check(value[name], effort), name, effort)
        return combine_failures(found)

    def count_keys(self) -> int:
        """Count the keys that are looked up in every object, at most."""
        return (
            len(self.properties)
            + len(self.required)
            + len(self.key_dependencies)
            + len(self.schema_dependencies)
        )

    def _check_additional(
        self,
        value: dict[str, Any],
        further: "bool | SchemaNode",
        found: list[ValidationFailure],
        effort: Effort,
    ) -> None:
        effort.spend(len(value) // _KEYS_PER_UNIT)
        names = {
            name
            for name in value
            if name not in self.properties
            and not any(pattern.matches(name, effort) for pattern, _ in self.patterns)
        }
        # The order comes from the whole object's HashMap, whose size all its keys decide.
        ordered = _sort_names(value, effort) if len(names) > 1 else names
        for name in ordered:
            if name in names:
                if isinstance(further, bool):
                    effort.spend(UNITS_PER_FAILURE)
                    found.append(ValidationFailure("extraneous key [", name, "] is not permitted"))
                else:
                    _add_failure(found, further.check(value[name], effort), name, effort)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate keyword by keyword."""
        schema: Schema = {"type": "object"} if self.typed else {}
        if self.properties:
            schema["properties"] = {
                name: node.to_draft4(into) for name, node in self.properties.items()
            }
        if self.additional is not True:
            further = self.additional
            schema["additionalProperties"] = (
                further if isinstance(further, bool) else further.to_draft4(into)
            )
        if self.required:
            schema["required"] = list(dict.fromkeys(self.required))
        if self.size_min is not None:
            schema["minProperties"] = self.size_min
        if self.size_max is not None:
            schema["maxProperties"] = self.size_max
        if self.patterns:
            schema["patternProperties"] = {
                into.add_pattern(pattern): node.to_draft4(into) for pattern, node in self.patterns
            }
        dependencies: Schema = {
            name: list(dict.fromkeys(needed))
            for name, needed in self.key_dependencies.items()
            if needed
        }
        for name, node in self.schema_dependencies.items():
            dependencies[name] = node.to_draft4(into)
        if dependencies:
            schema["dependencies"] = dependencies
        return schema

    def same_value_nodes(self) -> Sequence[SchemaNode]:
        """Return the nodes of dependencies."""
        return [*self.schema_dependencies.values()]

    def part_nodes(self) -> Sequence[SchemaNode]:
        """Return the nodes of values."""
        nodes = [*self.properties.values(), *(node for _, node in self.patterns)]
        return nodes if isinstance(self.additional, bool) else [*nodes, self.additional]


def _add_failure(
    found: list[ValidationFailure], failure: ValidationFailure | None, name: str, effort: Effort
) -> None:
    if failure is not None:
        effort.spend(UNITS_PER_FAILURE)
        found.append(failure.move_inside(name))


def _sort_names(names: Iterable[str], effort: Effort) -> list[str]:
    """Sort names in the order of a Java HashMap, which takes time for every character."""
    found = list(names)
    effort.spend(len(found) + sum(map(len, found)) // _HASHED_PER_UNIT)
    return java_format.sort_by_hash(found)
