"""Converts columns of one JSON class to one logical type, with the checks of loading.md 3.3.

Every converter takes a column that holds one Python class and None, and gives the column as the
destination gets it. What is out of range is given to `ConversionSink.reject_value` and becomes
None.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from treadle.tables.arrow_column import ArrowColumn, TypedColumn, to_arrow_if_long, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.prepare import decimals, timestamp_text
from treadle.tables.prepare.frame import fill_gaps, is_blank
from treadle.tables.prepare.type_rules import TypeRules
from treadle.tables.profile import DestinationProfile
from treadle.tables.rejection_reason import RejectionCode, RejectionReason
from treadle.text import cut_text
from treadle.timestamps import format_exact, from_datetime

ColumnValues = Sequence[Any]

TypedColumns = dict[ColumnType, TypedColumn]
"""The values of one field by the logical type they got."""

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
_DOUBLE_INTEGER_MAX = 1 << 53
"""A double holds every whole number up to this one."""

_RANGE_CODES = {
    "integer": RejectionCode.INTEGER_OUT_OF_RANGE,
    "decimal": RejectionCode.DECIMAL_OUT_OF_RANGE,
    "timestamp": RejectionCode.TIMESTAMP_OUT_OF_RANGE,
}
_NUL_IN_TEXT = RejectionReason("NUL character in text", RejectionCode.NUL_CHARACTER)


class ConversionSink(Protocol):
    """Takes the reports of a converter about the column it works on."""

    @property
    def profile(self) -> DestinationProfile:
        """Return the limits of the destination."""

    @property
    def nul_characters(self) -> str:
        """Return the option of that name."""

    @property
    def decimals(self) -> str:
        """Return the option of that name."""

    @property
    def json_special_numbers(self) -> str:
        """Return the option of that name."""

    @property
    def key(self) -> str | None:
        """Return the name of the key field that the column holds, None for any other field."""

    def reject_value(self, row: int, reason: RejectionReason) -> None:
        """Report a value that cannot be stored; the sink knows the field."""

    def count_rounded(self, row: int) -> None:
        """Report a value that its column does not hold exactly."""

    def count_nul_removed(self, count: int) -> None:
        """Report how many NUL characters were removed."""


def convert_values(
    kind: type, column: ColumnValues, rules: TypeRules, sink: ConversionSink
) -> TypedColumns:
    """Convert a column by the class of its values.

    Args:
        kind: the one class that its values have besides None.
        column: the values.
        rules: of the field.
        sink: where to report to.
    """
    if kind is str:
        if rules.listed_texts:
            return _convert_listed_texts(column, rules, sink)
        return convert_formatted_texts(column, rules.texts, sink)
    if kind is int:
        return {rules.integer: _INTEGER_CONVERTERS[rules.integer](column, sink)}
    if kind is float:
        return _convert_fractions(column, rules.number, convert_doubles, sink)
    if kind is bool:
        return {ColumnType.BOOLEAN: to_arrow_if_long(column, ColumnType.BOOLEAN)}
    if kind is Decimal:
        return _convert_fractions(column, rules.decimal, convert_numbers_to_doubles, sink)
    if issubclass(kind, Decimal):  # a number too large for a double
        return _convert_fractions(column, rules.number, convert_numbers_to_doubles, sink)
    return {ColumnType.TIMESTAMP: convert_timestamps(column, sink)}


def _convert_fractions(
    column: ColumnValues, target: ColumnType, to_double: "Converter", sink: ConversionSink
) -> TypedColumns:
    """Convert numbers with a fraction or exponent."""
    if target is ColumnType.DECIMAL:
        return _split_exact(column, sink)
    if target is not ColumnType.BIGINT:
        return {target: to_double(column, sink)}
    whole_only = [v if v is not None and v % 1 == 0 else None for v in column]
    if whole_only.count(None) == column.count(None):
        return {target: convert_whole_numbers(column, sink)}
    rest = [None if a is not None else v for a, v in zip(whole_only, column, strict=True)]
    return {
        target: convert_whole_numbers(whole_only, sink),
        ColumnType.DOUBLE: to_double(rest, sink),
    }


def _split_exact(column: ColumnValues, sink: ConversionSink) -> TypedColumns:
    """Convert to decimals; with the option `decimals: exact` what would be rounded becomes text.

    A key is rounded all the same: it cannot be in a column of its own.
    """
    if not keeps_exact(sink):
        return {ColumnType.DECIMAL: convert_to_decimals(column, sink)}
    scale = sink.profile.decimal_scale_max
    finer = [v is not None and decimals.has_finer_digits(_make_exact(v), scale) for v in column]
    if not any(finer):
        return {ColumnType.DECIMAL: convert_to_decimals(column, sink)}
    texts = [
        decimals.format_decimal(_make_exact(v)) if is_finer else None
        for v, is_finer in zip(column, finer, strict=True)
    ]
    rest = [None if is_finer else v for v, is_finer in zip(column, finer, strict=True)]
    found: TypedColumns = {ColumnType.TEXT: texts}
    if not is_blank(rest):
        found[ColumnType.DECIMAL] = convert_to_decimals(rest, sink)
    return found


def keeps_exact(sink: ConversionSink) -> bool:
    """Return whether decimals that a column would round are kept as texts."""
    return sink.decimals == "exact" and sink.key is None


def _make_exact(value: float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _convert_listed_texts(
    column: ColumnValues, rules: TypeRules, sink: ConversionSink
) -> TypedColumns:
    """Texts that an alternative lists one by one become TEXT, the others follow the rest."""
    named = [v if v in rules.listed_texts else None for v in column]
    rest = [v if v not in rules.listed_texts else None for v in column]
    found = {} if is_blank(rest) else convert_formatted_texts(rest, rules.texts, sink)
    if not is_blank(named):
        text = convert_texts(named, sink)
        known = found.get(ColumnType.TEXT)
        found[ColumnType.TEXT] = text if known is None else fill_gaps(text, known)
    return found


def convert_integers(column: ColumnValues, sink: ConversionSink) -> TypedColumn:
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
            sink.reject_value(row, _range_reason(sink, "integer", decimals.format_integer(value)))
    return out


def _range_reason(sink: ConversionSink, kind: str, value: object) -> RejectionReason:
    return RejectionReason(
        f"{kind} out of range for {sink.profile.display_name} on {value}", _RANGE_CODES[kind]
    )


def _format_received(value: object) -> str:
    """Return a number as it was received, as far as the decoder kept its literal."""
    kept = getattr(value, "literal", None)
    if isinstance(kept, str):
        return kept
    return decimals.format_integer(value) if isinstance(value, int) else str(value)


def _convert_each(column: ColumnValues, convert: Callable[[int, Any], Any]) -> list[Any]:
    return [None if v is None else convert(row, v) for row, v in enumerate(column)]


def convert_whole_numbers(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Numbers with a fraction or exponent that a schema calls integers -> BIGINT."""

    def convert(row: int, value: float | Decimal) -> int | None:
        number = int(value) if math.isfinite(value) and -1e19 < value < 1e19 else INT64_MAX + 1
        if not INT64_MIN <= number <= INT64_MAX:
            sink.reject_value(row, _range_reason(sink, "integer", _format_received(value)))
            return None
        return number

    return _convert_each(column, convert)


