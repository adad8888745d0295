"""Names, texts and order of JSON values in Java, as far as error texts show them."""

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from treadle.records.json_decoder import HugeNumber


def _encode_literal(value: object) -> msgspec.Raw:
    return msgspec.Raw(str(getattr(value, "literal", value)).encode())


_encode_json = msgspec.json.Encoder(enc_hook=_encode_literal).encode


def get_type_name(value: Any) -> str:
    """Return the simple name of a JSON value's Java class (import-api.md 10.4)."""
    if value is None:
        return "Null"
    if type(value) is bool:
        return "Boolean"
    if type(value) is int:
        if -(2**31) <= value < 2**31:
            return "Integer"
        return "Long" if -(2**63) <= value < 2**63 else "BigInteger"
    if type(value) is str:
        return "String"
    if type(value) is dict:
        return "JSONObject"
    return "JSONArray" if type(value) is list else "Double"


def format_double(value: float | Decimal) -> str:
    """Format a number like `Double.toString`: `1.0`, `1.0E-5`, `1.2345678E7`."""
    if isinstance(value, HugeNumber):
        return value.literal
    try:
        number = float(value)
    except OverflowError:  # an integer beyond a double
        return "Infinity" if value > 0 else "-Infinity"
    if number == 0 or not math.isfinite(number):
        return repr(number)
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    text = "".join(map(str, digits))
    point = len(text) + int(exponent)  # digits before the decimal point
    minus = "-" if sign else ""
    if -3 < point <= 7:
        whole = text[:point].ljust(point, "0") if point > 0 else "0"
        fraction = text[point:] if point > 0 else "0" * -point + text
        return f"{minus}{whole}.{fraction or '0'}"
    return f"{minus}{text[0]}.{text[1:] or '0'}E{point - 1}"


def format_number(value: float | Decimal) -> str:
    """Format a number like Java's `toString`, integers as integers."""
    return str(value) if type(value) is int else format_double(value)


def format_value(value: Any) -> str:
    """Format a value for a text: strings bare, numbers like Java's, the rest as JSON."""
    if type(value) is str:
        return value
    if type(value) is int or isinstance(value, float | Decimal):
        return format_number(value)
    return str(_encode_json(value), "utf-8")


def sort_by_hash(names: Iterable[str]) -> list[str]:
    """Sort names in the order of a Java HashMap (import-api.md 10.6)."""
    names = list(names)
    size = 16
    while len(names) > size * 3 // 4:
        size *= 2
    return sorted(names, key=lambda name: _spread_hash(name) & (size - 1))


def _spread_hash(name: str) -> int:
    value = 0
    units = name.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value ^ value >> 16
