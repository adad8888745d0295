"""The names of the loader processes of a server."""

from typing import Final

FIRST_LOADER: Final = "loader"
"""The one that also does what a server does once."""


def name_loader(number: int) -> str:
    """Return the name of a loader by its number, from 1."""
    return FIRST_LOADER if number == 1 else f"{FIRST_LOADER} {number}"
