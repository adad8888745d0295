"""Bare records: JSON objects with nothing around them, as webhooks and pipelines send them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec

from treadle.errors import Refused
from treadle.records import json
from treadle.records.elements import check_values, first
from treadle.records.gather import array
from treadle.records.limits import RECORDS, VALUES
from treadle.records.message import Batch

NOT_OBJECTS = {"status": "ERROR", "message": "A JSON object or an array of objects is expected"}
TOO_MANY = {"status": "ERROR", "message": f"The batch contains more than {RECORDS} records"}

_values = msgspec.json.Decoder(msgspec.Raw).decode_lines


class Record(NamedTuple):
    """A record as text and as value."""

    text: msgspec.Raw
    value: dict[str, Any]


def parse(body: bytes) -> list[Record]:
    """The records of a body: an array of objects, or objects one after the other.

    Objects one after the other are what a single object and newline-delimited JSON have in common.
    Every value is decoded, so that what passes here passes in the loader.

    Raises:
        Refused: 400, the body is not JSON, or something else than objects, or more than 20,000.
    """
    text = json.unmarked(body)
    if not text.strip():
        json.malformed("the body is empty")
    try:
        slices = _slices(text)
    except json.SYNTAX_ERRORS:
        slices = _second_look(text)
    if len(slices) > RECORDS:
        raise Refused(400, TOO_MANY)
    for element in slices:
        if len(memoryview(element)) > VALUES:
            check_values(bytes(element), "json")
    joined = array(list(slices))
    values = json.decode(joined)
    if json.too_deep(joined):
        json.malformed(RecursionError())
    if not all(type(value) is dict for value in values):
        raise Refused(400, NOT_OBJECTS)
    return list(map(Record, slices, values))


def _slices(text: bytes) -> list[msgspec.Raw]:
    found: list[msgspec.Raw] = first(text) if text.lstrip()[:1] == b"[" else _values(text)
    return found


def _second_look(text: bytes) -> list[msgspec.Raw]:
    try:
        return _slices(json.repair(text))
    except json.SYNTAX_ERRORS as error:
        json.malformed(error)


def batch(
    records: Sequence[Record],
    table_name: str,
    key_names: Sequence[str],
    sequences: list[int],
) -> Batch:
    """The records as one batch whose values are typed by their JSON form."""
    return Batch(
        table_name=table_name,
        key_names=tuple(key_names),
        form="json",
        schema=b"",
        bookmark_names=(),
        sequences=sequences,
        versions=0,
        extracted=None,
        activations=[],
        data=array([record.text for record in records]),
    )


def refuse(reasons: list[dict[str, list[str]]]) -> NoReturn:
    """Refuse records for what is wrong with their fields (import-api.md 7.3)."""
    raise Refused(
        422,
        {
            "status": "ERROR",
            "error": "Request cannot be processed; see errors.",
            "errors": [{"reason": reason} for reason in reasons],
        },
    )
