"""Raw records: JSON objects with nothing around them, as webhooks and pipelines send them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.batch_builder import join_json_array
from treadle.records.limits import DEPTH_MAX, RECORDS_MAX
from treadle.records.message_batch import MessageBatch
from treadle.records.partial_decode import slice_elements, split_into_arrays
from treadle.step_check import StepCheck, pass_step

NOT_OBJECTS = {"status": "ERROR", "message": "A JSON object or an array of objects is expected"}
TOO_MANY_RECORDS = {
    "status": "ERROR",
    "message": f"The batch contains more than {RECORDS_MAX} records",
}

_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines

_LINES_BYTES = 128 * 1024
"""Bytes that are split into objects at a time: each object takes memory until they are counted."""

_BOUNDARY = re.compile(rb"\}\s*+(?=[^\s,\]}])")
"""Behind an object, where another value begins: between two records, or in a string."""

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NEIGHBOURS = re.compile(rb"[\w\]}]\s+[\w\[-]|[\]}]\s*[\[\w-]")
"""Two values with nothing between them, of which the second is no object."""


class RawRecord(NamedTuple):
    """A record as text and as value."""

    text: msgspec.Raw
    value: dict[str, Any]


def parse_records(body: bytes, check: StepCheck = pass_step) -> list[RawRecord]:
    """Return the records of a body: an array of objects, or objects one after the other.

    Objects one after the other are what a single object and newline-delimited JSON have in common.
    Every value is decoded, so that what passes here passes in the loader.

    Args:
        body: as received, decompressed.
        check: called between steps.

    Raises:
        RequestRefusedError: 400, the body is not JSON, is something else than objects, or has
            more than 20,000.
    """
    text = json_decoder.strip_byte_order_mark(body)
    if not text.strip():
        json_decoder.refuse_malformed("the body is empty")
    try:
        slices = _split_records(text, check)
    except json_decoder.SYNTAX_ERRORS:
        slices = _split_repaired(text, check)
    if len(slices) > RECORDS_MAX:
        raise RequestRefusedError(400, TOO_MANY_RECORDS)
    values: list[Any] = []
    for part in split_into_arrays(slices, kind="json", check=check):
        values += json_decoder.decode_json(part, check=check)
    levels = DEPTH_MAX - 1
    if any(json_decoder.is_too_deep(bytes(one), levels, check) for one in slices):
        json_decoder.refuse_malformed(RecursionError())
    if not all(type(value) is dict for value in values):
        raise RequestRefusedError(400, NOT_OBJECTS)
    return list(map(RawRecord, slices, values))


def _split_records(text: bytes, check: StepCheck) -> list[msgspec.Raw]:
    if text.lstrip()[:1] == b"[":
        return slice_elements(text)
    found: list[msgspec.Raw] = []
    begin, size = 0, _LINES_BYTES
    while begin < len(text) and len(found) <= RECORDS_MAX:
        check()
        cut = _BOUNDARY.search(text, begin + size)
        end = len(text) if cut is None else cut.end()
        part = text[begin:end]
        if len(text) > _LINES_BYTES and part.lstrip()[:1] not in (b"{", b""):
            raise RequestRefusedError(400, NOT_OBJECTS)
        if cut is None and len(part) > _LINES_BYTES:
            _check_neighbours(part, check)
        try:
            found += _decode_lines(part)
        except json_decoder.SYNTAX_ERRORS:
            if cut is None:
                raise
            size *= 2  # the boundary may be in a string
        else:
            begin, size = end, _LINES_BYTES
    return found


def _check_neighbours(text: bytes, check: StepCheck) -> None:
    """Refuse a text in which numbers, strings or arrays follow each other as records would."""
    for piece in json_decoder.PIECES.finditer(text):
        check()
        if _NEIGHBOURS.search(_STRINGS.sub(b" 0 ", piece[0])):
            raise RequestRefusedError(400, NOT_OBJECTS)


def _split_repaired(text: bytes, check: StepCheck) -> list[msgspec.Raw]:
    try:
        return _split_records(json_decoder.repair_json(text, check), check)
    except json_decoder.SYNTAX_ERRORS as error:
        json_decoder.refuse_malformed(error)


def add_fields(records: Sequence[RawRecord], fields: Mapping[str, str]) -> list[RawRecord]:
    """Return records with further fields. They come last, so that they count if sent, too."""
    if not fields:
        return list(records)
    more = msgspec.json.encode(fields)[1:]
    found = []
    for text, value in records:
        inside = bytes(text).rstrip()[:-1]
        comma = b"," if value else b""
        found.append(RawRecord(msgspec.Raw(inside + comma + more), {**value, **fields}))
    return found


def build_batch(
    records: Sequence[RawRecord],
    table_name: str,
    key_names: Sequence[str],
    sequences: list[int],
    *,
    append_only: bool = False,
) -> MessageBatch:
    """Return the records as one batch whose values are typed by their JSON form."""
    return MessageBatch(
        table_name=table_name,
        key_names=tuple(key_names),
        form="json",
        schema=b"",
        bookmark_names=(),
        sequences=sequences,
        versions=0,
        extracted=None,
        activations=[],
        data=join_json_array([record.text for record in records]),
        append_only=append_only,
    )
