"""A bound on the events of refused requests, so that nobody can fill the store with them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

REFUSALS_PER_MINUTE: Final = 60
"""Most refused requests of an account that a worker records in a minute."""

WINDOW_SECONDS: Final = 60.0


@dataclass(slots=True)
class _RefusalWindow:
    began: float
    recorded: int = 0
    left_out: int = 0


@dataclass(slots=True)
class RefusalAllowance:
    """Counts the refused requests of each account in a worker; may be used by several threads.

    Attributes:
        limit: most refused requests of an account that are recorded in WINDOW_SECONDS.
        monotonic: seconds.
    """

    limit: int = REFUSALS_PER_MINUTE
    monotonic: Callable[[], float] = time.monotonic
    _windows: dict[int, _RefusalWindow] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def take(self, account_id: int) -> int | None:
        """Count a refused request of an account.

        Returns:
            None when it is not to be recorded; otherwise the number of those that were left out
            since the last recorded one.
        """
        with self._lock:
            now = self.monotonic()
            window = self._windows.get(account_id)
            if window is None or now - window.began >= WINDOW_SECONDS:
                left_out = 0 if window is None else window.left_out
                self._windows[account_id] = _RefusalWindow(now, recorded=1)
                return left_out
            if window.recorded >= self.limit:
                window.left_out += 1
                return None
            window.recorded += 1
            return 0
