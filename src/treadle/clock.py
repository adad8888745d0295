"""The clocks of every process. Tests put others in their place before anything is built."""

import time


def read_clock() -> int:
    """Return the time now, in microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


def read_monotonic() -> int:
    """Return microseconds since any moment; nobody sets this clock, and it never goes back."""
    return time.monotonic_ns() // 1_000
