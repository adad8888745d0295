"""What a sender sent ahead: what came before the answer to its last request."""

from collections import deque
from typing import Final

AHEAD_PIECE_BYTES: Final = 16 * 1024
"""What is sent ahead is kept in pieces, because what follows a request is copied out of its
piece."""


class AheadQueue(deque[bytes]):
    """The pieces that came ahead, oldest first.

    It is a deque so that the question whether anything is there, which every answer asks, calls no
    method. What changes it are the methods below, which keep its size.

    Attributes:
        size: bytes of all pieces.
        is_cut: pieces were dropped.
    """

    __slots__ = ("is_cut", "size")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.is_cut = False

    def add(self, data: bytes) -> None:
        """Keep what came after everything else."""
        self.append(data)
        self.size += len(data)

    def put_back(self, rest: bytes) -> None:
        """Keep what came with a request, before what came later."""
        pieces = range(0, len(rest), AHEAD_PIECE_BYTES)
        self.extendleft(rest[at : at + AHEAD_PIECE_BYTES] for at in reversed(pieces))
        self.size += len(rest)

    def take(self) -> bytes:
        """Return the first piece, or everything where that is little; keep the rest."""
        if self.size <= AHEAD_PIECE_BYTES:
            data = b"".join(self)
            self.clear()
        else:
            data = self.popleft()
        self.size -= len(data)
        return data

    def drop(self) -> None:
        """Keep nothing of it."""
        if self:
            self.clear()
            self.size = 0
            self.is_cut = True
