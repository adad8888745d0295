"""The body of /v2/import/batch: one table, a JSON schema, messages (import-api.md 9, 10).

`decode` parses and checks the envelope, `check` the schema and the records. As with a push, typed
decoding leaves the records unread where nothing is wrong with the envelope, and what it refuses is
looked at again in the general way, which finds the documented words.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from treadle.records import envelope, json
from treadle.records.elements import parts
from treadle.records.envelope import ACTIVATE, UPSERT
from treadle.records.gather import array
from treadle.records.limits import DATA_POINTS, DEPTH, RECORDS, SEQUENCE_MAX, SEQUENCE_MIN
from treadle.records.message import Batch
from treadle.records.points import any_long, too_many_points
from treadle.records.present import all_present
from treadle.records.validation.conformity import Conformity, conformity
from treadle.records.validation.conformity import refusal as schema_refusal
from treadle.records.validation.loading import SchemaError

_Sequence = Annotated[int, msgspec.Meta(ge=SEQUENCE_MIN, le=SEQUENCE_MAX)]
_NOTHING = msgspec.Raw(b"")


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    action: Literal["upsert", "activate_version"]
    sequence: _Sequence
    data: msgspec.Raw = _NOTHING
    time_extracted: str | msgspec.UnsetType = msgspec.UNSET
    vintage: str | msgspec.UnsetType = msgspec.UNSET


class _Upsert(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message as most are: a record, without the time at which it was extracted."""

    action: Literal["upsert"]
    sequence: _Sequence
    data: msgspec.Raw


_M = TypeVar("_M", _Message, _Upsert)


class _Envelope(msgspec.Struct, Generic[_M], forbid_unknown_fields=True, gc=False):
    """A body whose envelope is in order.

    Attributes:
        schema: JSON text of the schema, an object.
        messages: with the text of their data as sent; empty for an activation.
    """

    table_name: str
    schema: msgspec.Raw
    messages: Annotated[list[_M], msgspec.Meta(min_length=1, max_length=RECORDS)]
    key_names: tuple[str, ...] | None = None
    table_version: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)] = 0
    bookmark_names: tuple[str, ...] = ()


Envelope = _Envelope[_Message]

_decode = msgspec.json.Decoder(Envelope).decode
_decode_upserts = msgspec.json.Decoder(_Envelope[_Upsert]).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode


def judge(body: bytes) -> list[Batch]:
    """What a body says: `decode` and `check`, in less time where everything is in order.

    Raises:
        Refused: see `decode` and `check`.
    """
    found = quickly(body)
    return check(decode(body)) if found is None else found


