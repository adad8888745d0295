"""Parses times and durations on the command line."""

import re
from datetime import UTC, datetime
from typing import Final

from treadle.cli.command import UsageError
from treadle.timestamps import from_datetime

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdw])")
DURATION_SECONDS_MAX: Final = 100 * 366 * 86_400

NEVER: Final = "never"


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


def parse_duration(flag: str, text: str) -> int:
    """Parse a duration such as `90d`, `12h`, `30m` or `0s` into microseconds.

    Raises:
        UsageError: the text is not such a duration, or longer than 100 years.
    """
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= DURATION_SECONDS_MAX:
        raise UsageError(
            f"{flag} is to be a number with s, m, h, d or w behind it, such as 12h or 90d, and at "
            f"most 100 years, not {text!r}."
        )
    return seconds * 1_000_000


def parse_expiry(flag: str, text: str | None, now: int) -> int | None:
    """Parse from when something is refused: a duration from now, a time, or `never`.

    Args:
        flag: for the error text.
        text: the value of the flag; None if it was not given, as `never`.
        now: microseconds since 1970.

    Returns:
        Microseconds since 1970; None for never.

    Raises:
        UsageError: the text is none of these.
    """
    if text is None or text == NEVER:
        return None
    if _DURATION.fullmatch(text):
        return now + parse_duration(flag, text)
    try:
        return parse_time(flag, text)
    except UsageError:
        raise UsageError(
            f"{flag} is to be a duration such as 90d, a time such as 2026-03-01T08:00:00Z, or "
            f"{NEVER}, not {text!r}."
        ) from None
