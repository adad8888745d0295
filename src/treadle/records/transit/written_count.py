"""The size of what the cache codes of a Transit body stand for, counted while it is read.

A code of two characters may stand for a string of any length. A string is in memory once, however
many codes stand for it; but the log keeps every record written out.
"""

from treadle.records.limits import WRITTEN_BYTES_MAX
from treadle.records.transit.scalars import MalformedTransitError


class WrittenCount:
    """Counts the bytes that the codes of one body stand for.

    Attributes:
        size: the count so far. Who reads some values a second time sets it back before.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def add(self, size: int) -> None:
        """Count so many bytes.

        Raises:
            MalformedTransitError: they are more than a body may have.
        """
        self.size += size
        if self.size > WRITTEN_BYTES_MAX:
            raise MalformedTransitError(f"more than {WRITTEN_BYTES_MAX} bytes by cache codes")


def measure_text(text: str) -> int:
    """Return the most bytes that a text can have in UTF-8; to count them would take longer."""
    return len(text) if text.isascii() else 4 * len(text)
