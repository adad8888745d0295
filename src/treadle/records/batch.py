"""The body of /v2/import/batch: one table, a JSON schema, messages (import-api.md 9, 10).

`decode` parses and checks the envelope, `check` the schema and the records. As with a push, typed
decoding leaves the records unread where nothing is wrong with the envelope, and what it refuses is
looked at again in the general way, which finds the documented words.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from treadle.records import batch_envelope, json_decoder
from treadle.records.batch_builder import join_json_array
from treadle.records.batch_envelope import ACTIVATE_VERSION, UPSERT
from treadle.records.data_points import has_too_many_points, may_exceed_data_points
from treadle.records.key_check import have_all_keys
from treadle.records.limits import (
    DATA_POINTS_MAX,
    DEPTH_MAX,
    RECORDS_MAX,
    SEQUENCE_MAX,
    SEQUENCE_MIN,
)
from treadle.records.message_batch import MessageBatch
from treadle.records.partial_decode import split_into_arrays
from treadle.records.validation.schema_loader import SchemaError
from treadle.records.validation.schema_validator import SchemaValidator, get_validator
from treadle.records.validation.schema_validator import make_schema_refusal as schema_refusal

_Sequence = Annotated[int, msgspec.Meta(ge=SEQUENCE_MIN, le=SEQUENCE_MAX)]
_NO_DATA = msgspec.Raw(b"")


class _BatchMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    action: Literal["upsert", "activate_version"]
    sequence: _Sequence
    data: msgspec.Raw = _NO_DATA
    time_extracted: str | msgspec.UnsetType = msgspec.UNSET
    vintage: str | msgspec.UnsetType = msgspec.UNSET


class _BatchUpsert(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message as most are: a record, without the time at which it was extracted."""

    action: Literal["upsert"]
    sequence: _Sequence
    data: msgspec.Raw


_M = TypeVar("_M", _BatchMessage, _BatchUpsert)


class _BatchEnvelope(msgspec.Struct, Generic[_M], forbid_unknown_fields=True, gc=False):
    """A body whose envelope is in order.

    Attributes:
        schema: JSON text of the schema, an object.
        messages: with the text of their data as sent; empty for an activation.
    """

    table_name: str
    schema: msgspec.Raw
    messages: Annotated[list[_M], msgspec.Meta(min_length=1, max_length=RECORDS_MAX)]
    key_names: tuple[str, ...] | None = None
    table_version: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)] = 0
    bookmark_names: tuple[str, ...] = ()


Envelope = _BatchEnvelope[_BatchMessage]

