"""The lease of a destination: the right of one loader to load into it.

A lease comes with a fence, a number that grows with each new holder. The destination refuses an
offset with a lower fence than the one it holds, so a loader that slept through the end of its lease
commits nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from treadle.errors import RetriableError
from treadle.store.store import Store

LEASE_DURATION_US: Final = 30_000_000
"""A loader that does not renew its lease keeps others waiting this long."""

LEASE_RENEWAL_US: Final = 10_000_000
"""A lease that is used is renewed after this time."""


@dataclass(slots=True)
class DestinationLease:
    """One loader's lease of one destination.

    Attributes:
        store: keeps the leases.
        destination_id: of the destination.
        place: the same text for loaders of which only one can run, such as those of one data
            folder: the next of them takes over at once.
        holder: a text that no other loader has.
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
        """Return the fence for offsets; take or renew the lease if it is time to.

        Raises:
            RetriableError: another loader holds the lease.
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
        """Ask for the lease again before the next load, because another loader has it."""
        self._fence = 0
