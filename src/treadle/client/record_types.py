"""The types of Python values: a JSON schema says what JSON cannot. Pure.

A time becomes a `date-time`, a `Decimal` a `singer.decimal`; in objects and arrays, too. Other
types that JSON lacks become text. A time without a zone is taken as UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import msgspec

from treadle.errors import OperatorError

_PLAIN: Final = frozenset({str, int, float, bool})
_NUMBERS: Final = frozenset({int, float, Decimal})
_TIMESTAMP: Final = {"type": ["null", "string"], "format": "date-time"}
_DECIMAL: Final = {"type": ["null", "string"], "format": "singer.decimal"}


class RecordValueError(OperatorError):
    """A record holds a value that cannot be sent. The text names the record."""


def describe_types(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the JSON schema of the types that JSON lacks; None if the records have none."""
    properties = _describe_fields(records)
    return {"type": "object", "properties": properties} if properties else None


def _describe_fields(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    fields: dict[str, list[Any]] = {}
    for one in objects:
        for name, value in one.items():
            fields.setdefault(name, []).append(value)
    described = {name: _describe_values(values) for name, values in fields.items()}
    return {name: schema for name, schema in described.items() if schema is not None}


def _describe_values(values: Sequence[Any]) -> dict[str, Any] | None:
    kinds = {_find_kind(kind) for kind in set(map(type, values))} - {type(None)}
    if kinds <= _PLAIN:
        return None
    if kinds == {datetime}:
        return _TIMESTAMP
    if Decimal in kinds and kinds <= _NUMBERS:
        return _DECIMAL
    there = [value for value in values if value is not None]
    if kinds == {dict}:
        properties = _describe_fields(there)
        return {"type": ["null", "object"], "properties": properties} if properties else None
    if kinds == {list}:
        items = _describe_values(list(chain.from_iterable(there)))
        return None if items is None else {"type": ["null", "array"], "items": items}
    return None


def _find_kind(kind: type) -> type:
    for known in (datetime, dict, list):
        if issubclass(kind, known):
            return known
    return list if issubclass(kind, tuple) else kind


def encode_records(
    records: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None, first: int = 1
) -> list[bytes]:
    """Return the JSON text of each record.

    Args:
        records: the records.
        schema: of their types, as `describe_types` returns it.
        first: number of the first record, for a message.

    Raises:
        RecordValueError: a record is no mapping, or has a value that cannot be sent.
    """
    prepared = records if schema is None else [_prepare(record, schema) for record in records]
    try:
        lines = _ENCODER.encode_lines(prepared).split(b"\n")[:-1]
    except (TypeError, ValueError, OverflowError, RecursionError):
        lines = []
    if len(lines) == len(records):
        return lines
    found = []
    for number, record in enumerate(prepared, first):
        try:
            found.append(_ENCODER.encode(record))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise RecordValueError(f"Record {number} cannot be sent as JSON: {error}.") from error
    return found


def _prepare(value: Any, schema: Mapping[str, Any] | None) -> Any:
    if value is None or schema is None:
        return value
    if schema is _TIMESTAMP:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if schema is _DECIMAL:
        return str(value)
    if "properties" in schema:
        properties = schema["properties"]
        return {name: _prepare(item, properties.get(name)) for name, item in value.items()}
    if "items" in schema:
        return [_prepare(item, schema["items"]) for item in value]
    return value


def _encode_other(value: Any) -> Any:
    """Return JSON of a value that the encoder does not know."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a number of numpy
        return value.item()
    raise TypeError(f"a value of the type {type(value).__name__} has no form in JSON")


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_encode_other)
