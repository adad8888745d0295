"""The names of units: what kind of work one is, and of what.

The store keeps names as they are. Who takes units makes names, and who shows them reads them.
"""

from dataclasses import dataclass
from typing import Final

LOG_UNITS: Final = "log"
"""Units that are a slot of a log."""

EXCLUSIVE_UNITS: Final = "exclusive"
"""Units that are a destination that one process at a time can open."""

COURIER_UNITS: Final = "couriers"
"""The unit of whoever sends hooks and mails."""


@dataclass(frozen=True, slots=True)
class UnitName:
    """The name of a unit, read.

    Attributes:
        kind: the first word of the name.
        number: of the log, or the id of the destination.
        slot: of the log; None for a unit of another kind.
    """

    kind: str
    number: int
    slot: int | None = None


def parse_unit_name(unit: str) -> UnitName | None:
    """Return what a unit is by its name; None for a name of a form that is not known here."""
    kind, _, rest = unit.partition(":")
    parts = rest.split(":")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if kind == LOG_UNITS and len(numbers) == 2:
        return UnitName(kind, numbers[0], numbers[1])
    return UnitName(kind, numbers[0]) if len(numbers) == 1 else None
