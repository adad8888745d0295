"""Readers of /v2/import/batch bodies: one table, a JSON schema, messages (import-api.md 9, 10).

There are two readers. The fast one decodes into structs that leave the records unread; it accepts
bodies in which nothing is wrong and declines all others. The exact one decides about those and
finds the documented texts for what is wrong: `decode_body` parses a body and checks its envelope,
`check_body` checks the schema and the records.

Both spend the effort of a request. Where other requests wait it is small, and it is known before a
step that the step can be finished (`read_inline`). What takes more is read once more where it
delays nobody (`encode_body`, a function for a task process).
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records import batch_envelope, json_decoder
from treadle.records.batch_builder import join_json_array
from treadle.records.batch_envelope import ACTIVATE_VERSION
from treadle.records.data_points import has_too_many_points, may_exceed_data_points
from treadle.records.field_check import UPSERT, are_table_names
from treadle.records.key_check import have_all_keys
from treadle.records.limits import (
    DATA_POINTS_MAX,
    DEPTH_MAX,
    RECORDS_MAX,
    SEQUENCE_MAX,
    SEQUENCE_MIN,
)
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.records.partial_decode import split_into_arrays
from treadle.records.validation.effort import (
    ENDLESS,
    Effort,
    EffortSpentError,
    make_inline_effort,
    make_request_effort,
)
from treadle.records.validation.schema_loader import SchemaError
from treadle.records.validation.schema_validator import (
    TOO_MUCH_WORK,
    SchemaValidator,
    get_validator,
    make_schema_refusal,
)

_Sequence = Annotated[int, msgspec.Meta(ge=SEQUENCE_MIN, le=SEQUENCE_MAX)]
_KEYS_PER_UNIT = 16
"""Keys that are looked up in one unit of effort."""
_NO_DATA = msgspec.Raw(b"")
_RECORD_DEPTH_MAX = DEPTH_MAX - 3
"""Levels that are left for a record, inside the body, its array of messages and its message."""


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
    """A body whose envelope is valid.

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

_encode_payloads = msgspec.msgpack.Encoder().encode
_decode_payloads = msgspec.msgpack.Decoder(list[tuple[str, int, bytes]]).decode
_decode_messages = msgspec.json.Decoder(Envelope).decode
_decode_upserts = msgspec.json.Decoder(_BatchEnvelope[_BatchUpsert]).decode


def read_body(body: bytes, effort: Effort | None = None) -> list[MessageBatch]:
    """Read a body with the fast reader, or with the exact one if that declines.

    Args:
        body: as received, decompressed.
        effort: what may be spent; what a request may cost where it delays nobody, if not given.

    Raises:
        RequestRefusedError: see `decode_body` and `check_body`.
        EffortSpentError: it takes more than that.
    """
    effort = make_request_effort(len(body)) if effort is None else effort
    found = _accept_fast(body, effort)
    if isinstance(found, MessageBatch):
        return [found]
    # A record that is not an object makes the envelope wrong, too.
    if found is None or not all(bytes(memoryview(record)[:1]) == b"{" for record in found):
        return check_body(decode_body(body, effort), effort)
    return check_body(_decode_messages(body), effort)


def read_inline(body: bytes) -> list[MessageBatch]:
    """Read a body where other requests wait.

    Raises:
        RequestRefusedError: see `decode_body` and `check_body`.
        EffortSpentError: it takes, or could take, too long.
    """
    return read_body(body, make_inline_effort())


def encode_body(body: bytes) -> bytes:
    """Read a body, and encode what it holds for `decode_payloads`: a function for a task process.

    Raises:
        RequestRefusedError: as `read_body`, and 400 where the effort of a request is not enough.
    """
    try:
        batches = read_body(body)
    except (EffortSpentError, MemoryError) as error:
        raise make_effort_refusal() from error
    return _encode_payloads(
        [(batch.table_name, len(batch), encode_batch(batch)) for batch in batches]
    )


def decode_payloads(encoded: bytes) -> list[tuple[str, int, bytes]]:
    """Return what `encode_body` encoded: table name, number of records and encoded batch."""
    found: list[tuple[str, int, bytes]] = _decode_payloads(encoded)
    return found


def make_effort_refusal() -> RequestRefusedError:
    """Make the answer to a request that takes more effort than it may."""
    return make_schema_refusal(SchemaError(TOO_MUCH_WORK))


