"""How much work a schema may make of a value.

References let a small schema ask the same value again and again: thirty definitions that each name
the next one twice ask it a thousand million times. So a schema that unrolls to too much is never
given to the fast validator, which cannot be stopped, and its nodes count their steps.
"""

from math import inf

UNROLLED_MAX = 100_000
"""Most nodes a schema may have, with a copy for every reference, to be worth the fast validator."""

_STEPS = 100_000
_STEPS_A_BYTE = 4


class Exhausted(Exception):  # noqa: N818 - says what happened to the effort
    """The steps are used up."""


class Effort:
    """Steps through references that the records of one request may take."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: float = inf

    def allow(self, size: int) -> None:
        """Begin a request with so many bytes of records."""
        self.left = _STEPS + _STEPS_A_BYTE * size

    def spend(self) -> None:
        """Take one step.

        Raises:
            Exhausted: it was one too many.
        """
        self.left -= 1
        if self.left < 0:
            raise Exhausted