_decode_messages = msgspec.json.Decoder(Envelope).decode
_decode_upserts = msgspec.json.Decoder(_BatchEnvelope[_BatchUpsert]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_body(body: bytes) -> list[MessageBatch]:
    """What a body says: `decode` and `check`, in less time where everything is in order.

    Raises:
        Refused: see `decode` and `check`.
    """
    found = read_fast(body)
    return check_body(decode_body(body)) if found is None else found


def read_fast(body: bytes) -> list[MessageBatch] | None:
    """The batch of a body that surely is in order; None where a closer look is needed.

    Nothing is asked of a message by itself: its parts become columns, and that its data is an
    object with the right values is for the schema's decoder to say.
    """
    extracted = None
    try:
        body.isascii() or str(body, "utf-8")
        try:
            sent: Envelope | _BatchEnvelope[_BatchUpsert] = _decode_upserts(body)
        except msgspec.ValidationError:
            # Here and there a time or an activation: the first message tells in most bodies.
            sent = mixed = _decode_messages(body)
            if not all(message.action == UPSERT for message in mixed.messages):
                return None
            times = [message.time_extracted or message.vintage for message in mixed.messages]
            extracted = [time or None for time in times] if any(times) else None
        if not (_is_common_envelope(sent) and not json_decoder.may_hide_long_integer(body)):
            return None
        records = [message.data for message in sent.messages]
        lengths = list(map(len, records))
        longest = max(lengths)
        if longest > 2 * DATA_POINTS_MAX or not min(lengths):
            return None
        # A level takes a bracket to open and one to close. To count them takes longer than all that
        # is done here besides decoding, so short records are let through first. Two brackets of
        # each message are its own and its data's.
        if longest > 2 * (DEPTH_MAX - 3) and (
            body.count(b"{") + body.count(b"[") - 2 * len(records) >= DEPTH_MAX - 3
        ):
            return None
        data = join_json_array(records)
        schema = bytes(sent.schema)
        if not get_validator(schema).decodes_all(sent.key_names or (), data):
            return None
    except (*json_decoder.SYNTAX_ERRORS, SchemaError):
        return None
    return [
        MessageBatch(
            table_name=sent.table_name,
            key_names=sent.key_names or (),
            form="schema",
            schema=schema,
            bookmark_names=sent.bookmark_names,
            sequences=[message.sequence for message in sent.messages],
            versions=sent.table_version,
            extracted=extracted,
            activations=[],
            data=data,
        )
    ]


def decode_body(body: bytes) -> Envelope:
    """Parse a body and check all but the schema and the records (import-api.md 9.2 steps 5-7).

    Args:
        body: as received, inflated.

    Raises:
        Refused: 400, not parsable or not the documented envelope.
    """
    try:
        body.isascii() or str(body, "utf-8")
        quick = _decode_messages(body)
    except json_decoder.SYNTAX_ERRORS:
        return decode_body_exactly(body)
    return quick if _is_common_body(body, quick) else decode_body_exactly(body)


def _is_common_body(body: bytes, quick: Envelope) -> bool:
    """Whether what typed decoding has not read can only be what it should be."""
    return (
        _is_common_envelope(quick)
        and (
            _are_all_plain_upserts(body, quick.messages)
            or all(map(_is_common_message, quick.messages))
        )
        and not json_decoder.may_hide_long_integer(body)
    )


def _is_common_envelope(quick: Envelope | _BatchEnvelope[_BatchUpsert]) -> bool:
    return (
        bool(quick.table_name.strip())
        and bytes(quick.schema).startswith(b"{")
        and not json_decoder.is_too_deep(bytes(quick.schema), DEPTH_MAX - 1)
    )


def _are_all_plain_upserts(body: bytes, messages: list[_BatchMessage]) -> bool:
    """Whether all are upserts of objects and the body has too few brackets for a deep one."""
    # Two brackets of each message are its own and its data's.
    brackets = body.count(b"{") + body.count(b"[") - 2 * len(messages)
    return brackets < DEPTH_MAX - 3 and all(
        message.action == UPSERT and bytes(message.data)[:1] == b"{" for message in messages
    )


def _is_common_message(message: _BatchMessage) -> bool:
    data = memoryview(message.data)
    if message.action == ACTIVATE_VERSION:
        return not data and message.time_extracted is message.vintage is msgspec.UNSET
    return bytes(data[:1]) == b"{" and (
        len(data) <= 2 * (DEPTH_MAX - 3) or not json_decoder.is_too_deep(bytes(data), DEPTH_MAX - 3)
    )


def decode_body_exactly(body: bytes) -> Envelope:
    """What `decode` does, without the typed look that is quicker for bodies in order."""
    body = json_decoder.strip_byte_order_mark(body)
    value = json_decoder.decode_json(body)
    if json_decoder.is_body_too_deep(body):
        json_decoder.refuse_malformed(RecursionError())
    batch_envelope.check_envelope(value)
    repaired = json_decoder.repair_json(body)
    members = _decode_members(repaired)
    messages = []
    end = 0
    for message, piece in zip(value["messages"], _decode_slices(members["messages"]), strict=True):
        data = _NO_DATA
        if "data" in message:
            text = bytes(_decode_members(piece)["data"])
            # What was sent stands at the same place before the repair.
            start = max(repaired.find(text, end), 0)
            end = start + len(text)
            data = msgspec.Raw(body[start:end] if repaired != body else text)
        messages.append(_make_message(message, data))
    return Envelope(
        table_name=value["table_name"],
        schema=members["schema"],
        messages=messages,
        key_names=tuple(value.get("key_names") or ()),
        table_version=value.get("table_version", 0),
        bookmark_names=tuple(value.get("bookmark_names", ())),
    )


def _make_message(message: dict[str, Any], data: msgspec.Raw) -> _BatchMessage:
    return _BatchMessage(
        action=message["action"],
        sequence=message["sequence"],
        data=data,
        time_extracted=message.get("time_extracted", msgspec.UNSET),
        vintage=message.get("vintage", msgspec.UNSET),
    )


def check_body(sent: Envelope) -> list[MessageBatch]:
    """Check the schema and the records against it and the key names (9.2 steps 8-10).

    Args:
        sent: from `decode`.

    Returns:
        One batch of form "schema".

    Raises:
        Refused: 400 with the text for the first bad record; nothing is kept then.
    """
    schema = bytes(sent.schema)
    key_names = sent.key_names or ()
    upserts = [message for message in sent.messages if message.action == UPSERT]
    data = join_json_array([message.data for message in upserts])
    try:
        conforming = get_validator(schema)
        if not conforming.decodes_all(key_names, data) and not (
            _all_conform(conforming, upserts) and have_all_keys(key_names, data)
        ):
            _refuse_first_failure(conforming, key_names, sent)
    except SchemaError as error:
        raise schema_refusal(error) from error
    if may_exceed_data_points(message.data for message in sent.messages):
        for index, message in enumerate(sent.messages):
            if has_too_many_points(message.data):
                raise batch_envelope.make_refusal(
                    f"Record {index} cannot contain more than {DATA_POINTS_MAX} data points"
                )
    extracted = [message.time_extracted or message.vintage or None for message in upserts]
    return [
        MessageBatch(
            table_name=sent.table_name,
            key_names=key_names,
            form="schema",
            schema=schema,
            bookmark_names=sent.bookmark_names,
            sequences=[message.sequence for message in upserts],
            versions=sent.table_version,
            extracted=extracted if any(extracted) else None,
            activations=list(_locate_activations(sent)),
            data=data,
        )
    ]


def _all_conform(conforming: SchemaValidator, upserts: list[_BatchMessage]) -> bool:
    """Whether all records surely conform; a part of them is decoded at a time."""
    if conforming.all_valid_fast is None:
        return False
    try:
        pieces = split_into_arrays([message.data for message in upserts], kind="json")
        return all(conforming.all_valid_fast(json_decoder.decode_fast(piece)) for piece in pieces)
    except (*json_decoder.SYNTAX_ERRORS, ValueError):
        return False


def _refuse_first_failure(
    conforming: SchemaValidator, key_names: tuple[str, ...], sent: Envelope
) -> None:
    """Refuse the first record that does not conform or lacks a key; nothing when there is none."""
    conforming.budget.begin_request(sum(len(memoryview(message.data)) for message in sent.messages))
    for index, message in enumerate(sent.messages):
        if message.action != UPSERT:
            continue
        record = json_decoder.decode_json(bytes(message.data))
        lines = conforming.explain_failure(record)
        if lines is not None:
            raise batch_envelope.make_refusal(f"Record {index} did not conform to schema:\n{lines}")
        for name in key_names:
            if record.get(name) is None:
                raise batch_envelope.make_refusal(f"Record is missing key property {name}")


def _locate_activations(sent: Envelope) -> Iterator[tuple[int, int]]:
    records = 0
    for message in sent.messages:
        if message.action == ACTIVATE_VERSION:
            yield records, sent.table_version
        else:
            records += 1
