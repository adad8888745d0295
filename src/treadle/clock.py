"""The clocks of every process. Tests put others in their place before anything is built."""

import time
from collections.abc import Callable


def read_system_clock() -> int:
    """Return the time of this machine, in microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


_source: Callable[[], int] = read_system_clock


def read_clock() -> int:
    """Return the time now, in microseconds since 1970, UTC."""
    return _source()


def set_source(source: Callable[[], int]) -> Callable[[], int]:
    """Let another clock tell the time of this process, such as that of the store's server.

    Returns:
        The one before, to be set again where this is for a while.
    """
    global _source
    former, _source = _source, source
    return former


def read_monotonic() -> int:
    """Return microseconds since any moment; nobody sets this clock, and it never goes back."""
    return time.monotonic_ns() // 1_000
