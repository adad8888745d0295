"""Columns of one JSON class to columns of one logical type, with the checks of loading.md 3.3.

Every converter takes a column that holds one Python class and None, and gives the column as the
destination gets it. What is out of range is given to `Sink.fail` and becomes None.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from treadle.tables import decimals, instants
from treadle.tables.model import ColumnType
from treadle.tables.packed import Packed, packed_if_long
from treadle.tables.profile import Profile

Column = Sequence[Any]

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)


class Sink(Protocol):
    """Where a converter reports to, for the column it works on."""

    @property
    def profile(self) -> Profile:
        """Limits of the destination."""

    @property
    def nul_characters(self) -> str:
        """The option of that name."""

    @property
    def key(self) -> str | None:
        """Name of the key field this column holds, None for any other field."""

    def fail(self, row: int, reason: str) -> None:
        """A value cannot be stored."""

    def nul(self, count: int) -> None:
        """So many NUL characters were removed."""


def integers(column: Column, sink: Sink) -> Column:
    """Int -> BIGINT."""
    quick = packed_if_long(column, ColumnType.BIGINT)
    if isinstance(quick, Packed):
        return quick
    if None in column:
        present = [value for value in column if value is not None]
        low, high = min(present), max(present)
    else:
        low, high = min(column), max(column)
    if low >= INT64_MIN and high <= INT64_MAX:
        return column
    out = list(column)
    for row, value in enumerate(column):
        if value is not None and not INT64_MIN <= value <= INT64_MAX:
            out[row] = None
            sink.fail(row, _integer(sink, decimals.literal(value)))
    return out


def _integer(sink: Sink, value: object) -> str:
    return f"integer out of range for {sink.profile.display_name} on {value}"


def _decimal(sink: Sink, value: object) -> str:
    return f"decimal out of range for {sink.profile.display_name} on {value}"


def _timestamp(sink: Sink, value: object) -> str:
    return f"timestamp out of range for {sink.profile.display_name} on {value}"


def _received(value: object) -> str:
    """A number as received, as far as the decoder kept its literal."""
    kept = getattr(value, "literal", None)
    if isinstance(kept, str):
        return kept
    return decimals.literal(value) if isinstance(value, int) else str(value)


def _each(column: Column, convert: Callable[[int, Any], Any]) -> list[Any]:
    return [None if v is None else convert(row, v) for row, v in enumerate(column)]


def whole(column: Column, sink: Sink) -> Column:
    """Numbers with a fraction or exponent that a schema calls integers -> BIGINT."""

    def convert(row: int, value: float | Decimal) -> int | None:
        number = int(value) if math.isfinite(value) and -1e19 < value < 1e19 else INT64_MAX + 1
        if not INT64_MIN <= number <= INT64_MAX:
            sink.fail(row, _integer(sink, _received(value)))
            return None
        return number

    return _each(column, convert)


def doubles(column: Column, sink: Sink) -> Column:
    """Float -> DOUBLE. NaN has no place in a key, where equal keys must be one."""
    if sink.key is None:
        return packed_if_long(column, ColumnType.DOUBLE)
    out = list(column)
    for row, value in enumerate(column):
        if value is not None and math.isnan(value):
            sink.fail(row, _decimal(sink, "NaN"))
            out[row] = None
    return out


def to_doubles(column: Column, sink: Sink) -> Column:
    """Int or Decimal -> DOUBLE."""

    def convert(row: int, value: int | Decimal) -> float | None:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            sink.fail(row, _decimal(sink, _received(value)))
            return None
        return number

    if type(next(value for value in column if value is not None)) is int and None not in column:
        try:
            return packed_if_long(list(map(float, column)), ColumnType.DOUBLE)
        except OverflowError:
            pass
    return _each(column, convert)


def booleans(column: Column, sink: Sink) -> Column:
    """Bool -> BOOLEAN."""
    del sink
    return packed_if_long(column, ColumnType.BOOLEAN)


def texts(column: Column, sink: Sink) -> Column:
    """Str -> TEXT, NUL characters treated as the option says; a key never holds one."""
    quick = packed_if_long(column, ColumnType.TEXT)
    if isinstance(quick, Packed) and not quick.holds_byte(b"\0"):
        return quick
    joined = "".join(column) if None not in column else "".join(filter(None, column))
    if "\0" not in joined:
        return quick
    out = list(column)
    for row, value in enumerate(column):
        if value is None or "\0" not in value:
            continue
        if sink.key is not None:
            sink.fail(row, f"NUL character in key on {sink.key}")
            out[row] = None
        elif sink.nul_characters == "reject":
            sink.fail(row, "NUL character in text")
            out[row] = None
        elif sink.nul_characters == "replace":
            out[row] = value.replace("\0", "�")
        else:
            sink.nul(value.count("\0"))
            out[row] = value.replace("\0", "")
    return out


def to_decimals(column: Column, sink: Sink) -> Column:
    """Int, float or Decimal -> DECIMAL."""
    profile = sink.profile

    def convert(row: int, value: float | Decimal) -> Decimal | None:
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        number = decimals.stored(exact, profile)
        if number is None:
            sink.fail(row, _decimal(sink, _received(value)))
        return number

    return _each(column, convert)


def moments(column: Column, sink: Sink) -> Column:
    """Datetimes with a zone, or instants beyond their years -> TIMESTAMP."""

    def convert(row: int, value: Any) -> int | None:
        if isinstance(value, datetime):
            number = instants.from_datetime(value)
            shown: object = instants.text(number)
        else:
            number = value.microseconds
            shown = _received(value)
        if not sink.profile.timestamp_min_us <= number <= sink.profile.timestamp_max_us:
            sink.fail(row, _timestamp(sink, shown))
            return None
        return number

    return _each(column, convert)


def strings(column: Column, choices: Sequence[ColumnType], sink: Sink) -> dict[ColumnType, Column]:
    """Str -> the first of the choices each value fits; TEXT where none does."""
    if not choices or choices[0] is ColumnType.TEXT:
        return {ColumnType.TEXT: texts(column, sink)}
    if choices[0] is ColumnType.TIMESTAMP:
        quick = instants.parse_column(column)
        if quick is not None:
            return {ColumnType.TIMESTAMP: quick}
    out: dict[ColumnType, list[Any]] = {}
    for row, value in enumerate(column):
        if value is None:
            continue
        for type_ in choices:
            found = _TEXT_READERS[type_](row, value, sink, ColumnType.TEXT in choices)
            if found is not None:
                break
        else:
            type_, found = ColumnType.TEXT, value
        if found is _FAILED:
            continue
        if type_ not in out:
            out[type_] = [None] * len(column)
        out[type_][row] = found
    read: dict[ColumnType, Column] = dict(out)
    if ColumnType.TEXT in read:
        read[ColumnType.TEXT] = texts(read[ColumnType.TEXT], sink)
    return read


_FAILED = object()


def _read_timestamp(row: int, value: str, sink: Sink, other: bool) -> object:
    try:
        number = instants.parse(value)
    except instants.OutOfRange:
        if other and not value.startswith("0000"):
            return None
        sink.fail(row, _timestamp(sink, value))
        return _FAILED
    if number is None:
        return None
    if not sink.profile.timestamp_min_us <= number <= sink.profile.timestamp_max_us:
        sink.fail(row, _timestamp(sink, value))
        return _FAILED
    return number


def _read_decimal(row: int, value: str, sink: Sink, other: bool) -> object:
    del other
    number = decimals.parse(value)
    if number is None:
        return None
    held = decimals.stored(number, sink.profile)
    if held is None:
        sink.fail(row, _decimal(sink, value))
        return _FAILED
    return held


def _read_text(row: int, value: str, sink: Sink, other: bool) -> object:
    del row, sink, other
    return value


_TEXT_READERS = {
    ColumnType.TIMESTAMP: _read_timestamp,
    ColumnType.DECIMAL: _read_decimal,
    ColumnType.TEXT: _read_text,
}
