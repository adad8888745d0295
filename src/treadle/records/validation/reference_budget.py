"""Limit of the work that a schema's references may cause.

References let a small schema check the same value again and again: thirty definitions that each
name the next one twice check it a thousand million times. So a schema that unrolls to too many
nodes is never given to the fast validator, which cannot be stopped, and its nodes count their
steps.
"""

from math import inf

UNROLLED_MAX = 100_000
"""Most nodes, with a copy for every reference, of a schema that the fast validator may get."""

_STEPS_PER_REQUEST = 100_000
_STEPS_PER_BYTE = 4


class BudgetExceededError(Exception):
    """All steps are used."""


class ReferenceBudget:
    """The steps through references that the records of one request may take."""

    __slots__ = ("steps_left",)

    def __init__(self) -> None:
        self.steps_left: float = inf

    def begin_request(self, size: int) -> None:
        """Begin a request with so many bytes of records."""
        self.steps_left = _STEPS_PER_REQUEST + _STEPS_PER_BYTE * size

    def spend_step(self) -> None:
        """Take one step.

        Raises:
            BudgetExceededError: no step was left.
        """
        self.steps_left -= 1
        if self.steps_left < 0:
            raise BudgetExceededError
