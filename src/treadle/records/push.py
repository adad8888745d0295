"""The body of /v2/import/push and /v2/import/validate: an array of records (import-api.md 7).

`decode` is what can be said before the token is known, `check_body` what needs the account. A
body goes through typed decoding that leaves each record's data unread where nothing is wrong with
it; the slower general way reads everything and finds the documented words for what is wrong. Both
make the same batches.
"""

from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.batch_builder import BatchBuilder, fold_versions, join_json_array
from treadle.records.data_points import count_data_points, has_too_many_points
from treadle.records.field_check import SWITCH_VIEW, find_field_errors, read_common_fields
from treadle.records.key_check import have_all_keys
from treadle.records.limits import (
    DATA_POINTS_MAX,
    DEPTH_MAX,
    INTEGER_CHARACTERS_MAX,
    KEY_CHARACTERS_MAX,
    RECORDS_MAX,
    SEQUENCE_MAX,
    SEQUENCE_MIN,
)
from treadle.records.message_batch import MessageBatch
from treadle.records.partial_decode import (
    LARGE_BODY_BYTES,
    check_value_count,
    slice_elements,
    split_into_arrays,
)
from treadle.records.transit import encoding
from treadle.records.transit import reader as transit_

NOT_AN_ARRAY = {"status": "ERROR", "message": "An array of records is expected"}
TOO_MANY_RECORDS = {
    "status": "ERROR",
    "message": f"The batch contains more than {RECORDS_MAX} records",
}
NOT_AUTHENTICATED = {"status": "ERROR", "error": "Not Authenticated.", "errors": None}
FOREIGN_CLIENT = {
    "status": "ERROR",
    "error": "Forbidden",
    "errors": {"error": "Access token is not associated with this client."},
}
MIXED_CLIENTS = "The batch contains data points for multiple clients. Only client_id {} is allowed"
NOT_A_RECORD = "record must be an object"


class PushBody:
    """A parsed body, not yet checked.

    Attributes:
        transit: the body is Transit.
        body: the JSON text without a byte order mark; empty for Transit.
        records: the decoded records of a Transit body; none of a large one.
        seen: the records of a large Transit body, looked at.
        upserts: the records of a JSON body when all are well-formed upserts, else None.
    """

    __slots__ = ("body", "checked", "records", "transit", "upserts")

    def __init__(
        self,
        *,
        body: bytes = b"",
        upserts: "list[_PushUpsert] | None" = None,
        records: list[Any] | None = None,
        seen: "list[_CheckedRecord] | None" = None,
    ) -> None:
        self.checked = seen
        self.transit = records is not None
        self.body = body
        self.upserts = upserts
        self.records = records if records is not None else []


