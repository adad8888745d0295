"""Times on the command line."""

from datetime import UTC, datetime

from treadle.cli.command import UsageError
from treadle.timestamps import from_datetime


def parse_time(flag: str, text: str | None) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time; one without a zone is in UTC.

    Args:
        flag: that it was given with.
        text: as typed; None when it was not.

    Raises:
        UsageFault: it is no such time.
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
