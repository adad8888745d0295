"""Reads date-time texts as microseconds since 1970, UTC (loading.md 3.3, 3.4)."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from treadle.tables.arrow_column import ArrowColumn
from treadle.timestamps import EPOCH_DAY

_DAY_US = 86_400_000_000

_TIMESTAMP_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_PLAIN_LENGTHS = (20, 27)  # from 2024-02-29T12:00:00Z to 2024-02-29T12:00:00.123456Z
_PLAIN_MIN_US = -62_135_596_800_000_000  # 0001-01-01: the year 0000 is no year


class TimestampRangeError(ValueError):
    """A date-time text whose day or time does not exist, or of the year 0000."""


def parse_timestamp(text: str) -> int | None:
    """Return the microseconds since 1970 of a date-time text; None when it is no such text.

    Takes RFC 3339, also with a space or lower-case `t` and `z`, an offset without a colon, no
    offset (UTC) and a fraction of any length, rounded half up. A second of 60 and the time
    24:00:00 roll over.

    Raises:
        OutOfRange: it has the shape of a date-time and is none.
    """
    found = _TIMESTAMP_TEXT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = found.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - EPOCH_DAY
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


def find_timestamp(text: str | None) -> int | None:
    """Return the microseconds since 1970 of a date-time text; None for anything else."""
    try:
        return None if text is None else parse_timestamp(text)
    except TimestampRangeError:
        return None


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
    if least is not None and least < _PLAIN_MIN_US:
        return None
    return ArrowColumn(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]))
