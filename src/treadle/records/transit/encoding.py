"""Encoding of Transit records, whose values have types that JSON does not have, for the log.

The encoding is a MessagePack array of maps. Instants are MessagePack timestamps, NaN and infinity
are its floats. The other types are extensions with a text:

    1  decimal, the number's literal
    2  integer outside 64 bits, its digits
    3  instant outside the years 1 to 9999: microseconds since 1970, a blank, the text as sent
    4  number literal beyond a double
"""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from treadle.records.json_decoder import HugeNumber
from treadle.timestamps import to_datetime

_DECIMAL_CODE, _INTEGER_CODE, _INSTANT_CODE, _HUGE_CODE = 1, 2, 3, 4


# The encoder writes a plain Decimal as a text and refuses an integer outside 64 bits before it asks
# a hook. Types of our own reach the hook.
class ExactDecimal(Decimal):
    """A decimal to be encoded; it is decoded as Decimal."""

    __slots__ = ()


class WideInteger(int):
    """An integer outside 64 bits to be encoded; it is decoded as int."""

    __slots__ = ()


class DistantInstant:
    """A point in time that `datetime` cannot hold.

    Attributes:
        microseconds: since 1970 UTC; any size.
        literal: as sent, without the tag, for the reason of a rejection (loading.md 3.3).
    """

    __slots__ = ("literal", "microseconds")

    def __init__(self, microseconds: int, literal: str) -> None:
        self.microseconds = microseconds
        self.literal = literal

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DistantInstant)
            and self.microseconds == other.microseconds
            and self.literal == other.literal
        )

    def __hash__(self) -> int:
        return hash((self.microseconds, self.literal))

    def __repr__(self) -> str:
        return f"DistantInstant({self.microseconds}, {self.literal!r})"


def make_instant(microseconds: int, literal: str) -> datetime | DistantInstant:
    """Return a point in time as `datetime` in UTC, or `DistantInstant` if that cannot hold it."""
    try:
        return to_datetime(microseconds)
    except OverflowError:
        return DistantInstant(microseconds, literal)


def _encode_extension(value: object) -> msgspec.msgpack.Ext:
    write = _WRITERS.get(type(value))
    if write is None:
        raise TypeError(f"a record holds a {type(value).__name__}, which has no encoding")
    code, text = write(value)
    return msgspec.msgpack.Ext(code, text.encode())


_WRITERS: dict[type, Callable[[Any], tuple[int, str]]] = {
    ExactDecimal: lambda value: (_DECIMAL_CODE, str(value)),
    WideInteger: lambda value: (_INTEGER_CODE, str(int(value))),
    DistantInstant: lambda value: (_INSTANT_CODE, f"{value.microseconds} {value.literal}"),
    HugeNumber: lambda value: (_HUGE_CODE, value.literal),
}


def _decode_extension(code: int, data: memoryview) -> Any:
    text = str(data, "utf-8")
    if code == _DECIMAL_CODE:
        return Decimal(text)
    if code == _INTEGER_CODE:
        return int(text)
    if code == _HUGE_CODE:
        return HugeNumber(text)
    microseconds, literal = text.split(" ", 1)
    return DistantInstant(int(microseconds), literal)


_encode = msgspec.msgpack.Encoder(enc_hook=_encode_extension).encode
_decode_record = msgspec.msgpack.Decoder(ext_hook=_decode_extension).decode

decode_records = msgspec.msgpack.Decoder(list[dict[str, Any]], ext_hook=_decode_extension).decode
"""Decode the records of a batch's data."""

split_records = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
"""Split a batch's data into encoded records."""


def encode_record(record: Any) -> bytes:
    """Encode one record as `decode_transit` gives it."""
    try:
        return _encode(record)
    except OverflowError:  # a plain integer outside 64 bits, which JSON numbers may be
        return _encode(_widen_integers(record))


def encode_records(records: Sequence[Any]) -> bytes:
    """Encode records as a batch's data: the same as `join_records` of all records encoded."""
    try:
        return _encode(records)
    except OverflowError:
        return join_records([encode_record(record) for record in records])


def join_records(records: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Join encoded records into a batch's data: one array."""
    count = len(records)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(records)


def _widen_integers(value: Any) -> Any:
    if type(value) is dict:
        return {name: _widen_integers(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_widen_integers(inner) for inner in value]
    return WideInteger(value) if type(value) is int and not -(2**63) <= value < 2**63 else value


def make_encodable(value: Any) -> Any:
    """Return a value of a decoded record as `encode_record` takes it."""
    if type(value) is dict:
        return {name: make_encodable(inner) for name, inner in value.items()}
    if type(value) is list:
        return [make_encodable(inner) for inner in value]
    return ExactDecimal(value) if type(value) is Decimal else value


def render_texts(data: bytes, indexes: Iterable[int]) -> list[str]:
    """Return JSON texts of single records: instants in RFC 3339, NaN and infinity as strings."""
    parts = split_records(data)
    return [
        str(_encode_json(_render_non_finite(_decode_record(parts[index]))), "utf-8")
        for index in indexes
    ]


def _render_value(value: object) -> object:
    if isinstance(value, HugeNumber):
        return msgspec.Raw(_normalize_literal(value.literal).encode())
    return str(getattr(value, "literal", value))


def _normalize_literal(literal: str) -> str:
    """Return a number literal as JSON has it: Transit allows a plus and leading zeros."""
    sign = literal[:1] if literal[:1] == "-" else ""
    digits = literal.lstrip("+-").lstrip("0")
    return f"{sign}{digits}" if digits[:1].isdigit() else f"{sign}0{digits}"


_encode_json = msgspec.json.Encoder(decimal_format="number", enc_hook=_render_value).encode


def _render_non_finite(value: Any) -> Any:
    """Replace NaN and infinity by strings, since JSON has no number for them."""
    if type(value) is dict:
        return {name: _render_non_finite(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_render_non_finite(inner) for inner in value]
    if type(value) is float and not math.isfinite(value):
        return str(value).upper().replace("INF", "Infinity").replace("NAN", "NaN")
    return value
