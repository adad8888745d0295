"""The nodes of a loaded schema, which explain what is wrong with a value.

`check` returns a failure or None. `to_draft4` returns a draft 4 schema for the fast validator,
which knows nothing of nodes. That schema must refuse whatever `check` refuses; a node that cannot
express itself so calls `Draft4Builder.mark_inexact` instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from treadle.records.json_decoder import HugeNumber
from treadle.records.validation import java_format
from treadle.records.validation.effort import ENDLESS, Effort
from treadle.records.validation.failure import ValidationFailure
from treadle.records.validation.string_pattern import StringPattern

Schema = dict[str, Any]


class Draft4Builder:
    """Collects the parts of one schema for the fast validator.

    Attributes:
        is_exact: whether an acceptance by the fast validator can be trusted.
        pattern_states: of all patterns, which are compiled once more.
        definitions: schemas of references, by number.
    """

    def __init__(self) -> None:
        self.is_exact = True
        self.pattern_states = 0
        self.definitions: Schema = {}
        self._numbers: dict[int, str] = {}

    def mark_inexact(self) -> Schema:
        """Note that the fast validator cannot check this; return a placeholder."""
        self.is_exact = False
        return {}

    def add_pattern(self, pattern: StringPattern) -> str:
        """Return the text of a pattern; the fast validator is not trusted with a slow one.

        If it gives up on a string, it says that the string does not match.
        """
        self.is_exact = self.is_exact and pattern.one_pass
        self.pattern_states += pattern.states
        return pattern.text

    def add_reference(self, target: "SchemaNode") -> Schema:
        """Return a reference to a node's schema, which may contain itself."""
        number = self._numbers.get(id(target))
        if number is None:
            number = self._numbers[id(target)] = str(len(self._numbers))
            self.definitions[number] = target.to_draft4(self)
        return {"$ref": f"#/definitions/{number}"}


class SchemaNode(ABC):
    """A part of a loaded schema."""

    __slots__ = ()

    @abstractmethod
    def check(self, value: Any, effort: Effort = ENDLESS) -> ValidationFailure | None:
        """Return what is wrong with a value; None if nothing is.

        Raises:
            EffortSpentError: nothing is left to find out.
            PatternError: a pattern takes too many steps for one string.
        """

    @abstractmethod
    def to_draft4(self, into: Draft4Builder) -> Schema:
        """Return the same schema for the fast validator."""

    def same_value_nodes(self) -> Sequence["SchemaNode"]:
        """Return the inner nodes that check the same value."""
        return ()

    def part_nodes(self) -> Sequence["SchemaNode"]:
        """Return the inner nodes that check a part of the value."""
        return ()


def make_type_failure(expected: str, value: Any) -> ValidationFailure:
    """Make the failure of a value that has another type than expected."""
    return ValidationFailure(
        f"expected type: {expected}, found: {java_format.get_type_name(value)}"
    )


_INTEGER_BITS = 60
"""Integers of fewer bits are their own hashes. A client could choose many larger ones that have the
same hash."""


def make_identity(value: Any, effort: Effort = ENDLESS) -> Any:
    """Return a hashable, equal for values that Java finds deeply equal: 1 is not 1.0 or true.

    Raises:
        EffortSpentError: the value has more parts than that.
    """
    kind = type(value)
    if kind is str or value is None or kind is float or kind is bool:
        return kind, value
    if kind is int:
        return kind, value if value.bit_length() <= _INTEGER_BITS else str(value)
    effort.spend(1 + len(value) if kind is dict or kind is list else 1)
    if kind is dict:
        return kind, frozenset(
            (name, make_identity(inner, effort)) for name, inner in value.items()
        )
    if kind is list:
        return kind, tuple(make_identity(inner, effort) for inner in value)
    if kind is HugeNumber:
        sign, digits, _ = value.as_tuple()
        return kind, sign, bytes(digits).rstrip(b"\0"), value.adjusted()
    return kind, value
