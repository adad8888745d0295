"""Regular expressions of a schema: compiled and matched within the effort of a request."""

from collections.abc import Callable
from typing import Any, Final

import jsonschema_rs

from treadle.records.validation.effort import (
    STATES_PER_UNIT,
    STEPS_PER_UNIT,
    Effort,
    EffortSpentError,
)
from treadle.records.validation.pattern_cost import measure_pattern

BACKTRACK_LIMIT: Final = 50_000
"""Steps of backtracking that the engine may take for one value: about a millisecond."""

COMPILED_BYTES_MAX: Final = 10 * 1024 * 1024
"""Most memory of one compiled expression, as the engine counts it."""

SCRATCH_BYTES_MAX: Final = 1024 * 1024
"""Most memory that the engine keeps between two matches of one expression."""

PATTERN_OPTIONS: Final = jsonschema_rs.FancyRegexOptions(
    backtrack_limit=BACKTRACK_LIMIT,
    size_limit=COMPILED_BYTES_MAX,
    dfa_size_limit=SCRATCH_BYTES_MAX,
)

_TRYING_UNITS: Final = 100
"""Units for a match by trying. It takes between 1 and 2,000, which cannot be known before."""

_LARGE_STATES: Final = 10_000
"""From here on, the size may be the reason for which the engine refuses an expression."""


class PatternError(Exception):
    """An expression cannot be used; `str(error)` says why."""


class StringPattern:
    """A compiled regular expression.

    Attributes:
        text: as sent.
        states: at most so many, up to a small factor.
        one_pass: a match takes states times bytes at most.
    """

    __slots__ = ("_is_valid", "_validate", "one_pass", "states", "text")

    def __init__(self, text: str, effort: Effort) -> None:
        """Compile an expression of ECMA 262.

        Raises:
            PatternError: it is none, or too large.
            EffortSpentError: to compile it would take too long.
        """
        self.text = text
        self.states, self.one_pass = measure_pattern(text)
        effort.spend(len(text) + self.states // STATES_PER_UNIT)
        try:
            validator = jsonschema_rs.Draft4Validator(
                {"pattern": text}, pattern_options=PATTERN_OPTIONS
            )
        except (jsonschema_rs.ValidationError, ValueError) as error:
            large = ", or one that is too large" if self.states > _LARGE_STATES else ""
            raise PatternError(f"{text} is not a regular expression of ECMA 262{large}") from error
        self._is_valid: Callable[[Any], bool] = validator.is_valid
        self._validate: Callable[[Any], None] = validator.validate

    def matches(self, text: str, effort: Effort) -> bool:
        """Return whether a string matches somewhere.

        Raises:
            PatternError: to find that out would take too many steps.
            EffortSpentError: nothing is left for it; always for a match by trying where other
                requests wait.
        """
        if effort.is_inline and not self.one_pass:
            raise EffortSpentError
        effort.spend(self.measure_match(len(text)))
        if self._is_valid(text):
            return True
        if not self.one_pass:
            self._check_limit(text)
        return False

    def measure_match(self, length: int) -> int:
        """Return the units of a match with a text of so many characters."""
        units = 1 + self.states * length // STEPS_PER_UNIT
        return units if self.one_pass else units + _TRYING_UNITS

    def _check_limit(self, text: str) -> None:
        """Tell a string that does not match from one that the engine gave up."""
        try:
            self._validate(text)
        except jsonschema_rs.ValidationError as error:
            if not isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Pattern):
                raise PatternError(
                    f"{self.text} takes more than {BACKTRACK_LIMIT:,} steps for one value"
                ) from error