def quickly(body: bytes) -> list[Batch] | None:
    """The batch of a body that surely is in order; None where a closer look is needed.

    Nothing is asked of a message by itself: its parts become columns, and that its data is an
    object with the right values is for the schema's decoder to say.
    """
    extracted = None
    try:
        body.isascii() or str(body, "utf-8")
        try:
            sent: Envelope | _Envelope[_Upsert] = _decode_upserts(body)
        except msgspec.ValidationError:
            # Here and there a time or an activation: the first message tells in most bodies.
            sent = mixed = _decode(body)
            if not all(message.action == UPSERT for message in mixed.messages):
                return None
            times = [message.time_extracted or message.vintage for message in mixed.messages]
            extracted = [time or None for time in times] if any(times) else None
        if not (_usual_envelope(sent) and not json.may_hide_long_integer(body)):
            return None
        records = [message.data for message in sent.messages]
        lengths = list(map(len, records))
        longest = max(lengths)
        if longest > 2 * DATA_POINTS or not min(lengths):
            return None
        # A level takes a bracket to open and one to close. To count them takes longer than all that
        # is done here besides decoding, so short records are let through first. Two brackets of
        # each message are its own and its data's.
        if longest > 2 * (DEPTH - 3) and (
            body.count(b"{") + body.count(b"[") - 2 * len(records) >= DEPTH - 3
        ):
            return None
        data = array(records)
        schema = bytes(sent.schema)
        if not conformity(schema).surely(sent.key_names or (), data):
            return None
    except (*json.SYNTAX_ERRORS, SchemaError):
        return None
    return [
        Batch(
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


def decode(body: bytes) -> Envelope:
    """Parse a body and check all but the schema and the records (import-api.md 9.2 steps 5-7).

    Args:
        body: as received, inflated.

    Raises:
        Refused: 400, not parsable or not the documented envelope.
    """
    try:
        body.isascii() or str(body, "utf-8")
        quick = _decode(body)
    except json.SYNTAX_ERRORS:
        return decode_generally(body)
    return quick if _usual(body, quick) else decode_generally(body)


def _usual(body: bytes, quick: Envelope) -> bool:
    """Whether what typed decoding has not read can only be what it should be."""
    return (
        _usual_envelope(quick)
        and (_all_plain(body, quick.messages) or all(map(_usual_message, quick.messages)))
        and not json.may_hide_long_integer(body)
    )


def _usual_envelope(quick: Envelope | _Envelope[_Upsert]) -> bool:
    return (
        bool(quick.table_name.strip())
        and bytes(quick.schema).startswith(b"{")
        and not json.too_deep(bytes(quick.schema), DEPTH - 1)
    )


def _all_plain(body: bytes, messages: list[_Message]) -> bool:
    """Whether all are upserts of objects and the body has too few brackets for a deep one."""
    # Two brackets of each message are its own and its data's.
    brackets = body.count(b"{") + body.count(b"[") - 2 * len(messages)
    return brackets < DEPTH - 3 and all(
        message.action == UPSERT and bytes(message.data)[:1] == b"{" for message in messages
    )


def _usual_message(message: _Message) -> bool:
    data = memoryview(message.data)
    if message.action == ACTIVATE:
        return not data and message.time_extracted is message.vintage is msgspec.UNSET
    return bytes(data[:1]) == b"{" and (
        len(data) <= 2 * (DEPTH - 3) or not json.too_deep(bytes(data), DEPTH - 3)
    )


def decode_generally(body: bytes) -> Envelope:
    """What `decode` does, without the typed look that is quicker for bodies in order."""
    body = json.unmarked(body)
    value = json.decode(body)
    if json.body_too_deep(body):
        json.malformed(RecursionError())
    envelope.check(value)
    repaired = json.repair(body)
    members = _members(repaired)
    messages = []
    end = 0
    for message, piece in zip(value["messages"], _slices(members["messages"]), strict=True):
        data = _NOTHING
        if "data" in message:
            text = bytes(_members(piece)["data"])
            # What was sent stands at the same place before the repair.
            start = max(repaired.find(text, end), 0)
            end = start + len(text)
            data = msgspec.Raw(body[start:end] if repaired != body else text)
        messages.append(_message(message, data))
    return Envelope(
        table_name=value["table_name"],
        schema=members["schema"],
        messages=messages,
        key_names=tuple(value.get("key_names") or ()),
        table_version=value.get("table_version", 0),
        bookmark_names=tuple(value.get("bookmark_names", ())),
    )


def _message(message: dict[str, Any], data: msgspec.Raw) -> _Message:
    return _Message(
        action=message["action"],
        sequence=message["sequence"],
        data=data,
        time_extracted=message.get("time_extracted", msgspec.UNSET),
        vintage=message.get("vintage", msgspec.UNSET),
    )


def check(sent: Envelope) -> list[Batch]:
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
    data = array([message.data for message in upserts])
    try:
        conforming = conformity(schema)
        if not conforming.surely(key_names, data) and not (
            _conform(conforming, upserts) and all_present(key_names, data)
        ):
            _explain(conforming, key_names, sent)
    except SchemaError as error:
        raise schema_refusal(error) from error
    if any_long(message.data for message in sent.messages):
        for index, message in enumerate(sent.messages):
            if too_many_points(message.data):
                raise envelope.refusal(
                    f"Record {index} cannot contain more than {DATA_POINTS} data points"
                )
    extracted = [message.time_extracted or message.vintage or None for message in upserts]
    return [
        Batch(
            table_name=sent.table_name,
            key_names=key_names,
            form="schema",
            schema=schema,
            bookmark_names=sent.bookmark_names,
            sequences=[message.sequence for message in upserts],
            versions=sent.table_version,
            extracted=extracted if any(extracted) else None,
            activations=list(_activations(sent)),
            data=data,
        )
    ]


def _conform(conforming: Conformity, upserts: list[_Message]) -> bool:
    """Whether all records surely conform; a part of them is decoded at a time."""
    if conforming.quick is None:
        return False
    try:
        pieces = parts([message.data for message in upserts], kind="json")
        return all(conforming.quick(json.quickly(piece)) for piece in pieces)
    except (*json.SYNTAX_ERRORS, ValueError):
        return False


def _explain(conforming: Conformity, key_names: tuple[str, ...], sent: Envelope) -> None:
    """Refuse the first record that does not conform or lacks a key; nothing when there is none."""
    conforming.effort.allow(sum(len(memoryview(message.data)) for message in sent.messages))
    for index, message in enumerate(sent.messages):
        if message.action != UPSERT:
            continue
        record = json.decode(bytes(message.data))
        lines = conforming.explain(record)
        if lines is not None:
            raise envelope.refusal(f"Record {index} did not conform to schema:\n{lines}")
        for name in key_names:
            if record.get(name) is None:
                raise envelope.refusal(f"Record is missing key property {name}")


def _activations(sent: Envelope) -> Iterator[tuple[int, int]]:
    records = 0
    for message in sent.messages:
        if message.action == ACTIVATE:
            yield records, sent.table_version
        else:
            records += 1
