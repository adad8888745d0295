"""The right to load into a destination, renewed while it is used."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from treadle.errors import RetriableError
from treadle.store.store import Store

LEASE_DURATION_US: Final = 30_000_000
"""How long a loader that says nothing keeps others waiting."""

LEASE_RENEWAL_US: Final = 10_000_000
"""How often it is renewed under load."""


@dataclass(slots=True)
class DestinationLease:
    """One loader's lease of one destination.

    Attributes:
        destination_id: which.
        place: the same text for loaders of which only one can run, such as those of one data
            folder: the next of them takes over at once.
        holder: a text no other loader has.
        clock: microseconds since 1970.
    """

    store: Store
    destination_id: int
    place: str
    holder: str
    clock: Callable[[], int]
    _fence: int = 0
    _renew_at: int = 0

    def fence(self) -> int:
        """The number for marks.

        Raises:
            TryLater: another loader holds the lease.
        """
        now = self.clock()
        if not self._fence or now >= self._renew_at:
            found = self.store.leases.take_lease(
                self.destination_id, self.place, self.holder, LEASE_DURATION_US
            )
            if found is None:
                self._fence = 0
                raise RetriableError("another loader loads into it; this one waits for its turn")
            self._fence, self._renew_at = found, now + LEASE_RENEWAL_US
        return self._fence

    def invalidate(self) -> None:
        """Another loader was seen to have it: ask again before the next load."""
        self._fence = 0
