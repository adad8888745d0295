"""Nodes for arrays and objects."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from treadle.records.validation import java
from treadle.records.validation.failure import Failure, together
from treadle.records.validation.formats import pattern_test
from treadle.records.validation.node import Leaf, Node, Plain, Schema, identity, mistyped


@dataclass(slots=True)
class Array(Leaf):
    """Arrays.

    Attributes:
        typed: other types are wrong; else they pass.
        items: what every element must be.
        tuple: what each of the first elements must be.
        further: whether there may be elements behind those of `tuple`, or what they must be.
    """

    typed: bool
    count_min: int | None = None
    count_max: int | None = None
    unique: bool = False
    items: Node | None = None
    tuple: list[Node] | None = None
    further: "bool | Node" = True

    def check(self, value: Any) -> Failure | None:
        """Count, uniqueness, elements, in this order."""
        if type(value) is not list:
            return mistyped("JSONArray", value) if self.typed else None
        found = []
        count = len(value)
        if self.count_min is not None and count < self.count_min:
            text = f"expected minimum item count: {self.count_min}, found: {count}"
            found.append(Failure(text))
        if self.count_max is not None and count > self.count_max:
            text = f"expected maximum item count: {self.count_max}, found: {count}"
            found.append(Failure(text))
        if self.unique and len({identity(element) for element in value}) < count:
            found.append(Failure("array items are not unique"))
        if self.tuple is not None and self.further is False and count > len(self.tuple):
            found.append(Failure(f"expected: [{len(self.tuple)}] array items, found: [{count}]"))
        for index, element in enumerate(value):
            node = self._node_at(index)
            failure = node.check(element) if node is not None else None
            if failure is not None:
                found.append(failure.inside(str(index)))
        return together(found)

    def inside(self) -> Sequence[Node]:
        """What elements must be."""
        nodes = [] if self.items is None else [self.items]
        nodes.extend(self.tuple or ())
        return nodes if isinstance(self.further, bool) else [*nodes, self.further]

    def _node_at(self, index: int) -> Node | None:
        if self.tuple is None:
            return self.items
        if index < len(self.tuple):
            return self.tuple[index]
        return None if isinstance(self.further, bool) else self.further

    def plain(self, into: Plain) -> Schema:
        """Keyword by keyword."""
        if self.unique:  # 1 and 1.0 are different here and equal there
            return into.unsure()
        schema: Schema = {"type": "array"} if self.typed else {}
        if self.count_min is not None:
            schema["minItems"] = self.count_min
        if self.count_max is not None:
            schema["maxItems"] = self.count_max
        if self.tuple is not None:
            schema["items"] = [node.plain(into) for node in self.tuple]
            further = self.further
            schema["additionalItems"] = (
                further if isinstance(further, bool) else further.plain(into)
            )
        elif self.items is not None:
            schema["items"] = self.items.plain(into)
        return schema


@dataclass(slots=True)
class Object:
    """Objects.

    Attributes:
        typed: other types are wrong; else they pass.
        properties: in the order in which Java's HashMap gives them.
        further: whether there may be other keys, or what their values must be.
        patterns: what values must be whose keys match.
        key_dependencies: keys that must be there when a key is.
        schema_dependencies: what the whole object must be when a key is there.
    """

    typed: bool
    properties: dict[str, Node] = field(default_factory=dict)
    further: "bool | Node" = True
    required: list[str] = field(default_factory=list)
    size_min: int | None = None
    size_max: int | None = None
    patterns: list[tuple[str, Node]] = field(default_factory=list)
    key_dependencies: dict[str, list[str]] = field(default_factory=dict)
    schema_dependencies: dict[str, Node] = field(default_factory=dict)

    def check(self, value: Any) -> Failure | None:
        """Properties, required, other keys, size, dependencies, patterns, in this order."""
        if type(value) is not dict:
            return mistyped("JSONObject", value) if self.typed else None
        found: list[Failure] = []
        for name, node in self.properties.items():
            if name in value:
                _add(found, node.check(value[name]), name)
        found.extend(
            Failure(f"required key [{name}] not found")
            for name in self.required
            if name not in value
        )
        if self.further is not True:
            self._check_further(value, self.further, found)
        size = len(value)
        if self.size_min is not None and size < self.size_min:
            found.append(Failure(f"minimum size: [{self.size_min}], found: [{size}]"))
        if self.size_max is not None and size > self.size_max:
            found.append(Failure(f"maximum size: [{self.size_max}], found: [{size}]"))
        for name, needed in self.key_dependencies.items():
            if name in value:
                found.extend(
                    Failure(f"property [{other}] is required")
                    for other in needed
                    if other not in value
                )
        for name, node in self.schema_dependencies.items():
            failure = node.check(value) if name in value else None
            if failure is not None:
                found.append(failure)
        for pattern, node in self.patterns:
            matches = pattern_test(pattern)
            for name in java.hash_order(filter(matches, value)):
                _add(found, node.check(value[name]), name)
        return together(found)

    def _check_further(
        self, value: dict[str, Any], further: "bool | Node", found: list[Failure]
    ) -> None:
        tests = [pattern_test(pattern) for pattern, _ in self.patterns]
        names = {
            name
            for name in value
            if name not in self.properties and not any(test(name) for test in tests)
        }
        # The order comes from the whole object's HashMap, whose size all its keys decide.
        ordered = java.hash_order(value) if len(names) > 1 else names
        for name in ordered:
            if name in names:
                if isinstance(further, bool):
                    found.append(Failure(f"extraneous key [{name}] is not permitted"))
                else:
                    _add(found, further.check(value[name]), name)

    def plain(self, into: Plain) -> Schema:
        """Keyword by keyword."""
        schema: Schema = {"type": "object"} if self.typed else {}
        if self.properties:
            schema["properties"] = {
                name: node.plain(into) for name, node in self.properties.items()
            }
        if self.further is not True:
            further = self.further
            schema["additionalProperties"] = (
                further if isinstance(further, bool) else further.plain(into)
            )
        if self.required:
            schema["required"] = list(dict.fromkeys(self.required))
        if self.size_min is not None:
            schema["minProperties"] = self.size_min
        if self.size_max is not None:
            schema["maxProperties"] = self.size_max
        if self.patterns:
            schema["patternProperties"] = {
                pattern: node.plain(into) for pattern, node in self.patterns
            }
        dependencies: Schema = {
            name: list(dict.fromkeys(needed))
            for name, needed in self.key_dependencies.items()
            if needed
        }
        for name, node in self.schema_dependencies.items():
            dependencies[name] = node.plain(into)
        if dependencies:
            schema["dependencies"] = dependencies
        return schema

    def alike(self) -> Sequence[Node]:
        """Schemas of dependencies."""
        return [*self.schema_dependencies.values()]

    def inside(self) -> Sequence[Node]:
        """What values must be."""
        nodes = [*self.properties.values(), *(node for _, node in self.patterns)]
        return nodes if isinstance(self.further, bool) else [*nodes, self.further]


def _add(found: list[Failure], failure: Failure | None, name: str) -> None:
    if failure is not None:
        found.append(failure.inside(name))