def convert_doubles(column: ColumnValues, sink: ConversionSink) -> TypedColumn:
    """Float -> DOUBLE. NaN has no place in a key, where equal keys must be one."""
    is_wrong: Callable[[float], bool] = math.isnan
    if not sink.profile.nonfinite_doubles:
        is_wrong = _is_nonfinite
    elif sink.key is None:
        return to_arrow_if_long(column, ColumnType.DOUBLE)
    out = list(column)
    for row, value in enumerate(column):
        if value is not None and is_wrong(value):
            sink.reject_value(row, _range_reason(sink, "decimal", _name_special(value)))
            out[row] = None
    return to_arrow_if_long(out, ColumnType.DOUBLE) if sink.key is None else out


def _is_nonfinite(value: float) -> bool:
    return not math.isfinite(value)


def _name_special(value: float) -> str:
    """Return "not a number" or an infinity as Transit and JSON5 write it."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def convert_numbers_to_doubles(column: ColumnValues, sink: ConversionSink) -> TypedColumn:
    """Int or Decimal -> DOUBLE."""

    def convert(row: int, value: int | Decimal) -> float | None:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            sink.reject_value(row, _range_reason(sink, "decimal", _format_received(value)))
            return None
        if type(value) is int and abs(value) > _DOUBLE_INTEGER_MAX and int(number) != value:
            sink.count_rounded(row)
        return number

    whole = type(next(value for value in column if value is not None)) is int
    exact = whole and None not in column
    if exact and -_DOUBLE_INTEGER_MAX <= min(column) <= max(column) <= _DOUBLE_INTEGER_MAX:
        return to_arrow_if_long(list(map(float, column)), ColumnType.DOUBLE)
    return _convert_each(column, convert)


def convert_texts(column: ColumnValues, sink: ConversionSink) -> TypedColumn:
    """Str -> TEXT, NUL characters treated as the option says; a key never holds one."""
    return _cut_texts(_treat_nul(column, sink), sink)


def _cut_texts(column: TypedColumn, sink: ConversionSink) -> TypedColumn:
    """Cut texts that are longer than the destination takes; a key is not cut but rejected."""
    bytes_max = sink.profile.text_bytes_max
    if bytes_max is None:
        return column
    held = to_values(column)
    # No character takes more than four bytes, so most texts need not be encoded.
    long = [
        row
        for row, text in enumerate(held)
        if text is not None and len(text) * 4 > bytes_max and _measure(text) > bytes_max
    ]
    if not long:
        return column
    out = list(held)
    for row in long:
        if sink.key is not None:
            reason = f"text out of range for {sink.profile.display_name} in key on {sink.key}"
            sink.reject_value(row, RejectionReason(reason, RejectionCode.ROW_TOO_BIG))
            out[row] = None
        else:
            sink.count_rounded(row)
            out[row] = cut_text(out[row], bytes_max)
    return out


def _measure(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _treat_nul(column: ColumnValues, sink: ConversionSink) -> TypedColumn:
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
            reason = f"NUL character in key on {sink.key}"
            sink.reject_value(row, RejectionReason(reason, RejectionCode.NUL_CHARACTER))
            out[row] = None
        elif sink.nul_characters == "reject":
            sink.reject_value(row, _NUL_IN_TEXT)
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
        exact = _make_exact(value)
        number = decimals.fit_decimal(exact, profile)
        if number is None:
            sink.reject_value(row, _range_reason(sink, "decimal", _format_received(value)))
        elif number is not exact and number != exact:
            sink.count_rounded(row)
        return number

    return _convert_each(column, convert)


def convert_timestamps(column: ColumnValues, sink: ConversionSink) -> ColumnValues:
    """Datetimes with a zone, or instants beyond their years -> TIMESTAMP."""

    def convert(row: int, value: Any) -> int | None:
        if isinstance(value, datetime):
            number = from_datetime(value)
            shown: object = format_exact(number)
        else:
            number = value.microseconds
            shown = _format_received(value)
        if not sink.profile.timestamp_min_us <= number <= sink.profile.timestamp_max_us:
            sink.reject_value(row, _range_reason(sink, "timestamp", shown))
            return None
        return number

    return _convert_each(column, convert)


def convert_formatted_texts(
    column: ColumnValues, choices: Sequence[ColumnType], sink: ConversionSink
) -> TypedColumns:
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
    read: TypedColumns = dict(out)
    if ColumnType.TEXT in out:
        read[ColumnType.TEXT] = convert_texts(out[ColumnType.TEXT], sink)
    return read


_FAILED = object()


def _read_timestamp(row: int, value: str, sink: ConversionSink, other: bool) -> object:
    try:
        number = timestamp_text.parse_timestamp(value)
    except timestamp_text.TimestampRangeError:
        if other:
            return None
        sink.reject_value(row, _range_reason(sink, "timestamp", value))
        return _FAILED
    if number is None:
        return None
    if not sink.profile.timestamp_min_us <= number <= sink.profile.timestamp_max_us:
        sink.reject_value(row, _range_reason(sink, "timestamp", value))
        return _FAILED
    if timestamp_text.is_finer_than_stored(value):
        sink.count_rounded(row)
    return number


def _read_decimal(row: int, value: str, sink: ConversionSink, other: bool) -> object:
    del other
    number = decimals.parse_decimal(value)
    if number is None:
        return None
    if keeps_exact(sink) and decimals.has_finer_digits(number, sink.profile.decimal_scale_max):
        return None  # it is text
    held = decimals.fit_decimal(number, sink.profile)
    if held is None:
        sink.reject_value(row, _range_reason(sink, "decimal", value))
        return _FAILED
    if held is not number and held != number:
        sink.count_rounded(row)
    return held


def _read_text(row: int, value: str, sink: ConversionSink, other: bool) -> object:
    del row, sink, other
    return value


_TEXT_READERS = {
    ColumnType.TIMESTAMP: _read_timestamp,
    ColumnType.DECIMAL: _read_decimal,
    ColumnType.TEXT: _read_text,
}

Converter = Callable[[ColumnValues, ConversionSink], TypedColumn]

_INTEGER_CONVERTERS: dict[ColumnType, Converter] = {
    ColumnType.BIGINT: convert_integers,
    ColumnType.DOUBLE: convert_numbers_to_doubles,
    ColumnType.DECIMAL: convert_to_decimals,
}


# --- objects and arrays as JSON texts -------------------------------------------------------------


def _encode_special(value: object) -> object:
    if hasattr(value, "microseconds"):
        return format_exact(value.microseconds)
    return str(value)


_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_encode_special)

_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped NUL character in a JSON text: behind an even number of backslashes."""


