"""A body that arrives in pieces, on its way to `express`."""

from collections.abc import Callable
from typing import Final

from treadle.ingest.body_memory import UNCOUNTED_BYTES_MAX, BodyMemoryBudget
from treadle.ingest.fastpath.handler import RequestHead

ARRIVAL_SECONDS: Final = 1.0
"""How long a body may take to arrive and still go the short way. The long way has all the patience
that is promised to slow senders, and begins to count it then."""


class BodyBuffer:
    """What is there of a request whose head is known.

    Attributes:
        told: by the head.
        missing: bytes that are still to come; below 0 when more came than belongs to the body.
    """

    __slots__ = (
        "_counted",
        "_due",
        "_head",
        "_held",
        "_late",
        "_pieces",
        "_room",
        "missing",
        "told",
    )

    def __init__(
        self,
        told: RequestHead,
        head: bytes,
        length: int,
        room: BodyMemoryBudget,
        late: Callable[[], None],
    ) -> None:
        """Nothing of the body is there yet.

        Args:
            told: by the head.
            head: of the request, as received.
            length: of the body, in bytes.
            room: counts what is in memory of bodies that are not small.
            late: called when the body takes too long.
        """
        self.told = told
        self._head = head
        self._room = room
        self._late = late
        self._pieces: list[bytes] = []
        self._counted = length > UNCOUNTED_BYTES_MAX
        self._held = 0
        self._due: float | None = None
        self.missing = length

    def add(self, piece: bytes) -> None:
        """Keep what came.

        Raises:
            TryLater: there is no room for it; it is kept all the same, for whoever says so.
        """
        self._pieces.append(piece)
        self.missing -= len(piece)
        if self._counted:
            self._room.reserve(len(piece))
            self._held += len(piece)

    def release(self) -> tuple[bytes, bytes]:
        """The head and what is there of the body; its bytes count no more."""
        self._room.release(self._held)
        self._held = 0
        return self._head, b"".join(self._pieces)

    def look(self, now: float) -> bool:
        """Say so if it is late; whether it is. Time counts from the first look."""
        if self._due is None:
            self._due = now + ARRIVAL_SECONDS
        late = now >= self._due
        if late:
            self._late()
        return late
