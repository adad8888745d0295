"""The cases that are not for a destination, and why."""

from collections.abc import Mapping
from typing import Final

_REPLACED: Final = "a row takes the place of another one"
_REMOVED: Final = "rows are removed"
_VERSIONS: Final = "a table version waits for its activation, and replaces the one before"
_STATEMENT: Final = "a user changes a table by SQL"
_WIDENED: Final = "a column changes its type in place"

_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    _REPLACED: (
        *("L02", "L03", "L04", "L07", "L34", "L37", "L71", "L74", "L93"),
        *("M07", "M08", "M10", "M13", "M15"),
    ),
    _REMOVED: ("L72", "M27", "M44"),
    _VERSIONS: (
        *("L83", "L86", "L87", "L89", "L91"),
        *("M55", "M56", "M57", "M58", "M59", "M70", "M75"),
    ),
    _STATEMENT: ("L13", "L48", "L49", "L50", "M50", "M52", "M67"),
    _WIDENED: ("M19", "M20"),
}

LEFT_OUT: Final[Mapping[str, Mapping[str, str]]] = {
    "files": {number: reason for reason, numbers in _FILES.items() for number in numbers}
}
"""Destination -> number of a case -> the reason. What files do in their place is in the cases of
`append_only.json`."""
