"""Limits of request bodies: their size, and the time they may take."""

from collections.abc import Mapping
from typing import Final

from treadle.errors import RequestRefusedError
from treadle.http.request_head import CONTENT_LENGTH_DIGITS_MAX

BODY_BYTES_MAX: Final = 20 * 1024 * 1024
"""Largest request body in bytes, before and after decompression (import-api.md 5)."""

BODY_GRACE_SECONDS: Final = 30.0
"""Seconds by which a body may fall behind the slowest rate; a small body may take all of them."""

BODY_BYTES_PER_SECOND_MIN: Final = 64 * 1024
"""Slowest sender that is waited for, in bytes a second, measured over BODY_GRACE_SECONDS."""


def read_declared_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body that the sender declares, in bytes; None where there is none.

    Args:
        headers: names in lower case.
    """
    length = headers.get("content-length")
    if length is None or len(length) > CONTENT_LENGTH_DIGITS_MAX:
        return None
    return int(length) if length.isascii() and length.isdigit() else None


def check_declared_length(headers: Mapping[str, str], limit: int = BODY_BYTES_MAX) -> None:
    """Refuse a body whose declared length is above the limit, before anything of it is read.

    Raises:
        RequestRefusedError: 413.
    """
    declared = read_declared_length(headers)
    if declared is not None and declared > limit:
        raise make_too_large_error(declared)


def make_too_large_error(size: int) -> RequestRefusedError:
    """Return the refusal of a body of `size` bytes (import-api.md 17.2)."""
    message = f"Request rejected: request size ({size} bytes) exceeds the maximum"
    return RequestRefusedError(413, {"status": "ERROR", "message": message})


def extend_arrival(
    due: float, now: float, count: int, grace_seconds: float, bytes_per_second_min: int
) -> float:
    """Return until when the next bytes of a body have to come.

    Bytes that arrive move the deadline by the time that the slowest rate needs for them, but never
    beyond the grace from now: a sender that was fast at first may not pause for long.

    Args:
        due: until when these bytes had to come.
        now: by the same clock, in seconds.
        count: bytes that came now.
        grace_seconds: how far a sender may fall behind the slowest rate.
        bytes_per_second_min: the slowest rate.
    """
    return min(due + count / bytes_per_second_min, now + grace_seconds)
