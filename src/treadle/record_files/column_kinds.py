"""The types that a column of a CSV file can have: how they are recognized, and sent.

CSV says nothing about types. A column gets one by its name, by a JSON schema, or by the rule of
`guess_kind`. The values of a column with a type must all have its form.
"""

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

JSON_TYPES: Final = ("object", "array")


class ColumnKind(StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    JSON = "json"


# Possessive, so that a long text that does not match costs no more than its length.
_GUESSED_INTEGER = r"-?+(?:0|[1-9][0-9]{0,17}+)"
_PLAIN_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+"
_GUESSED_NUMBER = rf"{_PLAIN_NUMBER}(?:[eE][+-]?+[0-9]++)?+"
_BOOLEAN = r"(?:true|false|True|False|TRUE|FALSE)"
_TIMESTAMP = (
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[T ]"
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9}+)?+"
    r"(?: ?Z|[+-][0-9]{2}(?::?[0-9]{2})?+)?+"
)
_WANTED_INTEGER = r"[+-]?+[0-9]++"
_WANTED_NUMBER = r"[+-]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+"


def _compile_column(pattern: str) -> re.Pattern[str]:
    """Return the pattern of values joined by line ends; any of them may be empty."""
    return re.compile(rf"(?>{pattern})?+(?:\n(?>{pattern})?+)*+")


_GUESSES: Final = {
    ColumnKind.INTEGER: _compile_column(_GUESSED_INTEGER),
    ColumnKind.NUMBER: _compile_column(_GUESSED_NUMBER),
    ColumnKind.BOOLEAN: _compile_column(_BOOLEAN),
    ColumnKind.TIMESTAMP: _compile_column(_TIMESTAMP),
}
"""Kind -> the form of its values when it is guessed, in the order in which they are tried."""

_FORMS: Final = {
    ColumnKind.INTEGER: _WANTED_INTEGER,
    ColumnKind.NUMBER: _WANTED_NUMBER,
    ColumnKind.DECIMAL: _WANTED_NUMBER,
    ColumnKind.BOOLEAN: _BOOLEAN,
    ColumnKind.TIMESTAMP: _TIMESTAMP,
}
_PLAIN_NUMBERS: Final = _compile_column(_PLAIN_NUMBER)
_COLUMN_FORMS: Final = {kind: _compile_column(form) for kind, form in _FORMS.items()}
_VALUE_FORMS: Final = {kind: re.compile(form) for kind, form in _FORMS.items()}

EXPECTED: Final = {
    ColumnKind.INTEGER: "a whole number such as 42",
    ColumnKind.NUMBER: "a number such as 4.2",
    ColumnKind.DECIMAL: "a number such as 4.20",
    ColumnKind.BOOLEAN: "true or false",
    ColumnKind.TIMESTAMP: "a time such as 2026-01-31T12:00:00Z",
    ColumnKind.JSON: "a JSON value",
}
"""Kind -> what its values are, for a message."""

_SCHEMAS: Final[Mapping[ColumnKind, Mapping[str, Any]]] = {
    ColumnKind.TEXT: {"type": ["null", "string"]},
    ColumnKind.INTEGER: {"type": ["null", "integer"]},
    ColumnKind.NUMBER: {"type": ["null", "number"]},
    ColumnKind.DECIMAL: {"type": ["null", "string"], "format": "singer.decimal"},
    ColumnKind.BOOLEAN: {"type": ["null", "boolean"]},
    ColumnKind.TIMESTAMP: {"type": ["null", "string"], "format": "date-time"},
    ColumnKind.JSON: {},
}

DOUBLE_DIGITS: Final = 15
"""A double keeps so many decimal digits of any number."""

INTEGER_DIGITS: Final = 18
"""So many digits fit into 64 bits, whatever they are."""