class _PushUpsert(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record as nearly all are. `namespace` says nothing (import-api.md 7.1)."""

    client_id: int | str
    table_name: str
    sequence: Annotated[int, msgspec.Meta(ge=SEQUENCE_MIN, le=SEQUENCE_MAX)]
    action: Literal["upsert"]
    key_names: tuple[str, ...]
    data: msgspec.Raw
    table_version: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)] | None = None
    namespace: str | None = None


class _CheckedRecord(NamedTuple):
    """A record that was looked at: what decides about it, and what is kept of it."""

    client: Any
    reasons: Any
    record: dict[str, Any]
    payload: bytes


_decode_upserts = msgspec.json.Decoder(list[_PushUpsert]).decode
_decode_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# --- before the token is known (7.2 steps 4-6) ----------------------------------------------------


def decode_body(body: bytes, *, transit: bool) -> PushBody:
    """Parse a body: an array of 1 to 20,000 values.

    Args:
        body: as received, inflated.
        transit: the content type is `application/transit+json`.

    Raises:
        Refused: 400, not parsable, no array, empty, or too many records.
    """
    if transit:
        if len(body) > LARGE_BODY_BYTES:
            pushed = _decode_large_transit(body)
            if pushed is not None:
                return pushed
        records = transit_.decode_transit(body)
        _check_count(records)
        return PushBody(records=records)
    try:
        body.isascii() or str(body, "utf-8")
        upserts = _decode_upserts(body)
    except json_decoder.SYNTAX_ERRORS:
        upserts = None
    if upserts is not None and not _may_exceed_limits(body, upserts):
        _check_count(upserts)
        return PushBody(body=body, upserts=upserts)
    body = json_decoder.strip_byte_order_mark(body)
    _check_count(_parse_json(body))
    return PushBody(body=body, upserts=upserts)


def _decode_large_transit(body: bytes) -> PushBody | None:
    """A large Transit body, of whose records only the encoded data is kept.

    None when it is no array of records.
    """
    try:
        found = slice_elements(body)
    except json_decoder.SYNTAX_ERRORS:
        try:
            found = slice_elements(json_decoder.repair_json(body))
        except json_decoder.SYNTAX_ERRORS as error:
            if body.removeprefix(json_decoder.BOM).lstrip()[:1] == b"[":
                json_decoder.refuse_malformed(error, kind="transit")
            return None
    head = bytes(memoryview(found[0])[:2]) if found else b""
    if head in (b"", b'"~', b'"^', b'"\\'):  # it may be a tag
        return None
    _check_count(found)
    seen: list[_CheckedRecord] = []
    for records in transit_.decode_elements(found, codes=transit_.may_have_cache_codes(body)):
        while records:
            some, records = records[:_RECORDS_AT_ONCE], records[_RECORDS_AT_ONCE:]
            seen += _check_records(some)
    return PushBody(records=[], seen=seen)


_RECORDS_AT_ONCE = 256


def _check_copy(record: Any) -> "_CheckedRecord":
    return _check_record(dict(record) if type(record) is dict else record, _encode_data(record))


def _check_records(records: list[Any]) -> Iterator["_CheckedRecord"]:
    return map(_check_record, records, map(_encode_data, records))


def _may_exceed_limits(body: bytes, upserts: list[_PushUpsert]) -> bool:
    """Whether unread data may be deeper or hold longer integers than decoding allows."""
    return json_decoder.may_hide_long_integer(body) or any(
        json_decoder.is_too_deep(bytes(upsert.data), DEPTH_MAX - 2)
        for upsert in upserts
        if len(memoryview(upsert.data)) > 2 * (DEPTH_MAX - 2)
    )


def _parse_json(body: bytes) -> Any:
    if len(body) > LARGE_BODY_BYTES and body.lstrip()[:1] == b"[":
        return _parse_large_json(body)
    value = json_decoder.decode_json(body)
    if json_decoder.is_body_too_deep(body):
        json_decoder.refuse_malformed(RecursionError())
    return value


def _parse_large_json(body: bytes) -> Any:
    """The elements of a large array as text, after each was decoded and forgotten."""
    try:
        found = slice_elements(json_decoder.repair_json(body))
    except json_decoder.SYNTAX_ERRORS as error:
        json_decoder.refuse_malformed(error)
    _check_count(found)
    for part in split_into_arrays(found, kind="json"):
        json_decoder.decode_json(part)
    if json_decoder.is_body_too_deep(body):
        json_decoder.refuse_malformed(RecursionError())
    return found


def _check_count(records: Any) -> None:
    if type(records) is not list or not records:
        raise RequestRefusedError(400, NOT_AN_ARRAY)
    if len(records) > RECORDS_MAX:
        raise RequestRefusedError(400, TOO_MANY_RECORDS)


# --- with the account known (7.2 steps 8-10) ------------------------------------------------------


def check_body(push: PushBody, account_id: int) -> list[MessageBatch]:
    """Check every record and sort them into batches.

    Args:
        push: from `decode`.
        account_id: the client that owns the token.

    Returns:
        One batch per table and key names, in the order in which they begin.

    Raises:
        Refused: 401, 403 or 422 with the documented bodies; nothing of the push is kept then.
    """
    if push.upserts is not None:
        batches = _check_upserts(push.upserts, account_id)
        if batches is not None:
            return batches
    if push.transit and push.checked is None:
        batches = _check_columns(push.records, account_id)
        if batches is not None:
            return batches
    return check_body_exactly(push, account_id)


def read_fast(body: bytes, account_id: int) -> list[MessageBatch] | None:
    """What `decode` and `check_body` make of a JSON body; None where a closer look is needed.

    Args:
        body: as received, inflated.
        account_id: the client that owns the token.
    """
    try:
        body.isascii() or str(body, "utf-8")
        upserts = _decode_upserts(body)
    except json_decoder.SYNTAX_ERRORS:
        return None
    if len(upserts) == 1 and len(body) <= INTEGER_CHARACTERS_MAX:
        return _check_single_upsert(upserts[0], account_id)
    if not 0 < len(upserts) <= RECORDS_MAX or _may_exceed_limits(body, upserts):
        return None
    return _check_upserts(upserts, account_id)


def _check_single_upsert(upsert: _PushUpsert, account_id: int) -> list[MessageBatch] | None:
    """`_check_upserts` for one record, too short for long integers and too many data points."""
    if upsert.client_id != account_id and upsert.client_id != str(account_id):
        return None
    key_names = upsert.key_names
    data = join_json_array([upsert.data])
    if (
        not upsert.table_name.strip()
        or json_decoder.is_too_deep(data, DEPTH_MAX - 1)
        or not have_all_keys(key_names, data, characters_max=KEY_CHARACTERS_MAX)
    ):
        return None
    return [
        MessageBatch(
            table_name=upsert.table_name,
            key_names=key_names,
            form="json",
            schema=b"",
            bookmark_names=(),
            sequences=[upsert.sequence],
            versions=upsert.table_version or 0,
            extracted=None,
            activations=[],
            data=data,
        )
    ]


def check_body_exactly(push: PushBody, account_id: int) -> list[MessageBatch]:
    """What `check_body` does, without the looks that are quicker for sound records."""
    if push.transit:
        seen = push.checked if push.checked is not None else map(_check_copy, push.records)
        return _build_or_refuse(seen, account_id).build("transit", encoding.join_records)
    return _build_or_refuse(
        starmap(_check_record, _read_json_records(push.body)), account_id
    ).build("json", join_json_array)


def _check_upserts(upserts: list[_PushUpsert], account_id: int) -> list[MessageBatch] | None:
    """The batches, or None when something may be wrong or is unusual."""
    clients = {upsert.client_id for upsert in upserts}
    if clients != {account_id} and clients != {str(account_id)}:
        return None
    first = upserts[0]
    tables = {upsert.table_name for upsert in upserts}
    if not all(map(str.strip, tables)):
        return None
    if len(tables) == 1 and len({upsert.key_names for upsert in upserts}) == 1:
        data = join_json_array([upsert.data for upsert in upserts])
        batches = [
            MessageBatch(
                table_name=first.table_name,
                key_names=first.key_names,
                form="json",
                schema=b"",
                bookmark_names=(),
                sequences=[upsert.sequence for upsert in upserts],
                versions=fold_versions([upsert.table_version or 0 for upsert in upserts]),
                extracted=None,
                activations=[],
                data=data,
            )
        ]
    else:
        gatherer = BatchBuilder()
        for upsert in upserts:
            gatherer.add_record(
                upsert.table_name,
                upsert.key_names,
                upsert.sequence,
                upsert.table_version or 0,
                upsert.data,
            )
        batches = gatherer.build("json", join_json_array)
    if any(has_too_many_points(upsert.data) for upsert in upserts):
        return None
    return batches if _have_key_values(batches) else None


_KEY_LISTS_MAX = 64


def _have_key_values(batches: list[MessageBatch]) -> bool:
    """Whether all data are objects with usable values of their key names; False when unsure."""
    return len(batches) <= _KEY_LISTS_MAX and all(
        have_all_keys(batch.key_names, batch.data, characters_max=KEY_CHARACTERS_MAX)
        for batch in batches
    )


def _check_columns(records: list[Any], account_id: int) -> list[MessageBatch] | None:
    """The batches of decoded records, or None when something may be wrong or is unusual."""
    try:
        fields = read_common_fields(records, account_id)
    except (KeyError, TypeError):  # a field is missing, or no record is an object
        return None
    if fields is None:
        return None
    data = encoding.encode_records(fields.data)
    parts = encoding.split_records(data)
    if max(len(memoryview(part)) for part in parts) > DATA_POINTS_MAX and any(
        count_data_points(record) > DATA_POINTS_MAX for record in fields.data
    ):
        return None
    if len(set(fields.table_names)) == 1 and len(set(fields.key_names)) == 1:
        return [
            MessageBatch(
                table_name=fields.table_names[0],
                key_names=fields.key_names[0],
                form="transit",
                schema=b"",
                bookmark_names=(),
                sequences=fields.sequences,
                versions=fold_versions(fields.versions),
                extracted=None,
                activations=[],
                data=data,
            )
        ]
    gatherer = BatchBuilder()
    for message in zip(
        fields.table_names,
        fields.key_names,
        fields.sequences,
        fields.versions,
        parts,
        strict=True,
    ):
        gatherer.add_record(*message)
    return gatherer.build("transit", encoding.join_records)


# --- the general way ------------------------------------------------------------------------------


def _check_record(record: Any, payload: bytes) -> _CheckedRecord:
    """Look at a record, given with what goes into a batch's data."""
    if type(record) is not dict:
        return _CheckedRecord(None, NOT_A_RECORD, {}, b"")
    client = _normalize_client_id(record.get("client_id"))
    reasons = find_field_errors(record, len(payload))
    record.pop("data", None)
    # Of a refused record nothing more is needed.
    return (
        _CheckedRecord(client, reasons, {}, b"")
        if reasons
        else _CheckedRecord(client, None, record, payload)
    )


def _build_or_refuse(records: Iterable[_CheckedRecord], account_id: int) -> BatchBuilder:
    """Sort records, or refuse them with every reason."""
    gatherer = BatchBuilder()
    reasons: list[Any] = []
    identified = mixed = False
    for client, wrong, record, payload in records:
        if wrong is NOT_A_RECORD:
            reasons.append(wrong)
            continue
        if not identified:
            identified = True
            if client is None:
                raise RequestRefusedError(401, NOT_AUTHENTICATED)
            if client != account_id:
                raise RequestRefusedError(403, FOREIGN_CLIENT)
        mixed = mixed or client != account_id
        if wrong:
            reasons.append(wrong)
        elif record["action"] == SWITCH_VIEW:
            gatherer.add_activation(record["table_name"], record["table_version"])
        else:
            gatherer.add_record(
                record["table_name"],
                tuple(record["key_names"]),
                record["sequence"],
                record.get("table_version") or 0,
                payload,
            )
    if mixed:
        reasons = [MIXED_CLIENTS.format(account_id)]
    if reasons:
        _refuse_records(reasons)
    return gatherer


def _refuse_records(reasons: list[Any]) -> NoReturn:
    raise RequestRefusedError(
        422,
        {
            "status": "ERROR",
            "error": "Request cannot be processed; see errors.",
            "errors": [{"reason": reason} for reason in reasons],
        },
    )


def _normalize_client_id(value: Any) -> int | str | None:
    """A client id as a number where it is one: some clients send its digits as a string."""
    if type(value) is int or value is None:
        return value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return "no client"


def _encode_data(record: Any) -> bytes:
    data = record.get("data") if type(record) is dict else None
    return encoding.encode_record(data) if type(data) is dict else b""


def _read_json_records(body: bytes) -> Iterator[tuple[Any, bytes]]:
    """Each value of a JSON array with the text of its `data`, as sent; empty where it has none."""
    repaired = json_decoder.repair_json(body)
    end = body.index(b"[") + 1
    for piece in _decode_slices(repaired):
        text = bytes(piece)
        # Elements are sent in this order with nothing but commas and blanks between them.
        start = repaired.index(text, end)
        end = start + len(text)
        check_value_count(text, "json")
        value = json_decoder.decode_json(text)
        if type(value) is dict and type(value.get("data")) is dict:
            yield value, _find_data_as_sent(text, body[start:end])
        else:
            yield value, b""


def _find_data_as_sent(repaired: bytes, sent: bytes) -> bytes:
    """The text of a record's last `data` in the bytes that were sent.

    Args:
        repaired: the record's text as `json.repair` gives it.
        sent: the same bytes before, of the same length.
    """
    data = bytes(_decode_members(repaired)["data"])
    if repaired == sent:
        return data
    start = repaired.rindex(data)
    return sent[start : start + len(data)]
