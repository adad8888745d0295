"""Raw records: JSON objects with nothing around them, as webhooks and pipelines send them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.batch_builder import join_json_array
from treadle.records.limits import RECORDS_MAX, VALUES_MAX
from treadle.records.message_batch import MessageBatch
from treadle.records.partial_decode import check_value_count, slice_elements
from treadle.step_check import StepCheck, pass_step

NOT_OBJECTS = {"status": "ERROR", "message": "A JSON object or an array of objects is expected"}
TOO_MANY_RECORDS = {
    "status": "ERROR",
    "message": f"The batch contains more than {RECORDS_MAX} records",
}

_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines


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
        slices = _split_records(text)
    except json_decoder.SYNTAX_ERRORS:
        slices = _split_repaired(text, check)
    if len(slices) > RECORDS_MAX:
        raise RequestRefusedError(400, TOO_MANY_RECORDS)
    for element in slices:
        if len(memoryview(element)) > VALUES_MAX:
            check_value_count(bytes(element), "json")
    joined = join_json_array(list(slices))
    values = json_decoder.decode_json(joined)
    if json_decoder.is_too_deep(joined):
        json_decoder.refuse_malformed(RecursionError())
    if not all(type(value) is dict for value in values):
        raise RequestRefusedError(400, NOT_OBJECTS)
    return list(map(RawRecord, slices, values))


def _split_records(text: bytes) -> list[msgspec.Raw]:
    found: list[msgspec.Raw] = (
        slice_elements(text) if text.lstrip()[:1] == b"[" else _decode_lines(text)
    )
    return found


def _split_repaired(text: bytes, check: StepCheck) -> list[msgspec.Raw]:
    try:
        return _split_records(json_decoder.repair_json(text, check))
    except json_decoder.SYNTAX_ERRORS as error:
        json_decoder.refuse_malformed(error)


def build_batch(
    records: Sequence[RawRecord],
    table_name: str,
    key_names: Sequence[str],
    sequences: list[int],
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
    )
