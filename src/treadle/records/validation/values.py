"""Nodes for values without parts: strings, numbers, true, false and null, and `enum`."""

from dataclasses import dataclass, field
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from treadle.records.validation import java
from treadle.records.validation.failure import Failure, together
from treadle.records.validation.formats import FORMATS, format_test, pattern_test
from treadle.records.validation.node import Leaf, Plain, Schema, identity, mistyped


class Anything(Leaf):
    """An empty schema, or one that holds no keyword that is known."""

    def check(self, value: Any) -> Failure | None:
        """Nothing is wrong."""
        return None

    def plain(self, into: Plain) -> Schema:
        """Accept everything."""
        return {}


class Null(Leaf):
    """`type: null`."""

    def check(self, value: Any) -> Failure | None:
        """Anything but null is wrong; the text lacks the word "type"."""
        if value is None:
            return None
        return Failure(f"expected: null, found: {java.type_name(value)}")

    def plain(self, into: Plain) -> Schema:
        """Its type."""
        return {"type": "null"}


class Boolean(Leaf):
    """`type: boolean`."""

    def check(self, value: Any) -> Failure | None:
        """Anything but true and false is wrong."""
        return None if type(value) is bool else mistyped("Boolean", value)

    def plain(self, into: Plain) -> Schema:
        """Its type."""
        return {"type": "boolean"}


@dataclass(slots=True)
class Text(Leaf):
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
            return mistyped("String", value) if self.typed else None
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
class Number(Leaf):
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
            return mistyped("Number", value) if self.typed else None
        if self.integer and name == "Double":
            return mistyped("Integer", value)
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
class Enum(Leaf):
    """`enum`; a `type` beside it counts for nothing."""

    values: list[Any]
    _identities: set[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._identities = {identity(value) for value in self.values}

    def check(self, value: Any) -> Failure | None:
        """A value that is not in the list is wrong."""
        if identity(value) in self._identities:
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
