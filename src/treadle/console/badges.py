"""The numbers beside links of the navigation: problems, and rejected records that are open."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from treadle.errors import TreadleError

FRESH_SECONDS: Final = 0.9
"""For how long the numbers of an account are shown without another look."""


@dataclass(slots=True)
class BadgeCounter:
    """Counts for whoever looks, about once a second for an account.

    Attributes:
        monotonic: seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    _counts: dict[int, tuple[float, Mapping[str, int]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, account_id: int) -> Mapping[str, int]:
        """Return the numbers as they were counted last, by section; asks nobody."""
        kept = self._counts.get(account_id)
        return {} if kept is None else kept[1]

    def count(
        self, account_id: int, counters: Mapping[str, Callable[[int], int | None]]
    ) -> Mapping[str, int]:
        """Return the numbers by section; one that cannot be counted now stays as it was.

        Args:
            account_id: whose they are.
            counters: section -> returns its number for an account; None where it is not known yet.
        """
        with self._lock:
            kept = self._counts.get(account_id)
            now = self.monotonic()
            if kept is not None and now - kept[0] < FRESH_SECONDS:
                return kept[1]
            counts = dict(self.get(account_id))
            for section, count in counters.items():
                try:
                    number = count(account_id)
                except (TreadleError, OSError):
                    continue
                if number is not None:
                    counts[section] = number
            self._counts[account_id] = (now, counts)
            return counts
