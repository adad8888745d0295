"""The units of tables, kept so that nobody computes one twice."""

from collections.abc import Callable
from typing import Final

from treadle.loader.schedule import TableKey
from treadle.loader.share import name_unit
from treadle.log.slots import compute_slot

NAMES_MAX: Final = 100_000
"""Tables whose units are kept in memory."""


class UnitNames:
    """The units of the tables of all logs; any thread may ask.

    Args:
        get_number: returns the log number of a source.
    """

    def __init__(self, get_number: Callable[[int], int]) -> None:
        self._get_number = get_number
        self._known: dict[TableKey, str] = {}

    def get_unit(self, key: TableKey) -> str:
        """Return the unit of a table, where its destination is none itself."""
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= NAMES_MAX:
                self._known = {}
            found = name_unit(self._get_number(key[0]), compute_slot(*key))
            self._known[key] = found
        return found
