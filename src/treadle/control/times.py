"""Instants as clients of the Connect API may write them (connect-api.md 4.6)."""

import re
from datetime import UTC, datetime
from typing import Final

from treadle.timestamps import format_microseconds, from_datetime

_ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,12})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
"""The accepted forms. `datetime` alone would also take week dates and any separator."""


def instant(text: str) -> int | None:
    """Return an ISO 8601 date or date and time as microseconds since 1970, cut to whole seconds.

    Without an offset it is UTC; without a time it is midnight.

    Returns:
        None for what is no such text or names no instant of the years 1 to 9999.
    """
    upper = text.upper()
    if not _ISO.fullmatch(upper):
        return None
    try:
        at = datetime.fromisoformat(upper)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return from_datetime(at.replace(microsecond=0))


def show_time(at: int | None) -> str | None:
    """Return a time as the answers of our own calls have it, with microseconds; None for none."""
    return None if at is None else format_microseconds(at)
