"""A record of a batch as a batch of its own, as it was or with some of it changed.

What comes out passed the checks that the request it came with had to pass (import-api.md 7.3, 9.2),
because it is made into such a request and read again. What is not changed stays byte for byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from treadle.errors import OperatorFault, Refused
from treadle.records import batch as batches
from treadle.records import json, push, reading, typed
from treadle.records.limits import BODY_BYTES
from treadle.records.message import Batch

_CLIENT = 1
"""Stands for the account, which is not in question."""

_encode = msgspec.json.Encoder(decimal_format="number").encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change of a record.

    Attributes:
        record: JSON text of an object that takes its place; None to keep it.
        put: field -> JSON text of its new value.
        drop: fields to leave out.
    """

    record: bytes | None = None
    put: Mapping[str, bytes] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return self.record is not None or bool(self.put) or bool(self.drop)


def amended(batch: Batch, index: int, edit: Edit = Edit()) -> Batch:
    """One record of a batch, with its sequence, table version and key names, edited.

    Args:
        batch: what was accepted.
        index: which of its records, counted from 0.
        edit: what to change.

    Raises:
        OperatorFault: the record with that change would not be accepted; says why.
    """
    try:
        if batch.form == "transit":
            made = _transit(batch, index, edit)
        elif batch.form == "schema":
            made = _schema(batch, index, edit)
        else:
            made = _json(batch, index, edit)
    except Refused as refused:
        raise OperatorFault(f"the record would be refused: {_told(refused)}") from refused
    extracted = None if batch.extracted is None else [batch.extracted[index]]
    return msgspec.structs.replace(made, extracted=extracted, bookmark_names=batch.bookmark_names)


def _json(batch: Batch, index: int, edit: Edit) -> Batch:
    message = _message(batch, index) | {"data": msgspec.Raw(_text(batch, index, edit))}
    [made] = push.check(push.decode(_body([message]), transit=False), _CLIENT)
    return made


def _schema(batch: Batch, index: int, edit: Edit) -> Batch:
    data = msgspec.Raw(_text(batch, index, edit))
    message = {"action": "upsert", "sequence": batch.sequences[index], "data": data}
    envelope = {
        "table_name": batch.table_name,
        "key_names": batch.key_names,
        "table_version": _version(batch, index),
        "schema": msgspec.Raw(batch.schema),
        "messages": [message],
    }
    [made] = batches.check(batches.decode(_body(envelope)))
    return made


def _transit(batch: Batch, index: int, edit: Edit) -> Batch:
    """Values that are not changed keep the types that JSON has not."""
    if edit.record is not None:
        record = _object(edit.record)
    else:
        [decoded] = typed.decode(typed.join([typed.split(batch.data)[index]]))
        record = typed.again(decoded)
    record = {name: value for name, value in record.items() if name not in edit.drop}
    record |= {name: json.decode(text) for name, text in edit.put.items()}
    message = _message(batch, index) | {"key_names": list(batch.key_names), "data": record}
    [made] = push.check(push.Push(records=[message]), _CLIENT)
    return made


def _message(batch: Batch, index: int) -> dict[str, Any]:
    return {
        "client_id": _CLIENT,
        "table_name": batch.table_name,
        "sequence": batch.sequences[index],
        "action": "upsert",
        "key_names": batch.key_names,
        "table_version": _version(batch, index),
    }


def _version(batch: Batch, index: int) -> int:
    return batch.versions if isinstance(batch.versions, int) else batch.versions[index]


def _text(batch: Batch, index: int, edit: Edit) -> bytes:
    """The record's JSON text after the edit."""
    if edit.record is None:
        text = reading.texts(batch, [index])[0].encode()
    else:
        _object(edit.record)
        text = edit.record.removeprefix(json.BOM).strip()
    if not edit.put and not edit.drop:
        return text
    members = dict(_members(json.repair(text)))
    for name in edit.drop:
        members.pop(name, None)
    for name, value in edit.put.items():
        json.decode(value)  # or it is no value
        members[name] = msgspec.Raw(value)
    pairs = (_encode(name) + b":" + bytes(value) for name, value in members.items())
    return b"{" + b",".join(pairs) + b"}"


def _object(text: bytes) -> dict[str, Any]:
    value = json.decode(text)
    if type(value) is not dict:
        raise OperatorFault('a record is a JSON object, such as {"id": 1}')
    return value


def _body(value: object) -> bytes:
    body = _encode(value)
    if len(body) > BODY_BYTES:
        raise OperatorFault(
            f"the record is {len(body)} bytes as a request, and {BODY_BYTES} fit into one"
        )
    return body


def _told(refused: Refused) -> str:
    """What an answer says, on one line."""
    body = refused.body
    if isinstance(body, dict):
        kept = {name: body[name] for name in ("error", "errors", "message") if body.get(name)}
        body = kept.get("errors", kept.get("error", kept.get("message", body)))
    return body if isinstance(body, str) else _encode(body).decode()
