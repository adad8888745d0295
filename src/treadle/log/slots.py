"""Slots: the parts into which the tables of a log are divided, so that loaders can share them."""

import hashlib
from typing import Final

SLOTS: Final = 64

_UPPER: Final = bytes(range(ord("A"), ord("Z") + 1))
_FOLD: Final = bytes.maketrans(_UPPER, _UPPER.lower())


def compute_slot(source_id: int, table_name: str) -> int:
    """Return the slot of a table, 0 to 63.

    Names that differ only in the case of ASCII letters have one slot: they may become one table in
    a destination.
    """
    folded = table_name.encode().translate(_FOLD)
    digest = hashlib.blake2b(b"%d\0" % source_id + folded).digest()
    return int.from_bytes(digest[:2], "big") % SLOTS
