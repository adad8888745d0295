"""The order of columns in which people read a table. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

OWN_PREFIX: Final = "_sdc_"
"""How the columns begin that treadle adds."""


def order_columns(columns: Sequence[str], keys: Collection[str]) -> list[int]:
    """Return the places of the columns of a whole table as a person reads them.

    Those of the key come first, those that treadle adds come last, the others stay as they are.
    """

    def rank(place: int) -> int:
        name = columns[place]
        return 0 if name in keys else 2 if name.lower().startswith(OWN_PREFIX) else 1

    return sorted(range(len(columns)), key=rank)
