"""Parses times on the command line."""

from datetime import UTC, datetime

from treadle.cli.command import UsageError
from treadle.timestamps import from_datetime


def parse_time(flag: str, text: str | None) -> int | None:
    """Parse an ISO 8601 time into microseconds since 1970. Without a zone it is in UTC.

    Args:
        flag: for the error text.
        text: the value of the flag; None if it was not given.

    Raises:
        UsageError: the text is not such a time.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{flag} is to be a time such as 2026-03-01T08:00:00Z or a date, not {text!r}."
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return from_datetime(found)
