"""What a loaded schema is made of: each node explains a value and says itself to a fast validator.

`check` gives a Failure or None. `plain` gives a draft 4 schema that says the same to the fast
validator, which knows nothing of this module; where it could say yes to what `check` refuses, it
calls `Plain.unsure` instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, Protocol

from treadle.records.validation import java
from treadle.records.validation.failure import Failure, together
from treadle.records.validation.formats import FORMATS, format_test, pattern_test

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


class _Leaf:
    """A node without inner nodes that look at the same value."""

    def alike(self) -> Sequence[Node]:
        """None."""
        return ()


def _mistyped(expected: str, value: Any) -> Failure:
    return Failure(f"expected type: {expected}, found: {java.type_name(value)}")


class Anything(_Leaf):
    """An empty schema, or one that holds no keyword that is known."""

    def check(self, value: Any) -> Failure | None:
        """Nothing is wrong."""
        return None

    def plain(self, into: Plain) -> Schema:
        """Accept everything."""
        return {}


class Null(_Leaf):
    """`type: null`."""

    def check(self, value: Any) -> Failure | None:
        """Anything but null is wrong; the text lacks the word "type"."""
        if value is None:
            return None
        return Failure(f"expected: null, found: {java.type_name(value)}")

    def plain(self, into: Plain) -> Schema:
        """Its type."""
        return {"type": "null"}


class Boolean(_Leaf):
    """`type: boolean`."""

    def check(self, value: Any) -> Failure | None:
        """Anything but true and false is wrong."""
        return None if type(value) is bool else _mistyped("Boolean", value)

    def plain(self, into: Plain) -> Schema:
        """Its type."""
        return {"type": "boolean"}


@dataclass(slots=True)
class Text(_Leaf):
    """Strings.

    Attributes:
        typed: other types are wrong; else they pass.
    """

    typed: bool
    length_min: int | None = None
    length_max: int | None = None
    pattern: str | None = None
    format: str | None = None

    def check(self, value: Any) -> Failure | None:
        """Length, pattern and format, in this order."""
        if type(value) is not str:
            return _mistyped("String", value) if self.typed else None
        found = []
        length = len(value)
        if self.length_min is not None and length < self.length_min:
            found.append(Failure(f"expected minLength: {self.length_min}, actual: {length}"))
        if self.length_max is not None and length > self.length_max:
            found.append(Failure(f"expected maxLength: {self.length_max}, actual: {length}"))
        if self.pattern is not None and not pattern_test(self.pattern)(value):
            found.append(Failure(f"string [{value}] does not match pattern {self.pattern}"))
        if self.format is not None and not format_test(self.format)(value):
            found.append(Failure(f"[{value}] is not a valid {FORMATS[self.format].noun}"))
        return together(found)

    def plain(self, into: Plain) -> Schema:
        """Keyword by keyword."""
        schema: Schema = {"type": "string"} if self.typed else {}
        if self.length_min is not None:
            schema["minLength"] = self.length_min
        if self.length_max is not None:
            schema["maxLength"] = self.length_max
        if self.pattern is not None:
            schema["pattern"] = self.pattern
        if self.format is not None:
            schema["allOf"] = [FORMATS[self.format].schema]
        return schema


def _decimal(value: Any) -> Decimal:
    return Decimal(value) if isinstance(value, int | Decimal) else Decimal(repr(value))


# Wide enough for the exact remainder of any two doubles' decimal forms.
_REMAINDER = Context(prec=10_000, Emax=MAX_EMAX, Emin=MIN_EMIN)


@dataclass(slots=True)
class Number(_Leaf):
    """Numbers.

    Attributes:
        typed: other types are wrong; else they pass.
        integer: a literal with a fraction or an exponent is wrong, `1.0` too.
    """

    typed: bool
    integer: bool = False
    least: float | None = None
    greatest: float | None = None
    above: bool = False
    below: bool = False
    multiple: float | None = None

    def check(self, value: Any) -> Failure | None:
        """The first of: type, minimum, maximum, multipleOf."""
        name = java.type_name(value)
        if name not in ("Integer", "Long", "BigInteger", "Double"):
            return _mistyped("Number", value) if self.typed else None
        if self.integer and name == "Double":
            return _mistyped("Integer", value)
        if self.least is not None:
            if self.above and value <= self.least:
                return self._out(value, "higher than", self.least)
            if value < self.least:
                return self._out(value, "higher or equal to", self.least)
        if self.greatest is not None:
            if self.below and value >= self.greatest:
                return self._out(value, "lower than", self.greatest)
            if value > self.greatest:
                return self._out(value, "lower or equal to", self.greatest)
        if self.multiple is not None and not self._divides(value, self.multiple):
            return self._out(value, "a multiple of", self.multiple)
        return None

    @staticmethod
    def _out(value: Any, relation: str, bound: float) -> Failure:
        return Failure(f"{java.double(value)} is not {relation} {java.number(bound)}")

    @staticmethod
    def _divides(value: Any, multiple: float) -> bool:
        # The decimal forms decide: 0.07 is a multiple of 0.01 though their doubles are not.
        number = _decimal(value)
        if number.is_zero() or number.adjusted() > _REMAINDER.prec // 2:
            return True
        return _REMAINDER.remainder(number, _decimal(multiple)).is_zero()

    def plain(self, into: Plain) -> Schema:
        """Keyword by keyword."""
        schema: Schema = {}
        if self.typed:
            schema["type"] = "integer" if self.integer else "number"
        if self.least is not None:
            schema["minimum"] = self.least
            schema["exclusiveMinimum"] = self.above
        if self.greatest is not None:
            schema["maximum"] = self.greatest
            schema["exclusiveMaximum"] = self.below
        if self.multiple is not None:
            schema["multipleOf"] = self.multiple
        return schema


@dataclass(slots=True)
class Array(_Leaf):
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
            return _mistyped("JSONArray", value) if self.typed else None
        found = []
        count = len(value)
        if self.count_min is not None and count < self.count_min:
            text = f"expected minimum item count: {self.count_min}, found: {count}"
            found.append(Failure(text))
        if self.count_max is not None and count > self.count_max:
            text = f"expected maximum item count: {self.count_max}, found: {count}"
            found.append(Failure(text))
        if self.unique and len({_identity(element) for element in value}) < count:
            found.append(Failure("array items are not unique"))
        if self.tuple is not None and self.further is False and count > len(self.tuple):
            found.append(Failure(f"expected: [{len(self.tuple)}] array items, found: [{count}]"))
        for index, element in enumerate(value):
            node = self._node_at(index)
            failure = node.check(element) if node is not None else None
            if failure is not None:
                found.append(failure.inside(str(index)))
        return together(found)

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
            return _mistyped("JSONObject", value) if self.typed else None
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


def _add(found: list[Failure], failure: Failure | None, name: str) -> None:
    if failure is not None:
        found.append(failure.inside(name))


@dataclass(slots=True)
class Enum(_Leaf):
    """`enum`; a `type` beside it counts for nothing."""

    values: list[Any]
    _identities: set[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._identities = {_identity(value) for value in self.values}

    def check(self, value: Any) -> Failure | None:
        """A value that is not in the list is wrong."""
        if _identity(value) in self._identities:
            return None
        return Failure(f"{java.shown(value)} is not a valid enum value")

    def plain(self, into: Plain) -> Schema:
        """Strings, null, booleans and integers; numbers inside containers cannot be told."""
        integers = [value for value in self.values if type(value) is int]
        simple = [value for value in self.values if value is None or type(value) in (str, bool)]
        if len(integers) + len(simple) < len(self.values):
            return into.unsure()
        # To the fast validator 1 and 1.0 are equal, but only 1 is an integer to it.
        parts: list[Schema] = []
        if simple:
            parts.append({"enum": [*dict.fromkeys(simple)]})
        if integers:
            parts.append({"type": "integer", "enum": [*dict.fromkeys(integers)]})
        return {"anyOf": parts}


@dataclass(slots=True)
class Not:
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
class Combined:
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


class Reference:
    """`$ref`; the node it leads to is put in when that is loaded, since it may hold itself."""

    def __init__(self) -> None:
        self.target: Node = Anything()

    def check(self, value: Any) -> Failure | None:
        """What the target says."""
        return self.target.check(value)

    def plain(self, into: Plain) -> Schema:
        """A reference too."""
        return into.reference(self.target)

    def alike(self) -> Sequence[Node]:
        """The target."""
        return (self.target,)


def _identity(value: Any) -> Any:
    """A hashable that is equal for values Java finds deeply equal: 1 is neither 1.0 nor true."""
    if type(value) is dict:
        return dict, frozenset((name, _identity(inner)) for name, inner in value.items())
    if type(value) is list:
        return list, tuple(map(_identity, value))
    return type(value), value
