"""Opens a destination that somebody else may hold for a moment, as DuckDB's file."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from treadle.destinations.protocol import DestinationUnavailableError

T = TypeVar("T")

RETRY_SECONDS: Final = 10.0
"""Longest wait for a database that the loader holds; a load seldom takes a second."""
RETRY_PAUSE_SECONDS: Final = 0.05


def open_with_retry(
    attempt: Callable[[], T],
    seconds: float | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return the result of an attempt, which is repeated for a while when the database is held.

    Args:
        attempt: `Destination.open` or `preview`, or what opens a session and may be repeated.
        seconds: longest wait; RETRY_SECONDS where None.
        clock: seconds.
        sleep: waits.

    Raises:
        DestinationUnavailableError: it is still held, or cannot be reached.
        AccessDeniedError: credentials or rights.
    """
    until = clock() + (RETRY_SECONDS if seconds is None else seconds)
    while True:
        try:
            return attempt()
        except DestinationUnavailableError:
            if clock() >= until:
                raise
        sleep(RETRY_PAUSE_SECONDS)
