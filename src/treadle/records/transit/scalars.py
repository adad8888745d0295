"""Parsers of Transit's scalar tags: the text behind a tag to a value (import-api.md 12.3)."""

import math
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import InvalidOperation
from typing import Any, Final, NamedTuple
from uuid import UUID

from treadle.records.json_decoder import HugeNumber
from treadle.records.limits import INTEGER_CHARACTERS_MAX
from treadle.records.transit.encoding import DistantInstant, ExactDecimal, WideInteger, make_instant
from treadle.timestamps import EPOCH, EPOCH_DAY

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
# The loader accepts more than RFC 3339 in a text (loading.md 3.4), so a tag may hold it, too.
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?"
)

_COMMON_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3}(?:[0-9]{3})?)?Z"
)
"""The format that writers use; `datetime` reads it faster than the pattern above splits it."""


class MalformedTransitError(ValueError):
    """A body is not Transit; the text says what was found."""


PLACE_NAMES_MAX: Final = 8
"""Most names of a place that an answer repeats: the outermost ones."""

_NAME_CHARACTERS_MAX: Final = 40
"""Most characters of each of them."""


class UnstorableKeyError(MalformedTransitError):
    """A map has an array or an object as a key: valid Transit that no table can hold.

    Attributes:
        place: names and indices that lead to the map, the innermost first.
    """

    def __init__(self, kind: str) -> None:
        """Say of which kind the key is: "an array" or "an object"."""
        super().__init__(kind)
        self.kind = kind
        self.place: list[str | int] = []

    def __str__(self) -> str:
        outermost = [*reversed(self.place)][:PLACE_NAMES_MAX]
        names = [str(name)[:_NAME_CHARACTERS_MAX] for name in outermost]
        more = "/..." if len(self.place) > PLACE_NAMES_MAX else ""
        return (
            f"the map at /{'/'.join(names)}{more} has {self.kind} as a key, which cannot be stored:"
            " the name of a field is a text, a number or another scalar"
        )


def parse_integer(text: str) -> int:
    """Parse `~i`, `~n`: an integer of any size up to the limit."""
    digits = text.isascii() and text.isdigit()  # nearly all, and faster than a pattern
    if not (digits or _INTEGER.fullmatch(text)) or len(text) > INTEGER_CHARACTERS_MAX:
        raise MalformedTransitError(f"not an integer: {text[:40]}")
    value = int(text)
    return value if -(2**63) <= value < 2**63 else WideInteger(value)


def parse_double(text: str) -> float | HugeNumber:
    """Parse `~d`: a double."""
    if not _NUMBER.fullmatch(text):
        raise MalformedTransitError(f"not a double: {text[:40]}")
    value = float(text)
    return value if math.isfinite(value) else HugeNumber(text)


def parse_decimal(text: str) -> ExactDecimal | HugeNumber:
    """Parse `~f`: an exact decimal."""
    if not _NUMBER.fullmatch(text):
        raise MalformedTransitError(f"not a decimal: {text[:40]}")
    try:
        value = ExactDecimal(text)
    except InvalidOperation:  # an exponent beyond what a decimal holds, up or down
        return ExactDecimal(0) if float(text) == 0 else HugeNumber(text)
    # Beyond what decimals compute with, and far beyond what any column holds.
    return HugeNumber(text) if value.adjusted() > 999_999 and not value.is_zero() else value


_SPECIAL = {"NaN": math.nan, "INF": math.inf, "-INF": -math.inf}


def parse_special(text: str) -> float:
    """Parse `~z`: NaN and the infinities."""
    value = _SPECIAL.get(text)
    if value is None:
        raise MalformedTransitError(f"not a special number: {text[:40]}")
    return value


def parse_milliseconds(text: str) -> datetime | DistantInstant:
    """Parse `~m`: milliseconds since 1970 UTC."""
    return make_instant(1000 * parse_integer(text), text)