def read_fast(body: bytes) -> list[MessageBatch] | None:
    """Read a body with the fast reader; None if it declines, and for a body with an activation."""
    try:
        found = _accept_fast(body, make_inline_effort())
    except EffortSpentError:
        return None
    return [found] if isinstance(found, MessageBatch) and not found.activations else None


def _accept_fast(body: bytes, effort: Effort) -> MessageBatch | list[msgspec.Raw] | None:
    """Return the batch of a body that surely is valid.

    If only the envelope surely is, return the texts of the records; if not even that, None. No
    message is looked at by itself: the messages become columns, and the decoder of the schema tells
    whether their data are objects with valid values.
    """
    extracted = None
    activations: list[tuple[int, int]] = []
    try:
        # The decoder leaves strings in unread data unchecked; a body must be UTF-8 as a whole.
        body.isascii() or str(body, "utf-8")
        try:
            sent: Envelope | _BatchEnvelope[_BatchUpsert] = _decode_upserts(body)
            upserts: list[_BatchMessage] | list[_BatchUpsert] = sent.messages
        except msgspec.ValidationError:
            # A body with times has one in its first message, as a rule, so that the first attempt
            # ended there and cost little. An activation comes last and costs a second decoding.
            sent = mixed = _decode_messages(body)
            upserts = timed = [message for message in mixed.messages if message.action == UPSERT]
            if not all(message.data for message in timed):
                return None
            if len(timed) < len(mixed.messages):
                if not all(map(_is_bare, mixed.messages)):
                    return None
                activations = list(_locate_activations(mixed))
            extracted = _collect_times(timed)
        if not (_is_common_envelope(sent) and not json_decoder.may_hide_long_integer(body)):
            return None
        records = [message.data for message in upserts]
        longest = max(map(len, records)) if records else 0
        # A level takes a bracket to open and one to close. Counting them takes longer than all the
        # rest besides decoding, so short records are not counted.
        if longest > 2 * _RECORD_DEPTH_MAX and any(
            json_decoder.is_too_deep(bytes(record), _RECORD_DEPTH_MAX) for record in records
        ):
            return None
    except json_decoder.SYNTAX_ERRORS:
        return None
    data = join_json_array(records)
    key_names = sent.key_names or ()
    schema = bytes(sent.schema)
    try:
        validator = get_validator(schema, effort)
        if not all_conform(validator, key_names, records, data, effort):
            return records
        if longest > 2 * DATA_POINTS_MAX and any(map(has_too_many_points, records)):
            return records
    except (SchemaError, RequestRefusedError):
        return records
    return MessageBatch(
        table_name=sent.table_name,
        key_names=key_names,
        form="schema",
        schema=schema,
        bookmark_names=sent.bookmark_names,
        sequences=[message.sequence for message in upserts],
        versions=sent.table_version,
        extracted=extracted,
        activations=activations,
        data=data,
    )


def _is_common_envelope(sent: Envelope | _BatchEnvelope[_BatchUpsert]) -> bool:
    """Return whether the unread parts of an envelope can only be valid."""
    return (
        are_table_names((sent.table_name,))
        and bytes(sent.schema).startswith(b"{")
        and not json_decoder.is_too_deep(bytes(sent.schema), DEPTH_MAX - 1)
    )


def _is_bare(message: _BatchMessage) -> bool:
    """Return whether a message is an upsert, or an activation without anything of an upsert."""
    return message.action == UPSERT or (
        not message.data and message.time_extracted is message.vintage is msgspec.UNSET
    )


def decode_body(body: bytes, effort: Effort = ENDLESS) -> Envelope:
    """Parse a body and check all but the schema and the records (import-api.md 9.2 steps 5-7).

    Args:
        body: as received, decompressed.
        effort: what may be spent.

    Raises:
        RequestRefusedError: 400, not parsable or not the documented envelope.
        EffortSpentError: it takes more than that.
    """
    body = json_decoder.strip_byte_order_mark(body)
    value = json_decoder.decode_json(body)
    if json_decoder.is_body_too_deep(body):
        json_decoder.refuse_malformed(RecursionError())
    batch_envelope.check_envelope(value, effort)
    repaired = json_decoder.repair_json(body)
    members = json_decoder.decode_members(repaired)
    messages = []
    end = 0
    for message, piece in zip(
        value["messages"], json_decoder.decode_slices(members["messages"]), strict=True
    ):
        data = _NO_DATA
        if "data" in message:
            text = bytes(json_decoder.decode_members(piece)["data"])
            # A repair keeps every position, so that what was sent stands at the same one.
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


