"""Texts of treadle's own in columns that hold no more than some bytes.

The entry of a table with a thousand columns is longer than a column of Redshift takes. It says much
the same of each column, so it is a tenth as long when it is compressed.
"""

import base64
import zlib
from typing import Final

PREFIX: Final = "deflate:"
"""What a packed text begins with; the texts of treadle begin with a bracket or are empty."""


def pack_text(text: str, bytes_max: int | None) -> str:
    """Return a text of treadle's own as a column holds it: as it is, unless that is too long."""
    if bytes_max is None or len(text) * 4 <= bytes_max or len(text.encode()) <= bytes_max:
        return text
    return PREFIX + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack_text(held: str) -> str:
    """Return the text that `pack_text` was given."""
    if not held.startswith(PREFIX):
        return held
    return zlib.decompress(base64.b64decode(held.removeprefix(PREFIX))).decode()
