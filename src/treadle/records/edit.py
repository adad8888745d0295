"""Editing of a stored record: it becomes a batch of its own, as it was or with changes.

The result has passed the checks of the import endpoints (import-api.md 7.3, 9.2), because the
record is made into a request and read again. What is not changed stays the same byte for byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from treadle.errors import OperatorError, RequestRefusedError
from treadle.records import batch as batches
from treadle.records import json_decoder, push, record_reader
from treadle.records.limits import BODY_BYTES_MAX
from treadle.records.message_batch import MessageBatch
from treadle.records.transit import encoding

_CLIENT_ID = 1
"""A placeholder: the account is not in question here."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class RecordEdit:
    """Changes of one record.

    Attributes:
        record: JSON text of an object that replaces it; None to keep it.
        put: field -> JSON text of its new value.
        drop: fields to remove.
    """

    record: bytes | None = None
    put: Mapping[str, bytes] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return self.record is not None or bool(self.put) or bool(self.drop)


def apply_edit(batch: MessageBatch, index: int, edit: RecordEdit = RecordEdit()) -> MessageBatch:
    """Make a batch of one record, edited, with its sequence, table version and key names.

    Args:
        batch: what was accepted.
        index: which of its records, counted from 0.
        edit: what to change.

    Raises:
        OperatorError: the record with that change would not be accepted; says why.
    """
    try:
        if batch.form == "transit":
            made = _edit_transit(batch, index, edit)
        elif batch.form == "schema":
            made = _edit_schema(batch, index, edit)
        else:
            made = _edit_json(batch, index, edit)
    except RequestRefusedError as refused:
        raise OperatorError(
            f"the record would be refused: {_summarize_refusal(refused)}"
        ) from refused
    extracted = None if batch.extracted is None else [batch.extracted[index]]
    return msgspec.structs.replace(
        made,
        extracted=extracted,
        bookmark_names=batch.bookmark_names,
        append_only=batch.append_only,
    )


def _edit_json(batch: MessageBatch, index: int, edit: RecordEdit) -> MessageBatch:
    message = _build_message(batch, index) | {"data": msgspec.Raw(_edit_text(batch, index, edit))}
    [made] = push.check_body(push.decode_body(_encode_body([message]), transit=False), _CLIENT_ID)
    return made


def _edit_schema(batch: MessageBatch, index: int, edit: RecordEdit) -> MessageBatch:
    data = msgspec.Raw(_edit_text(batch, index, edit))
    message = {"action": "upsert", "sequence": batch.sequences[index], "data": data}
    envelope = {
        "table_name": batch.table_name,
        "key_names": batch.key_names,
        "table_version": _get_version(batch, index),
        "schema": msgspec.Raw(batch.schema),
        "messages": [message],
    }
    [made] = batches.check_body(batches.decode_body(_encode_body(envelope)))
    return made


def _edit_transit(batch: MessageBatch, index: int, edit: RecordEdit) -> MessageBatch:
    """Edit a Transit record. Values without a change keep types that JSON does not have."""
    if edit.record is not None:
        record = _decode_object(edit.record)
    else:
        [decoded] = encoding.decode_records(
            encoding.join_records([encoding.split_records(batch.data)[index]])
        )
        record = encoding.make_encodable(decoded)
    record = {name: value for name, value in record.items() if name not in edit.drop}
    record |= {name: json_decoder.decode_json(text) for name, text in edit.put.items()}
    message = _build_message(batch, index) | {"key_names": list(batch.key_names), "data": record}
    [made] = push.check_body(push.PushBody(records=[message]), _CLIENT_ID)
    return made


def _build_message(batch: MessageBatch, index: int) -> dict[str, Any]:
    return {
        "client_id": _CLIENT_ID,
        "table_name": batch.table_name,
        "sequence": batch.sequences[index],
        "action": "upsert",
        "key_names": batch.key_names,
        "table_version": _get_version(batch, index),
    }


def _get_version(batch: MessageBatch, index: int) -> int:
    return batch.versions if isinstance(batch.versions, int) else batch.versions[index]


def _edit_text(batch: MessageBatch, index: int, edit: RecordEdit) -> bytes:
    """Return the record's JSON text after the edit."""
    if edit.record is None:
        text = record_reader.extract_texts(batch, [index])[0].encode()
    else:
        _decode_object(edit.record)
        text = edit.record.removeprefix(json_decoder.BOM).strip()
    if not edit.put and not edit.drop:
        return text
    members = dict(json_decoder.decode_members(json_decoder.repair_json(text)))
    for name in edit.drop:
        members.pop(name, None)
    for name, value in edit.put.items():
        json_decoder.decode_json(value)  # refuses what is not JSON
        members[name] = msgspec.Raw(value)
    pairs = (_encode(name) + b":" + bytes(value) for name, value in members.items())
    return b"{" + b",".join(pairs) + b"}"


def _decode_object(text: bytes) -> dict[str, Any]:
    value = json_decoder.decode_json(text)
    if type(value) is not dict:
        raise OperatorError('a record is a JSON object, such as {"id": 1}')
    return value


def _encode_body(value: object) -> bytes:
    body = _encode(value)
    if len(body) > BODY_BYTES_MAX:
        raise OperatorError(
            f"the record is {len(body)} bytes as a request, and {BODY_BYTES_MAX} fit into one"
        )
    return body


def _summarize_refusal(refused: RequestRefusedError) -> str:
    """Write the reason of a refusal on one line."""
    body = refused.body
    if isinstance(body, dict):
        kept = {name: body[name] for name in ("error", "errors", "message") if body.get(name)}
        body = kept.get("errors", kept.get("error", kept.get("message", body)))
    return body if isinstance(body, str) else _encode(body).decode()
