"""Instants on the wire: ISO 8601, UTC, whole seconds, `Z` (connect-api.md 4.6)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,12})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
"""What is taken for an instant. datetime alone would also take week dates and any separator."""


def seconds(instant: int) -> str:
    """An instant as clients parse it, `%Y-%m-%dT%H:%M:%SZ`; parts of a second are cut off.

    Args:
        instant: microseconds since 1970, UTC.
    """
    at = _EPOCH + instant * _MICROSECOND
    return at.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def instant(text: str) -> int | None:
    """An ISO 8601 date or date and time as microseconds since 1970, cut to whole seconds.

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
    return (at.replace(microsecond=0) - _EPOCH) // _MICROSECOND