def parse_time(text: str) -> datetime | DistantInstant:
    """Parse `~t`: a date and time. Without an offset it is UTC; second 60 and hour 24 roll over."""
    if _COMMON_TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:  # a second 60, the year 0, no such date
            pass
    found = _TIME.fullmatch(text)
    if found is None:
        raise MalformedTransitError(f"not a date and time: {text[:40]}")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    if not (
        1 <= month <= 12
        and 1 <= day <= _count_month_days(year, month)
        and minute <= 59
        and second <= 60
        and (hour <= 23 or (hour, minute, second) == (24, 0, 0))
    ):
        raise MalformedTransitError(f"no such date and time: {text[:40]}")
    seconds = 86_400 * _count_days(year, month, day) + 3600 * hour + 60 * minute + second
    if found[8]:
        offset = 3600 * int(found[9]) + 60 * int(found[10])
        seconds -= offset if found[8] == "+" else -offset
    # Round half up to microseconds (loading.md 3.3).
    fraction = (found[7] or "0")[:7].ljust(7, "0")
    return make_instant(1_000_000 * seconds + (int(fraction) + 5) // 10, text)


def _count_month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _count_days(year: int, month: int, day: int) -> int:
    """Count the days since 1970-01-01 in the proleptic Gregorian calendar, here with a year 0."""
    cycles = 0
    if year < 1:
        year, cycles = year + 400, -1
    return date(year, month, day).toordinal() - EPOCH_DAY + cycles * 146_097


def parse_uuid(text: str) -> str:
    """Parse `~u`: a UUID, in lower case."""
    lower = text.lower()
    if not _UUID.fullmatch(lower):
        raise MalformedTransitError(f"not a UUID: {text[:40]}")
    return lower


def make_uuid(high: int, low: int) -> str:
    """Make the UUID of two signed 64-bit halves: `["~#u",[hi,lo]]`."""
    return str(UUID(int=(high % 2**64) << 64 | low % 2**64))


def parse_boolean(text: str) -> bool:
    """Parse `~?`: a boolean where JSON has none, as a key."""
    if text not in ("t", "f"):
        raise MalformedTransitError(f"not a boolean: {text[:40]}")
    return text == "t"


def parse_null(text: str) -> None:
    """Parse `~_`: null where JSON has none, as a key."""
    if text:
        raise MalformedTransitError(f"not a null: {text[:40]}")


SCALAR_PARSERS: dict[str, Callable[[str], Any]] = {
    "i": parse_integer,
    "n": parse_integer,
    "d": parse_double,
    "f": parse_decimal,
    "z": parse_special,
    "m": parse_milliseconds,
    "t": parse_time,
    "u": parse_uuid,
    "?": parse_boolean,
    "_": parse_null,
}
"""Parsers by tag, for tags whose value is not the text itself. Keyword, symbol, URI, character,
bytes and application types are their texts."""


def make_key_name(value: Any) -> str:
    """Return a scalar as a key of a JSON object.

    Raises:
        UnstorableKeyError: it is an array or an object.
    """
    if type(value) is str:
        return value
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, datetime):
        digits = "microseconds" if value.microsecond % 1000 else "milliseconds"
        return value.isoformat(timespec=digits).replace("+00:00", "Z")
    if isinstance(value, DistantInstant | HugeNumber):
        return value.literal
    if type(value) is float and not math.isfinite(value):
        return next(key for key, known in _SPECIAL.items() if str(known) == str(value))
    if type(value) in (int, float, WideInteger, ExactDecimal):
        return str(value)
    raise UnstorableKeyError("an array" if type(value) is list else "an object")


# --- many texts of one tag ------------------------------------------------------------------------


class ColumnParser(NamedTuple):
    """Parser of a tag's texts in the format that nearly all have.

    Attributes:
        matches_all: whether texts, each with its tag and followed by a NUL, have the format.
        parse: parses one text without its tag; a ValueError means that it has not the format.
    """

    matches_all: Callable[[str], object]
    parse: Callable[[str], Any]


def _make_column_parser(tag: str, pattern: str, value: Callable[[str], Any]) -> ColumnParser:
    return ColumnParser(re.compile(f"(?:~{tag}{pattern}\0)*+").fullmatch, value)


def _add_to_epoch(text: str) -> datetime:
    return EPOCH + timedelta(0, 0, 0, int(text))


COLUMN_PARSERS: dict[str, ColumnParser] = {
    "~i": _make_column_parser("i", "-?[0-9]{1,18}", int),
    "~n": _make_column_parser("n", "-?[0-9]{1,18}", int),
    "~d": _make_column_parser("d", r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", float),
    "~f": _make_column_parser("f", r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", ExactDecimal),
    "~m": _make_column_parser("m", "-?[0-9]{1,13}", _add_to_epoch),
    "~t": _make_column_parser("t", _COMMON_TIME.pattern, datetime.fromisoformat),
    "~u": _make_column_parser("u", _UUID.pattern, str),
}
"""Parsers of many texts at once, by tag; they give the values of `SCALAR_PARSERS`."""
