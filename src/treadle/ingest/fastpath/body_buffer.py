"""A body that arrives in pieces, for the fast path."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from treadle.ingest.body_memory import UNCOUNTED_BYTES_MAX, BodyMemoryBudget
from treadle.ingest.fastpath.handler import RequestHead

ARRIVAL_SECONDS: Final = 1.0
"""How long a body may take to arrive and still take the fast path. The endpoints have all the time
that is promised to slow senders, and begin to count it then."""


@dataclass(slots=True, eq=False)
class BodyBuffer:
    """The part of a request that has arrived; its head is known.

    Attributes:
        head: what the head says.
        head_bytes: the head as received.
        missing_bytes: bytes that are still to come, at first all of the body; below 0 when more
            came than belongs to it.
        budget: counts what is in memory of bodies that are not small.
        source_id: whose body it is.
        on_late: called when the body takes too long.
    """

    head: RequestHead
    head_bytes: bytes
    missing_bytes: int
    budget: BodyMemoryBudget
    source_id: int
    on_late: Callable[[], object]
    _pieces: list[bytes] = field(default_factory=list)
    _is_counted: bool = field(init=False)
    _held_bytes: int = 0
    _due: float | None = None

    def __post_init__(self) -> None:
        self._is_counted = self.missing_bytes > UNCOUNTED_BYTES_MAX

    def add(self, piece: bytes) -> None:
        """Keep a piece.

        Raises:
            RetriableError: the source has its part of the memory. The piece is kept all the same:
                an endpoint has to read it to say so.
        """
        self._pieces.append(piece)
        self.missing_bytes -= len(piece)
        if self._is_counted:
            self.budget.reserve(self.source_id, len(piece))
            self._held_bytes += len(piece)

    def release(self) -> tuple[bytes, bytes]:
        """Return the head and what is there of the body; its bytes count no more."""
        if self._held_bytes:
            self.budget.release(self.source_id, self._held_bytes)
            self._held_bytes = 0
        return self.head_bytes, b"".join(self._pieces)

    def check_deadline(self, now: float) -> bool:
        """Report a late body; return whether it is late. Time counts from the first check."""
        if self._due is None:
            self._due = now + ARRIVAL_SECONDS
        late = now >= self._due
        if late:
            self.on_late()
        return late
