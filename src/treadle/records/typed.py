"""Records with types that JSON has not, as bytes for the log: what Transit bodies become.

A MessagePack array of maps. What MessagePack has is itself: instants are its timestamps, NaN and
infinity its floats. The rest are extensions, each with a text:

    1  decimal, the number's literal
    2  integer outside 64 bits, its digits
    3  instant outside the years 1 to 9999: microseconds since 1970, a blank, the text as sent
    4  number literal beyond a double
"""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from treadle.records.json import Huge

_DECIMAL, _INTEGER, _INSTANT, _HUGE = 1, 2, 3, 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Exact(Decimal):
    """A decimal on its way into a batch; comes out as Decimal."""

    __slots__ = ()


class Wide(int):
    """An integer outside 64 bits on its way into a batch; comes out as int."""

    __slots__ = ()


class Instant:
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
            isinstance(other, Instant)
            and self.microseconds == other.microseconds
            and self.literal == other.literal
        )

    def __hash__(self) -> int:
        return hash((self.microseconds, self.literal))

    def __repr__(self) -> str:
        return f"Instant({self.microseconds}, {self.literal!r})"


def instant(microseconds: int, literal: str) -> datetime | Instant:
    """A point in time as `datetime` in UTC where that can hold it, else as `Instant`."""
    try:
        return EPOCH + timedelta(0, 0, microseconds)
    except OverflowError:
        return Instant(microseconds, literal)


def _pack(value: object) -> msgspec.msgpack.Ext:
    write = _WRITERS.get(type(value))
    if write is None:
        raise TypeError(f"a record holds a {type(value).__name__}, which has no encoding")
    code, text = write(value)
    return msgspec.msgpack.Ext(code, text.encode())


_WRITERS: dict[type, Callable[[Any], tuple[int, str]]] = {
    Exact: lambda value: (_DECIMAL, str(value)),
    Wide: lambda value: (_INTEGER, str(int(value))),
    Instant: lambda value: (_INSTANT, f"{value.microseconds} {value.literal}"),
    Huge: lambda value: (_HUGE, value.literal),
}


def _unpack(code: int, data: memoryview) -> Any:
    text = str(data, "utf-8")
    if code == _DECIMAL:
        return Decimal(text)
    if code == _INTEGER:
        return int(text)
    if code == _HUGE:
        return Huge(text)
    microseconds, literal = text.split(" ", 1)
    return Instant(int(microseconds), literal)


_encode = msgspec.msgpack.Encoder(enc_hook=_pack).encode
_decode = msgspec.msgpack.Decoder(list[dict[str, Any]], ext_hook=_unpack).decode
_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_one = msgspec.msgpack.Decoder(ext_hook=_unpack).decode


def encode(record: Any) -> bytes:
    """The bytes for one record made of what `transit.decode` gives."""
    try:
        return _encode(record)
    except OverflowError:  # a plain integer outside 64 bits, which JSON numbers may be
        return _encode(_widened(record))


def encode_all(records: Sequence[Any]) -> bytes:
    """A batch's data: what `join` makes of all records encoded."""
    try:
        return _encode(records)
    except OverflowError:
        return join([encode(record) for record in records])


def join(records: Sequence[bytes | msgspec.Raw]) -> bytes:
    """A batch's data: encoded records as one array."""
    count = len(records)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(records)


def split(data: bytes) -> list[msgspec.Raw]:
    """The encoded records of a batch's data."""
    return _parts(data)


def _widened(value: Any) -> Any:
    if type(value) is dict:
        return {name: _widened(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_widened(inner) for inner in value]
    return Wide(value) if type(value) is int and not -(2**63) <= value < 2**63 else value


def decode(data: bytes) -> list[dict[str, Any]]:
    """The records of a batch's data."""
    return _decode(data)


def again(value: Any) -> Any:
    """A value of a decoded record as what `encode` takes."""
    if type(value) is dict:
        return {name: again(inner) for name, inner in value.items()}
    if type(value) is list:
        return [again(inner) for inner in value]
    return Exact(value) if type(value) is Decimal else value


def texts(data: bytes, indexes: Iterable[int]) -> list[str]:
    """JSON texts of single records: instants as RFC 3339 in UTC, NaN and infinity as strings."""
    parts = _parts(data)
    return [str(_json(_speakable(_one(parts[index]))), "utf-8") for index in indexes]


def _speak(value: object) -> object:
    if isinstance(value, Huge):
        return msgspec.Raw(_number(value.literal).encode())
    return str(getattr(value, "literal", value))


def _number(literal: str) -> str:
    """A number literal as JSON has it: in Transit a plus and further zeros may stand in front."""
    sign = literal[:1] if literal[:1] == "-" else ""
    digits = literal.lstrip("+-").lstrip("0")
    return f"{sign}{digits}" if digits[:1].isdigit() else f"{sign}0{digits}"


_json = msgspec.json.Encoder(decimal_format="number", enc_hook=_speak).encode


def _speakable(value: Any) -> Any:
    """The value with NaN and infinity replaced by strings, since JSON has no number for them."""
    if type(value) is dict:
        return {name: _speakable(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_speakable(inner) for inner in value]
    if type(value) is float and not math.isfinite(value):
        return str(value).upper().replace("INF", "Infinity").replace("NAN", "NaN")
    return value