class WrongValueError(ValueError):
    """A value of a column has not the form of its kind.

    Attributes:
        index: of the value in the column.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def guess_kind(values: Sequence[str]) -> ColumnKind:
    """Return the kind of a column of which these are values.

    Whole numbers of at most 18 digits without leading zeros are integers. Numbers with at most 15
    digits are numbers, and with more of them, and without an exponent, decimals. `true` and `false`
    in one case are booleans. A date with a time is a timestamp. Anything else, such as `007`, `+1`
    and a date without a time, is text, and so is a column without values.
    """
    if not any(values):
        return ColumnKind.TEXT
    joined = "\n".join(values)
    if joined.count("\n") >= len(values):  # a value has several lines
        return ColumnKind.TEXT
    for kind, form in _GUESSES.items():
        if form.fullmatch(joined):
            if kind is not ColumnKind.NUMBER or max(map(_count_digits, values)) <= DOUBLE_DIGITS:
                return kind
            return ColumnKind.DECIMAL if _PLAIN_NUMBERS.fullmatch(joined) else ColumnKind.TEXT
    return ColumnKind.TEXT


def _count_digits(value: str) -> int:
    return sum(map(str.isdigit, re.split("[eE]", value)[0].lstrip("-0.")))


def convert_column(kind: ColumnKind, values: Sequence[str]) -> list[Any]:
    """Return the values as they are encoded; None for an empty one.

    Raises:
        WrongValueError: a value has not the form of the kind.
    """
    if kind is ColumnKind.TEXT:
        return [value or None for value in values]
    if kind is ColumnKind.JSON:
        return _convert_json(values)
    joined = "\n".join(values)
    if _COLUMN_FORMS[kind].fullmatch(joined) is None or joined.count("\n") >= len(values):
        form = _VALUE_FORMS[kind]
        wrong = (i for i, value in enumerate(values) if value and not form.fullmatch(value))
        raise WrongValueError(next(wrong, 0))
    match kind:
        case ColumnKind.INTEGER:
            if max(map(len, values)) > INTEGER_DIGITS:
                return [_encode_number(value) if value else None for value in values]
            return [int(value) if value else None for value in values]
        case ColumnKind.NUMBER:
            if max(map(len, values)) > DOUBLE_DIGITS:
                return [_encode_number(value) if value else None for value in values]
            if "e" in joined or "E" in joined:  # only so are 15 characters beyond a double
                return [_encode_double(value) if value else None for value in values]
            return [float(value) if value else None for value in values]
        case ColumnKind.BOOLEAN:
            return [value[0] in "tT" if value else None for value in values]
        case ColumnKind.TIMESTAMP:
            if joined.count("T") == joined.count("Z") == len(values) and " " not in joined:
                return list(values)  # all are as they are to be
            return [_format_timestamp(value) if value else None for value in values]
        case _:
            return [value.removeprefix("+") or None for value in values]


def _encode_double(value: str) -> float | msgspec.Raw:
    """Return a number; one beyond a double as it is written, so that the server decides."""
    found = float(value)
    return found if math.isfinite(found) else _encode_number(value)


def _encode_number(value: str) -> msgspec.Raw:
    """Return a number as JSON with every digit that it has."""
    sign = "-" if value[0] == "-" else ""
    mantissa, letter, exponent = value.lstrip("+-").replace("E", "e").partition("e")
    whole, _, fraction = mantissa.partition(".")
    text = sign + (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")
    return msgspec.Raw(f"{text}{letter}{exponent}".encode())


def _convert_json(values: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for index, value in enumerate(values):
        try:
            raw = msgspec.json.decode(value, type=msgspec.Raw) if value else None
        except msgspec.DecodeError as error:
            raise WrongValueError(index) from error
        if raw is not None and "\n" in value:  # a record is one line
            raw = msgspec.Raw(msgspec.json.format(bytes(raw), indent=-1))
        found.append(raw)
    return found


def _format_timestamp(value: str) -> str:
    """Return a time as RFC 3339; one without a zone is in UTC."""
    if value[-1] == "Z" and value[10] == "T":
        return value
    date, time = value[:10], value[11:].replace(" ", "")
    zone = re.search(r"(Z|[+-][0-9:]+)$", time)
    if zone is None:
        return f"{date}T{time}Z"
    if zone[0] == "Z":
        return f"{date}T{time}"
    digits = zone[0][1:].replace(":", "").ljust(4, "0")
    return f"{date}T{time[: zone.start()]}{zone[0][0]}{digits[:2]}:{digits[2:]}"


def make_schema(
    kinds: Mapping[str, ColumnKind], known: Mapping[str, Any] | None = None
) -> bytes | None:
    """Return the JSON text of the schema of records with these fields; None if all are text.

    Args:
        kinds: field -> the kind of its values.
        known: field -> its own schema, where it has one.
    """
    if not known and all(kind is ColumnKind.TEXT for kind in kinds.values()):
        return None
    properties = {name: (known or {}).get(name, _SCHEMAS[kind]) for name, kind in kinds.items()}
    return msgspec.json.encode({"type": "object", "properties": properties})


def read_kind(schema: object) -> ColumnKind:
    """Return the kind of the values that a property of a JSON schema takes, by its type."""
    if not isinstance(schema, Mapping):
        return ColumnKind.TEXT
    types: set[str] = set()
    formats: set[object] = set()
    for one in (schema, *_list_alternatives(schema)):
        said = one.get("type", ())
        types |= {said} if isinstance(said, str) else {name for name in said if name != "null"}
        formats.add(one.get("format"))
    if "string" in types:
        if "date-time" in formats:
            return ColumnKind.TIMESTAMP
        return ColumnKind.DECIMAL if "singer.decimal" in formats else ColumnKind.TEXT
    if types & set(JSON_TYPES):
        return ColumnKind.JSON
    if "number" in types:
        return ColumnKind.NUMBER
    if "integer" in types:
        return ColumnKind.INTEGER
    return ColumnKind.BOOLEAN if "boolean" in types else ColumnKind.TEXT


def _list_alternatives(schema: Mapping[Any, Any]) -> list[Mapping[Any, Any]]:
    every = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return [one for one in every if isinstance(one, Mapping)]
