"""The head of a request as a template for the heads after it."""

import re
from typing import Final, NamedTuple, Self

HEAD_BYTES_MAX: Final = 4096
"""Longest head that is remembered, once for each connection."""

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})(?=[ \t]*\r\n)", re.IGNORECASE)


class HeadTemplate(NamedTuple):
    """The bytes of a request's head around the digits that state the length of its body.

    Attributes:
        before: from the request line to the digits.
        after: from the digits to the empty line, with it.
    """

    before: bytes
    after: bytes

    @classmethod
    def from_request(cls, received: bytes) -> Self | None:
        """Return the template of a request that a parser has taken.

        Args:
            received: its head, and of its body what is there.

        Returns:
            None where the head is long, where it has no Content-Length or more than one, or where
            something follows the body.
        """
        end = received.find(_HEAD_END, 0, HEAD_BYTES_MAX) + len(_HEAD_END)
        if end < len(_HEAD_END):
            return None
        lengths = list(_LENGTH.finditer(received, 0, end))
        if len(lengths) != 1 or end + int(lengths[0][1]) < len(received):
            return None
        length = lengths[0]
        return cls(received[: length.start(1)], received[length.end(1) : end])

    def locate_body(self, received: bytes) -> tuple[int, int] | None:
        """Return where the body of a request with this head begins and ends.

        Returns:
            None where the head is another. The end may lie beyond what was received, or before the
            end of it.
        """
        if not received.startswith(self.before):
            return None
        start = len(self.before)
        end = received.find(b"\r", start, start + 10)
        digits = received[start:end]
        # Where nothing was found `digits` is long or empty, and what follows is not there.
        if not received.startswith(self.after, end) or not digits.isdigit():
            return None
        begin = end + len(self.after)
        return begin, begin + int(digits)

    def is_head_of(self, received: bytes) -> bool:
        """Return whether the bytes are one whole request with this head."""
        place = self.locate_body(received)
        return place is not None and place[1] == len(received)
