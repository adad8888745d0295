"""Columns of one JSON class to columns of one logical type, with the checks of loading.md 3.3.

Every converter takes a column that holds one Python class and None, and gives the column as the
destination gets it. What is out of range is given to `ConversionSink.reject_value` and becomes
None.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from treadle.tables.model import ColumnType
from treadle.tables.prepare import decimals, timestamp_text
from treadle.tables.prepare.arrow_column import ArrowColumn, to_arrow_if_long
from treadle.tables.profile import DestinationProfile

ColumnValues = Sequence[Any]

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)


class ConversionSink(Protocol):
    """Where a converter reports to, for the column it works on."""

    @property
    def profile(self) -> DestinationProfile:
        """Limits of the destination."""

    @property
    def nul_characters(self) -> str:
        """The option of that name."""

    @property
    def key(self) -> str | None:
        """Name of the key field this column holds, None for any other field."""

    def reject_value(self, row: int, reason: str) -> None:
        """A value cannot be stored."""

    def count_nul_removed(self, count: int) -> None:
        """So many NUL characters were removed."""


def convert_integers(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Int -> BIGINT."""
    quick = to_arrow_if_long(column, ColumnType.BIGINT)
    if isinstance(quick, ArrowColumn):
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
            sink.reject_value(row, _integer_reason(sink, decimals.literal(value)))
    return out


def _integer_reason(sink: ConversionSink, value: object) -> str:
    return f"integer out of range for {sink.profile.display_name} on {value}"


def _decimal_reason(sink: ConversionSink, value: object) -> str:
    return f"decimal out of range for {sink.profile.display_name} on {value}"


def _timestamp_reason(sink: ConversionSink, value: object) -> str:
    return f"timestamp out of range for {sink.profile.display_name} on {value}"


def _format_received(value: object) -> str:
    """A number as received, as far as the decoder kept its literal."""
    kept = getattr(value, "literal", None)
    if isinstance(kept, str):
        return kept
    return decimals.literal(value) if isinstance(value, int) else str(value)


def _convert_each(column: ColumnValues, convert: Callable[[int, Any], Any]) -> list[Any]:
    return [None if v is None else convert(row, v) for row, v in enumerate(column)]


def convert_whole_numbers(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Numbers with a fraction or exponent that a schema calls integers -> BIGINT."""

    def convert(row: int, value: float | Decimal) -> int | None:
        number = int(value) if math.isfinite(value) and -1e19 < value < 1e19 else INT64_MAX + 1
        if not INT64_MIN <= number <= INT64_MAX:
            sink.reject_value(row, _integer_reason(sink, _format_received(value)))
            return None
        return number

    return _convert_each(column, convert)


def convert_doubles(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Float -> DOUBLE. NaN has no place in a key, where equal keys must be one."""
    if sink.key is None:
        return to_arrow_if_long(column, ColumnType.DOUBLE)
    out = list(column)
    for row, value in enumerate(column):
        if value is not None and math.isnan(value):
            sink.reject_value(row, _decimal_reason(sink, "NaN"))
            out[row] = None
    return out


def convert_numbers_to_doubles(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Int or Decimal -> DOUBLE."""

    def convert(row: int, value: int | Decimal) -> float | None:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            sink.reject_value(row, _decimal_reason(sink, _format_received(value)))
            return None
        return number

    if type(next(value for value in column if value is not None)) is int and None not in column:
        try:
            return to_arrow_if_long(list(map(float, column)), ColumnType.DOUBLE)
        except OverflowError:
            pass
    return _convert_each(column, convert)


def convert_booleans(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Bool -> BOOLEAN."""
    del sink
    return to_arrow_if_long(column, ColumnType.BOOLEAN)


def convert_texts(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Str -> TEXT, NUL characters treated as the option says; a key never holds one."""
    quick = to_arrow_if_long(column, ColumnType.TEXT)
    if isinstance(quick, ArrowColumn) and not quick.may_hold_byte(b"\0"):
        return quick
    joined = "".join(column) if None not in column else "".join(filter(None, column))
    if "\0" not in joined:
        return quick
    out = list(column)
    for row, value in enumerate(column):
        if value is None or "\0" not in value:
            continue
        if sink.key is not None:
            sink.reject_value(row, f"NUL character in key on {sink.key}")
            out[row] = None
        elif sink.nul_characters == "reject":
            sink.reject_value(row, "NUL character in text")
            out[row] = None
        elif sink.nul_characters == "replace":
            out[row] = value.replace("\0", "�")
        else:
            sink.count_nul_removed(value.count("\0"))
            out[row] = value.replace("\0", "")
    return out


def convert_to_decimals(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Int, float or Decimal -> DECIMAL."""
    profile = sink.profile

    def convert(row: int, value: float | Decimal) -> Decimal | None:
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        number = decimals.fit_decimal(exact, profile)
        if number is None:
            sink.reject_value(row, _decimal_reason(sink, _format_received(value)))
        return number

    return _convert_each(column, convert)


def convert_timestamps(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Datetimes with a zone, or instants beyond their years -> TIMESTAMP."""

    def convert(row: int, value: Any) -> int | None:
        if isinstance(value, datetime):
            number = timestamp_text.datetime_to_us(value)
            shown: object = timestamp_text.format_timestamp(number)
        else:
            number = value.microseconds
            shown = _format_received(value)
        if not sink.profile.timestamp_min_us <= number <= sink.profile.timestamp_max_us:
            sink.reject_value(row, _timestamp_reason(sink, shown))
            return None
        return number

    return _convert_each(column, convert)


def convert_formatted_texts(
    column: ColumnValues, choices: Sequence[ColumnType], sink: ConversionSink
) -> dict[ColumnType, ColumnValues]:
    """Str -> the first of the choices each value fits; TEXT where none does."""
    if not choices or choices[0] is ColumnType.TEXT:
        return {ColumnType.TEXT: convert_texts(column, sink)}
    if choices[0] is ColumnType.TIMESTAMP:
        quick = timestamp_text.parse_timestamp_column(column)
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
    read: dict[ColumnType, ColumnValues] = dict(out)
    if ColumnType.TEXT in read:
        read[ColumnType.TEXT] = convert_texts(read[ColumnType.TEXT], sink)
    return read


_FAILED = object()


def _read_timestamp(row: int, value: str, sink: ConversionSink, other: bool) -> object:
    try:
        number = timestamp_text.parse_timestamp(value)
    except timestamp_text.TimestampRangeError:
        if other and not value.startswith("0000"):
            return None
        sink.reject_value(row, _timestamp_reason(sink, value))
        return _FAILED
    if number is None:
        return None
    if not sink.profile.timestamp_min_us <= number <= sink.profile.timestamp_max_us:
        sink.reject_value(row, _timestamp_reason(sink, value))
        return _FAILED
    return number


def _read_decimal(row: int, value: str, sink: ConversionSink, other: bool) -> object:
    del other
    number = decimals.parse_decimal(value)
    if number is None:
        return None
    held = decimals.fit_decimal(number, sink.profile)
    if held is None:
        sink.reject_value(row, _decimal_reason(sink, value))
        return _FAILED
    return held


def _read_text(row: int, value: str, sink: ConversionSink, other: bool) -> object:
    del row, sink, other
    return value


_TEXT_READERS = {
    ColumnType.TIMESTAMP: _read_timestamp,
    ColumnType.DECIMAL: _read_decimal,
    ColumnType.TEXT: _read_text,
}
