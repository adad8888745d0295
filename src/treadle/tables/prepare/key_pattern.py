"""Regular expressions of `patternProperties`, matched with the keys of records."""

from typing import TYPE_CHECKING, Final

from treadle.records.validation.effort import Effort, EffortSpentError

if TYPE_CHECKING:
    from treadle.records.validation.string_pattern import StringPattern

COMPILED_UNITS_MAX: Final = 100_000
"""Effort for all expressions of a schema: about a tenth of a second and 20 MB."""

_MATCHED_UNITS_MAX: Final = 1_000
"""Effort for one key: less than a millisecond."""


class KeyPattern:
    """An expression as the check of a batch understands it (ECMA 262), compiled at first use.

    One that takes too much matches nothing: its keys are typed by value.
    """

    __slots__ = ("_compiled", "_effort", "_text")

    def __init__(self, text: str, effort: Effort) -> None:
        """Take an expression.

        Args:
            text: as sent.
            effort: what is left for the expressions of its schema.
        """
        self._text: str | None = text
        self._effort = effort
        self._compiled: StringPattern | None = None  # and also where it takes too much

    def matches(self, key: str) -> bool:
        """Return whether a key matches somewhere."""
        # The engine takes 5 MB and a start of a process 30 ms, for a keyword that is rare.
        from treadle.records.validation.string_pattern import PatternError, StringPattern

        try:
            if self._text is not None:
                text, self._text = self._text, None
                self._compiled = StringPattern(text, self._effort)
            return self._compiled is not None and self._compiled.matches(
                key, Effort(_MATCHED_UNITS_MAX)
            )
        except (PatternError, EffortSpentError):
            return False
