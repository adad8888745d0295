"""Reads date-time texts as microseconds since 1970, UTC (loading.md 3.3, 3.4)."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from treadle.tables.arrow_column import ArrowColumn
from treadle.timestamps import EPOCH_DAY, FIRST_INSTANT, LAST_INSTANT

_DAY_US = 86_400_000_000

_TIMESTAMP_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_FINER_FRACTION = re.compile(r"\.\d{6}\d*[1-9]", re.ASCII)
_PLAIN_LENGTHS = (20, 27)  # from 2024-02-29T12:00:00Z to 2024-02-29T12:00:00.123456Z
_DAYS_OF_400_YEARS = 146_097


class TimestampRangeError(ValueError):
    """A date-time text whose day or time does not exist."""


def parse_timestamp(text: str) -> int | None:
    """Return the microseconds since 1970 of a date-time text; None when it is no such text.

    Takes RFC 3339, also with a space or lower-case `t` and `z`, an offset without a colon, no
    offset (UTC) and a fraction of any length, rounded half up. A second of 60 and the time
    24:00:00 roll over. The instant may lie outside the years 1 to 9999.

    Raises:
        TimestampRangeError: it has the shape of a date-time and is none.
    """
    found = _TIMESTAMP_TEXT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = found.groups()
    try:
        days = _count_days(int(year), int(month), int(day))
    except ValueError as error:
        raise TimestampRangeError(text) from error
    h, m, s = int(hour), int(minute), int(second)
    microseconds = 0
    if fraction is not None:
        microseconds = int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")
    if h == 24:
        if m or s or (fraction is not None and fraction.strip("0")):
            raise TimestampRangeError(text)
    elif h > 24:
        raise TimestampRangeError(text)
    if m > 59 or s > 60:
        raise TimestampRangeError(text)
    offset = 0
    if sign is not None:
        oh, om = int(off_hour), int(off_minute)
        if oh > 23 or om > 59:
            raise TimestampRangeError(text)
        offset = (oh * 3600 + om * 60) * (-1 if sign == "-" else 1)
    return days * _DAY_US + (h * 3600 + m * 60 + s - offset) * 1_000_000 + microseconds


def is_finer_than_stored(text: str) -> bool:
    """Return whether a date-time text has parts of a microsecond, which are rounded."""
    found = _FINER_FRACTION.search(text) if len(text) > _PLAIN_LENGTHS[1] else None
    return found is not None


def _count_days(year: int, month: int, day: int) -> int:
    """Return the days since 1970. In UTC a day of the year 0 may be one of the year 1."""
    if year == 0:
        return date(400, month, day).toordinal() - _DAYS_OF_400_YEARS - EPOCH_DAY
    return date(year, month, day).toordinal() - EPOCH_DAY


def find_timestamp(text: str | None) -> int | None:
    """Return the microseconds since 1970 of a date-time text of the years 1 to 9999 in UTC.

    None for anything else.
    """
    try:
        found = None if text is None else parse_timestamp(text)
    except TimestampRangeError:
        return None
    return found if found is not None and FIRST_INSTANT <= found <= LAST_INSTANT else None


def parse_timestamp_column(column: Sequence[Any]) -> ArrowColumn | None:
    """Read a column of texts and Nones at once; None when one has another than the common form.

    That is a date, `T` or a space, a time with seconds and at most six digits of their fraction,
    and `Z`. Of the other forms that Arrow knows those that end with `Z` are shorter.
    """
    try:
        texts = pa.array(column, pa.string())
        lengths = pc.min_max(pc.binary_length(texts))
        least, greatest = lengths["min"].as_py(), lengths["max"].as_py()
        if least is not None and not _PLAIN_LENGTHS[0] <= least <= greatest <= _PLAIN_LENGTHS[1]:
            return None
        if not pc.all(pc.ends_with(texts, "Z"), min_count=0).as_py():
            return None
        array = texts.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return None
    least = pc.min(array).as_py()
    if least is not None and least < FIRST_INSTANT:
        return None
    return ArrowColumn(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]))
