"""How many wrong tokens and passwords are taken before somebody has to wait (console.md B.9)."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from threading import Lock
from typing import Final

from treadle.http.hosts import parse_address

GUESSES_MAX: Final = 10
GUESS_SECONDS: Final = 300.0
"""So many wrong tokens in this time are answered; those after them are not looked at."""

ADDRESSES_MAX: Final = 10_000
"""Most addresses that are remembered. Where there are more, the one that guessed first is
forgotten: a flood of addresses costs bounded memory."""


@dataclass(slots=True)
class GuessLimit:
    """Counts wrong tokens and passwords by address or user, in one worker, for several threads.

    Attributes:
        monotonic: seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    _times: dict[str, deque[float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def get_wait_seconds(self, address: str) -> int:
        """Return how long an address has to wait; 0 while it may go on."""
        with self._lock:
            times = self._times.get(_name_network(address))
            if times is None:
                return 0
            now = self.monotonic()
            self._forget(times, now)
            if len(times) < GUESSES_MAX:
                return 0
            return max(1, math.ceil(times[0] + GUESS_SECONDS - now))

    def note_failure(self, address: str) -> None:
        """Count a wrong token."""
        name = _name_network(address)
        with self._lock:
            now = self.monotonic()
            times = self._times.pop(name, None) or deque(maxlen=GUESSES_MAX)
            self._forget(times, now)
            times.append(now)
            self._times[name] = times
            while len(self._times) > ADDRESSES_MAX:
                del self._times[next(iter(self._times))]

    def _forget(self, times: deque[float], now: float) -> None:
        while times and now - times[0] >= GUESS_SECONDS:
            times.popleft()


def _name_network(address: str) -> str:
    """Return what counts as one address: of IPv6 the network that one customer gets, a /64."""
    found = parse_address(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return address