def check_body(sent: Envelope, effort: Effort = ENDLESS) -> list[MessageBatch]:
    """Check the schema, and the records by it and by the key names (import-api.md 9.2 steps 8-10).

    Args:
        sent: from `decode_body`.
        effort: what may be spent.

    Returns:
        One batch of form "schema".

    Raises:
        RequestRefusedError: 400 with the text for the first bad record; nothing is stored then.
        EffortSpentError: it takes more than that.
    """
    schema = bytes(sent.schema)
    key_names = sent.key_names or ()
    upserts = [message for message in sent.messages if message.action == UPSERT]
    records = [message.data for message in upserts]
    data = join_json_array(records)
    try:
        validator = get_validator(schema, effort)
        if not all_conform(validator, key_names, records, data, effort):
            _refuse_first_failure(validator, key_names, sent, effort)
    except SchemaError as error:
        raise make_schema_refusal(error) from error
    if may_exceed_data_points(records):
        for index, message in enumerate(sent.messages):
            if has_too_many_points(message.data):
                raise batch_envelope.make_refusal(
                    f"Record {index} cannot contain more than {DATA_POINTS_MAX} data points"
                )
    return [
        MessageBatch(
            table_name=sent.table_name,
            key_names=key_names,
            form="schema",
            schema=schema,
            bookmark_names=sent.bookmark_names,
            sequences=[message.sequence for message in upserts],
            versions=sent.table_version,
            extracted=_collect_times(upserts),
            activations=list(_locate_activations(sent)),
            data=data,
        )
    ]


def all_conform(
    validator: SchemaValidator,
    key_names: tuple[str, ...],
    records: list[msgspec.Raw],
    data: bytes,
    effort: Effort,
) -> bool:
    """Return whether all records surely conform to the schema and have their keys.

    Args:
        validator: of the schema.
        key_names: as sent.
        records: JSON texts of objects.
        data: the same as one array.
        effort: is spent by the fast validator as much as it may take.

    Raises:
        EffortSpentError: where other requests wait, it is not sure that this ends soon.
    """
    if validator.decodes_all(key_names, data, effort):
        return True
    if validator.all_valid_fast is None:
        return False
    if not effort.try_spend(validator.cost.measure_records(len(records), len(data))):
        return False
    try:  # in parts, so that few decoded records are in memory
        pieces = map(json_decoder.decode_fast, split_into_arrays(records, kind="json"))
        return all(map(validator.all_valid_fast, pieces)) and have_all_keys(key_names, data)
    except (*json_decoder.SYNTAX_ERRORS, ValueError):
        return False


def _collect_times(upserts: list[_BatchMessage]) -> list[str | None] | None:
    times = [message.time_extracted or message.vintage or None for message in upserts]
    return times if any(times) else None


def _refuse_first_failure(
    validator: SchemaValidator, key_names: tuple[str, ...], sent: Envelope, effort: Effort
) -> None:
    """Refuse the first record that does not conform or lacks a key; do nothing if there is none."""
    needed = dict.fromkeys(key_names)
    sizes = [len(message.data) for message in sent.messages]
    conforms = validator.all_valid_fast
    if conforms and not effort.try_spend(validator.cost.measure_records(len(sizes), sum(sizes))):
        conforms = None
    for index, message in enumerate(sent.messages):
        if message.action != UPSERT:
            continue
        effort.spend(1 + len(needed) // _KEYS_PER_UNIT)
        text = bytes(message.data)
        record = json_decoder.decode_json(text)
        # The nodes take fifty times as long, so they check only records that the fast validator
        # does not accept.
        doubted = conforms is None or not conforms_fast(conforms, text)
        lines = validator.explain_failure(record, effort) if doubted else None
        if lines is not None:
            raise batch_envelope.make_refusal(f"Record {index} did not conform to schema:\n{lines}")
        for name in needed:
            if record.get(name) is None:
                raise batch_envelope.make_refusal(f"Record is missing key property {name}")


def conforms_fast(conforms: Callable[[list[Any]], bool], text: bytes) -> bool:
    """Return whether the fast validator accepts the JSON text of a record."""
    try:
        return conforms([json_decoder.decode_fast(text)])
    except (*json_decoder.SYNTAX_ERRORS, ValueError):
        return False


def _locate_activations(sent: Envelope) -> Iterator[tuple[int, int]]:
    records = 0
    for message in sent.messages:
        if message.action == ACTIVATE_VERSION:
            yield records, sent.table_version
        else:
            records += 1
