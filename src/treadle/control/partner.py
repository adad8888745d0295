"""What a partner is let in by: its credentials, and how often it may make accounts."""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from treadle.text import digest_text

ACCOUNTS_PER_MINUTE: Final = 60
"""Most accounts that a worker makes for the partner in a minute. Every account that is made has all
workers read again who may push."""

MINUTE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class PartnerCredentials:
    """The id and the secret that a partner sends in a body (connect-api.md 2.1)."""

    partner_id: str
    secret: str = field(repr=False)

    def compare(self, partner_id: str, secret: str) -> tuple[bool, bool]:
        """Return whether id and secret are these.

        Both are compared, whatever comes of the first one, and as digests: how long it takes tells
        nothing of either, not even a length.
        """
        return _is_same(partner_id, self.partner_id), _is_same(secret, self.secret)


def _is_same(sent: str, expected: str) -> bool:
    return hmac.compare_digest(digest_text(sent), digest_text(expected))


@dataclass(slots=True)
class CreationRate:
    """Counts what is made in a minute; may be used by several threads.

    Attributes:
        limit: most that is made in MINUTE_SECONDS.
        monotonic: seconds.
    """

    limit: int = ACCOUNTS_PER_MINUTE
    monotonic: Callable[[], float] = time.monotonic
    _began: float = -MINUTE_SECONDS
    _made: int = 0
    _lock: Lock = field(default_factory=Lock)

    def take(self) -> bool:
        """Count one more; return False when there were as many as there may be."""
        with self._lock:
            now = self.monotonic()
            if now - self._began >= MINUTE_SECONDS:
                self._began, self._made = now, 0
            if self._made >= self.limit:
                return False
            self._made += 1
            return True
