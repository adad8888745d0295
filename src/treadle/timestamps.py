"""Points in time as microseconds since 1970, UTC, and the texts that treadle writes for them.

Every time that treadle keeps is such a number: SQLite, PostgreSQL, DuckDB and Arrow store it alike,
and a year beyond 9999, which `datetime` cannot hold, is a number like any other.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment that is 0."""

EPOCH_DAY: Final = EPOCH.toordinal()
"""The day of `EPOCH` as `date.toordinal` counts."""

FIRST_INSTANT: Final = -62_135_596_800_000_000
"""The beginning of the year 1: `datetime`, and with it most readers, hold nothing earlier."""

LAST_INSTANT: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999, beyond which the same readers hold nothing."""

_YEAR_2000: Final = date(2000, 1, 1).toordinal()
_DAYS_OF_400_YEARS: Final = 146_097


def to_datetime(instant: int) -> datetime:
    """Return a point in time as a datetime in UTC.

    Args:
        instant: microseconds since 1970, UTC.

    Raises:
        OverflowError: it lies outside the years 1 to 9999.
    """
    return EPOCH + timedelta(0, 0, instant)


def from_datetime(moment: datetime) -> int:
    """Return the microseconds since 1970 of a datetime with a zone."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def format_seconds(instant: int) -> str:
    """Write `2026-01-01T00:00:00Z`; parts of a second are cut off.

    Raises:
        OverflowError: it lies outside the years 1 to 9999.
    """
    return to_datetime(instant).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def format_milliseconds(instant: int) -> str:
    """Write `2026-01-01T00:00:00.000Z`; parts of a millisecond are cut off.

    Raises:
        OverflowError: it lies outside the years 1 to 9999.
    """
    return to_datetime(instant).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def format_microseconds(instant: int) -> str:
    """Write `2026-01-01T00:00:00.000000Z`.

    Raises:
        OverflowError: it lies outside the years 1 to 9999.
    """
    return to_datetime(instant).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def format_exact(instant: int) -> str:
    """Write ISO 8601 in UTC of any year, with a fraction only where there is one.

    Years before 0 and beyond 9999 get a sign.
    """
    seconds, fraction = divmod(instant, 1_000_000)
    days, seconds = divmod(seconds, 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    tail = f".{fraction:06}".rstrip("0") if fraction else ""
    # Move the day into the years 2000 to 2399: the calendar repeats every 400 years.
    cycles, rest = divmod(days + EPOCH_DAY - _YEAR_2000, _DAYS_OF_400_YEARS)
    day = date.fromordinal(_YEAR_2000 + rest)
    year = day.year + cycles * 400
    written = f"{year:04}" if 0 <= year <= 9999 else f"{year:+05}"
    return f"{written}-{day.month:02}-{day.day:02}T{clock}{tail}Z"
