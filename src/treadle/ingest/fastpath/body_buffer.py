"""A body that arrives in pieces, for the fast path."""

from collections.abc import Callable
from typing import Final

from treadle.ingest.body_memory import UNCOUNTED_BYTES_MAX, BodyMemoryBudget
from treadle.ingest.fastpath.handler import RequestHead

ARRIVAL_SECONDS: Final = 1.0
"""How long a body may take to arrive and still take the fast path. The endpoints have all the time
that is promised to slow senders, and begin to count it then."""


class BodyBuffer:
    """The part of a request that has arrived; its head is known.

    Attributes:
        head: what the head says.
        missing_bytes: bytes that are still to come; below 0 when more came than belongs to the
            body.
    """

    __slots__ = (
        "_budget",
        "_due",
        "_head_bytes",
        "_held_bytes",
        "_is_counted",
        "_on_late",
        "_pieces",
        "head",
        "missing_bytes",
    )

    def __init__(
        self,
        head: RequestHead,
        head_bytes: bytes,
        length: int,
        budget: BodyMemoryBudget,
        on_late: Callable[[], None],
    ) -> None:
        """Start without anything of the body.

        Args:
            head: what the head says.
            head_bytes: the head as received.
            length: of the body, in bytes.
            budget: counts what is in memory of bodies that are not small.
            on_late: called when the body takes too long.
        """
        self.head = head
        self._head_bytes = head_bytes
        self._budget = budget
        self._on_late = on_late
        self._pieces: list[bytes] = []
        self._is_counted = length > UNCOUNTED_BYTES_MAX
        self._held_bytes = 0
        self._due: float | None = None
        self.missing_bytes = length

    def add(self, piece: bytes) -> None:
        """Keep a piece.

        Raises:
            RetriableError: too much of other bodies is in memory. The piece is kept all the same:
                an endpoint has to read it to say so.
        """
        self._pieces.append(piece)
        self.missing_bytes -= len(piece)
        if self._is_counted:
            self._budget.reserve(len(piece))
            self._held_bytes += len(piece)

    def release(self) -> tuple[bytes, bytes]:
        """Return the head and what is there of the body; its bytes count no more."""
        self._budget.release(self._held_bytes)
        self._held_bytes = 0
        return self._head_bytes, b"".join(self._pieces)

    def check_deadline(self, now: float) -> bool:
        """Report a late body; return whether it is late. Time counts from the first check."""
        if self._due is None:
            self._due = now + ARRIVAL_SECONDS
        late = now >= self._due
        if late:
            self._on_late()
        return late
