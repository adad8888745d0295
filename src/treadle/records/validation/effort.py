"""The effort that one request may cause: spent by every step, and empty at some point.

A small schema can ask for any amount of work: references that name each other, patterns that are
slow to compile, ten thousand alternatives for each of a thousand records. So every node of a schema
that is loaded, every node that checks a value, every pattern that is compiled or matched and every
part of a value that is compared spends units, before it is done. One unit is less than a
microsecond of Python code.
"""

from math import inf
from typing import Final

UNROLLED_MAX: Final = 100_000
"""Most nodes, with a copy for every reference, of a schema that the fast validator may get."""

UNITS_PER_LOADED_NODE: Final = 8
"""Units for loading a node of a schema. It takes eight times as long as checking a value by it."""

STATES_PER_UNIT: Final = 1
"""States of a regular expression that are compiled in one unit."""

STEPS_PER_UNIT: Final = 64
"""Steps of a regular expression, one for each of its states and each byte of a text, in one
unit."""

INLINE_UNITS: Final = 30_000
"""Effort of a request that is checked where other requests wait: about twenty milliseconds."""

UNITS_PER_FAILURE: Final = 3
"""Units for keeping a failure. Keeping it takes three times as long as finding it."""

# The effort of a request, and the bytes of its body that add one unit (import-api.md 10.8).
_REQUEST_UNITS: Final = 2_000_000
_BYTES_PER_UNIT: Final = 2


class EffortSpentError(Exception):
    """All effort of a request is spent."""


class Effort:
    """The effort of one request, and the units of it that are left.

    Attributes:
        units_left: below zero when the effort is spent.
        is_inline: other requests wait during the check. A task process can do the same check, so
            a step is begun here only if it is certain to end within the units that are left.
    """

    __slots__ = ("is_inline", "units_left")

    def __init__(self, units: float = inf, *, is_inline: bool = False) -> None:
        """Begin with so many units."""
        self.units_left = units
        self.is_inline = is_inline

    def spend(self, units: float = 1) -> None:
        """Spend units before the work that they stand for is done.

        Raises:
            EffortSpentError: there were fewer left.
        """
        self.units_left -= units
        if self.units_left < 0:
            raise EffortSpentError

    def try_spend(self, units: float) -> bool:
        """Spend units for work that could be done in another way; return whether they were left.

        Raises:
            EffortSpentError: they were not, and nothing slower is to be tried here.
        """
        if units <= self.units_left:
            self.units_left -= units
            return True
        if self.is_inline:
            raise EffortSpentError
        return False


ENDLESS: Final = Effort()
"""For schemas and values of our own."""


def make_inline_effort() -> Effort:
    """Return the effort of a request that is checked where other requests wait."""
    return Effort(INLINE_UNITS, is_inline=True)


def make_request_effort(size: int) -> Effort:
    """Return the effort of a request of `size` bytes, where it delays nobody else."""
    return Effort(_REQUEST_UNITS + size // _BYTES_PER_UNIT)
