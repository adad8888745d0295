"""Opening a destination that somebody else may hold for a moment."""

import time
from collections.abc import Callable
from typing import Final

from treadle.destinations.protocol import Session, Unavailable

SECONDS: Final = 10.0
"""How long to wait for a database that the loader holds; a load seldom takes a second."""
PAUSE_SECONDS: Final = 0.05


def patiently(
    connect: Callable[[], Session],
    *,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Session:
    """A session; a database that is held is tried again for a while.

    Args:
        connect: `Destination.open` or `preview`.
        seconds: how long to try.
        clock: seconds.
        sleep: waits.

    Raises:
        Unavailable: it is still held, or cannot be reached.
        Forbidden: credentials or rights.
    """
    until = clock() + seconds
    while True:
        try:
            return connect()
        except Unavailable:
            if clock() >= until:
                raise
        sleep(PAUSE_SECONDS)
