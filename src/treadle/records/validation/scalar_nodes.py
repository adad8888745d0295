"""Nodes for values without parts: strings, numbers, true, false and null, and `enum`."""

from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from treadle.records.json_decoder import HugeNumber
from treadle.records.validation import java_format
from treadle.records.validation.effort import ENDLESS, STEPS_PER_UNIT, Effort
from treadle.records.validation.failure import ValidationFailure, combine_failures
from treadle.records.validation.formats import FORMAT_STATES, FORMATS, get_format_test
from treadle.records.validation.schema_node import (
    Draft4Builder,
    Schema,
    SchemaNode,
    make_identity,
    make_type_failure,
)
from treadle.records.validation.string_pattern import StringPattern


class EmptyNode(SchemaNode):
    """An empty schema, or one without any known keyword."""

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Find nothing wrong."""
        effort.spend()
        return None

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Accept everything."""
        return {}


class NullNode(SchemaNode):
    """`type: null`."""

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Find anything but null wrong; the text lacks the word "type", as in the original."""
        effort.spend()
        if value is None:
            return None
        return ValidationFailure(f"expected: null, found: {java_format.get_type_name(value)}")

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Return the type."""
        return {"type": "null"}


class BooleanNode(SchemaNode):
    """`type: boolean`."""

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Find anything but true and false wrong."""
        effort.spend()
        return None if type(value) is bool else make_type_failure("Boolean", value)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Return the type."""
        return {"type": "boolean"}


@dataclass(slots=True)
class StringNode(SchemaNode):
    """Strings.

    Attributes:
        typed: other types are wrong; otherwise they pass.
    """

    typed: bool
    length_min: int | None = None
    length_max: int | None = None
    pattern: StringPattern | None = None
    format: str | None = None

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Check length, pattern and format, in this order."""
        effort.spend()
        if type(value) is not str:
            return make_type_failure("String", value) if self.typed else None
        found = []
        length = len(value)
        if self.length_min is not None and length < self.length_min:
            found.append(
                ValidationFailure(f"expected minLength: {self.length_min}, actual: {length}")
            )
        if self.length_max is not None and length > self.length_max:
            found.append(
                ValidationFailure(f"expected maxLength: {self.length_max}, actual: {length}")
            )
        if self.pattern is not None and not self.pattern.matches(value, effort):
            text = self.pattern.text
            found.append(ValidationFailure("string [", value, "] does not match pattern ", text))
        if self.format is not None:
            effort.spend(length * FORMAT_STATES // STEPS_PER_UNIT)
            if not get_format_test(self.format)(value):
                noun = FORMATS[self.format].noun
                found.append(ValidationFailure("[", value, "] is not a valid ", noun))
        return combine_failures(found)

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate keyword by keyword."""
        schema: Schema = {"type": "string"} if self.typed else {}
        if self.length_min is not None:
            schema["minLength"] = self.length_min
        if self.length_max is not None:
            schema["maxLength"] = self.length_max
        if self.pattern is not None:
            schema["pattern"] = into.add_pattern(self.pattern)
        if self.format is not None:
            schema["allOf"] = [FORMATS[self.format].schema]
        return schema


def _to_decimal(value: Any) -> Decimal:
    return Decimal(value) if isinstance(value, int | Decimal) else Decimal(repr(value))


_DIGITS_PER_UNIT = 16
"""Digits of a long number that are divided in one unit of effort."""


def _measure_division(value: Any) -> int:
    """Return the units of a division, as far as they come from the length of one number."""
    if isinstance(value, HugeNumber):
        return 2 + len(value.literal) // _DIGITS_PER_UNIT
    return 2 + value.bit_length() // (4 * _DIGITS_PER_UNIT) if type(value) is int else 2


# Wide enough for the exact remainder of any two doubles' decimal forms.
_REMAINDER = Context(prec=10_000, Emax=MAX_EMAX, Emin=MIN_EMIN)


@dataclass(slots=True)
class NumberNode(SchemaNode):
    """Numbers.

    Attributes:
        typed: other types are wrong; otherwise they pass.
        integer: a literal with a fraction or an exponent is wrong, `1.0` too.
    """

    typed: bool
    integer: bool = False
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Return the first failure of: type, minimum, maximum, multipleOf."""
        effort.spend()
        name = java_format.get_type_name(value)
        if name not in ("Integer", "Long", "BigInteger", "Double"):
            return make_type_failure("Number", value) if self.typed else None
        if self.integer and name == "Double":
            return make_type_failure("Integer", value)
        if self.minimum is not None:
            if self.exclusive_minimum and value <= self.minimum:
                return self._make_failure(value, "higher than", self.minimum)
            if value < self.minimum:
                return self._make_failure(value, "higher or equal to", self.minimum)
        if self.maximum is not None:
            if self.exclusive_maximum and value >= self.maximum:
                return self._make_failure(value, "lower than", self.maximum)
            if value > self.maximum:
                return self._make_failure(value, "lower or equal to", self.maximum)
        if self.multiple_of is not None:
            effort.spend(_measure_division(value) + _measure_division(self.multiple_of))
            if not self._is_multiple(value, self.multiple_of):
                return self._make_failure(value, "a multiple of", self.multiple_of)
        return None

    @staticmethod
    def _make_failure(value: Any, relation: str, bound: float) -> ValidationFailure:
        return ValidationFailure(
            java_format.format_double(value),
            f" is not {relation} ",
            java_format.format_number(bound),
        )

    @staticmethod
    def _is_multiple(value: Any, multiple: float) -> bool:
        # The decimal forms decide: 0.07 is a multiple of 0.01 though their doubles are not.
        number = _to_decimal(value)
        if number.is_zero() or number.adjusted() > _REMAINDER.prec // 2:
            return True
        return _REMAINDER.remainder(number, _to_decimal(multiple)).is_zero()

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate keyword by keyword."""
        schema: Schema = {}
        if self.typed:
            schema["type"] = "integer" if self.integer else "number"
        if self.minimum is not None:
            schema["minimum"] = self.minimum
            schema["exclusiveMinimum"] = self.exclusive_minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
            schema["exclusiveMaximum"] = self.exclusive_maximum
        if self.multiple_of is not None:
            schema["multipleOf"] = self.multiple_of
        return schema


class EnumNode(SchemaNode):
    """`enum`; a `type` beside it counts for nothing.

    Attributes:
        values: as sent.
    """

    __slots__ = ("_identities", "values")

    def __init__(self, values: list[Any], effort: Effort = ENDLESS) -> None:
        self.values = values
        self._identities = {make_identity(value, effort) for value in values}

    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Find a value wrong that is not in the list."""
        effort.spend()
        if make_identity(value, effort) in self._identities:
            return None
        return ValidationFailure(value, " is not a valid enum value")

    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Translate strings, null, booleans and integers; numbers in containers are inexact."""
        integers = [value for value in self.values if type(value) is int]
        simple = [value for value in self.values if value is None or type(value) in (str, bool)]
        if len(integers) + len(simple) < len(self.values):
            return into.mark_inexact()
        # To the fast validator 1 and 1.0 are equal, but only 1 is an integer to it.
        parts: list[Schema] = []
        if simple:
            parts.append({"enum": [*dict.fromkeys(simple)]})
        if integers:
            distinct = {make_identity(value): value for value in integers}
            parts.append({"type": "integer", "enum": [*distinct.values()]})
        return {"anyOf": parts}