def encode_json(value: object) -> str:
    """Write a value of a record as a JSON text."""
    return _encoder.encode(value).decode()


def convert_to_json(column: ColumnValues, sink: ConversionSink) -> list[str | None]:
    """Write objects and arrays as JSON texts (options nested, max_nesting).

    They hold no NUL characters, which jsonb refuses.
    """
    if sink.json_special_numbers == "text":
        column = [None if v is None else _name_special_numbers(v) for v in column]
    out: list[str | None] = [None if v is None else encode_json(v) for v in column]
    for row, text in enumerate(out):
        if text is not None and "\\u0000" in text:
            out[row] = text = _remove_escaped_nul(row, text, sink)
        if text is not None and _is_too_long(text, sink.profile):
            reason = f"text out of range for {sink.profile.display_name}"
            sink.reject_value(row, RejectionReason(reason, RejectionCode.ROW_TOO_BIG))
            out[row] = None
    return out


def _is_too_long(text: str, profile: DestinationProfile) -> bool:
    return profile.text_bytes_max is not None and _measure(text) > profile.text_bytes_max


def _name_special_numbers(value: Any) -> Any:
    """Return a copy with texts for NaN and the infinities, which JSON has no form of.

    Only Transit brings them.
    """
    whole = [value]
    waiting: list[Any] = [whole]
    while waiting:
        place = waiting.pop()
        for at, each in list(place.items() if isinstance(place, dict) else enumerate(place)):
            if isinstance(each, dict | list):
                place[at] = each.copy()
                waiting.append(place[at])
            elif isinstance(each, float) and not math.isfinite(each):
                place[at] = "NaN" if math.isnan(each) else "Infinity" if each > 0 else "-Infinity"
    return whole[0]


def _remove_escaped_nul(row: int, text: str, sink: ConversionSink) -> str | None:
    other = "\N{REPLACEMENT CHARACTER}" if sink.nul_characters == "replace" else ""
    cleaned, count = _ESCAPED_NUL.subn(rf"\1{other}", text)
    if count and sink.nul_characters == "reject":
        sink.reject_value(row, _NUL_IN_TEXT)
        return None
    if sink.nul_characters == "remove":
        sink.count_nul_removed(count)
    return cleaned
