"""Readers of /v2/import/push and /v2/import/validate bodies: arrays of records (import-api.md 7).

`decode_body` does what is possible before the token is known, `check_body` what needs the account.
There are two readers. The fast one decodes JSON into structs that leave a record's data unread,
and looks at Transit records a column at a time; it accepts bodies in which nothing is wrong and
declines all others. The exact one reads everything, decides about what the fast one declined, and
finds the documented texts for what is wrong. Both make the same batches.
"""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.batch_builder import BatchBuilder, build_batches, join_json_array
from treadle.records.data_points import (
    count_data_points,
    has_too_many_points,
    may_exceed_data_points,
)
from treadle.records.field_check import (
    SWITCH_VIEW,
    KeyAllowance,
    are_table_names,
    find_field_errors,
    read_common_fields,
    refuse_records,
)
from treadle.records.key_check import have_all_keys
from treadle.records.limits import (
    DATA_POINTS_MAX,
    DEPTH_MAX,
    INTEGER_CHARACTERS_MAX,
    KEY_CHARACTERS_MAX,
    RECORDS_MAX,
    SEQUENCE_MAX,
    SEQUENCE_MIN,
    TABLE_CHARACTERS_MAX,
)
from treadle.records.message_batch import MessageBatch
from treadle.records.partial_decode import (
    LARGE_BODY_BYTES,
    check_value_count,
    slice_body,
    split_into_arrays,
)
from treadle.records.transit import encoding, reader
from treadle.step_check import StepCheck, pass_step

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
    """A parsed body that is not checked yet.

    Attributes:
        transit: the body is Transit.
        body: the JSON text without a byte order mark; empty for Transit.
        records: the decoded records of a Transit body; empty for a large one.
        checked: the records of a large Transit body, checked one by one.
        upserts: the records of a JSON body as the fast reader decoded them; None if it declined.
    """

    __slots__ = ("body", "checked", "records", "transit", "upserts")

    def __init__(
        self,
        *,
        body: bytes = b"",
        upserts: "list[_PushUpsert] | None" = None,
        records: list[Any] | None = None,
        checked: "list[_CheckedRecord] | None" = None,
    ) -> None:
        self.checked = checked
        self.transit = records is not None
        self.body = body
        self.upserts = upserts
        self.records = records if records is not None else []


class _PushUpsert(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record as nearly all are; `namespace` means nothing (import-api.md 7.1)."""

    client_id: int | str
    table_name: str
    sequence: Annotated[int, msgspec.Meta(ge=SEQUENCE_MIN, le=SEQUENCE_MAX)]
    action: Literal["upsert"]
    key_names: tuple[str, ...]
    data: msgspec.Raw
    table_version: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)] | None = None
    namespace: str | None = None


class _CheckedRecord(NamedTuple):
    """A record that the exact reader checked.

    Attributes:
        client: the account that it names.
        reasons: what is wrong with it; nothing below is set then.
        key_names: None for an activation.
    """

    client: Any
    reasons: Any
    table_name: str = ""
    key_names: tuple[str, ...] | None = None
    sequence: int = 0
    version: int = 0
    payload: bytes = b""


class _PushPlace(msgspec.Struct, gc=False):
    """What says to which table a record goes."""

    action: str
    table_name: str


_decode_upserts = msgspec.json.Decoder(list[_PushUpsert]).decode
_decode_places = msgspec.json.Decoder(list[_PushPlace]).decode


# --- before the token is known (import-api.md 7.2 steps 4-6) --------------------------------------


def decode_body(body: bytes, *, transit: bool, check: StepCheck = pass_step) -> PushBody:
    """Parse a body: an array of 1 to 20,000 values.

    Args:
        body: as received, decompressed.
        transit: the content type is `application/transit+json`.
        check: called between steps.

    Raises:
        RequestRefusedError: 400, not parsable, no array, empty, or too many records.
    """
    if transit:
        if len(body) > LARGE_BODY_BYTES:
            parsed = _decode_large_transit(body, check)
            if parsed is not None:
                return parsed
            check_value_count(body, "transit")  # one value of whatever kind
        records = reader.decode_transit(body, check)
        _check_count(records)
        return PushBody(records=records)
    upserts = _read_upserts(body)
    if upserts is not None and not _may_exceed_limits(body, upserts, check):
        return PushBody(body=body, upserts=upserts)
    body = json_decoder.strip_byte_order_mark(body)
    _check_count(_parse_json(body, check))
    return PushBody(body=body)


def _read_upserts(body: bytes) -> list[_PushUpsert] | None:
    """Decode the records of a JSON body with the fast reader; None if it declines."""
    try:
        # The decoder leaves strings in unread data unchecked; a body must be UTF-8 as a whole.
        body.isascii() or str(body, "utf-8")
        return _decode_upserts(body)
    except json_decoder.SYNTAX_ERRORS:
        return None


def _decode_large_transit(body: bytes, check: StepCheck) -> PushBody | None:
    """Decode a large Transit body, and keep of its records only the encoded data.

    Return None if it is not an array of records.
    """
    elements = slice_body(body, kind="transit", check=check)
    if elements is None:
        return None
    head = bytes(memoryview(elements[0])[:2]) if elements else b""
    # A tag at the head makes the array a value of another kind, which has no elements.
    if head in (b"", b'"~', b'"^', b'"\\'):
        return None
    _check_count(elements)
    checked: list[_CheckedRecord] = []
    allowance = repeat(KeyAllowance())
    codes = reader.may_have_cache_codes(body)
    for records in reader.decode_elements(elements, codes=codes, check=check):
        while records:
            check()
            chunk, records = records[:_RECORDS_AT_ONCE], records[_RECORDS_AT_ONCE:]
            checked += map(_check_record, chunk, map(_encode_data, chunk), allowance)
    return PushBody(records=[], checked=checked)


_RECORDS_AT_ONCE = 256
"""Records of a large body that are checked together: their decoded values are freed after it."""


def _may_exceed_limits(
    body: bytes, upserts: list[_PushUpsert], check: StepCheck = pass_step
) -> bool:
    """Return whether there may be too few or many records, too deep data or too long integers."""
    if not 0 < len(upserts) <= RECORDS_MAX or json_decoder.may_hide_long_integer(body):
        return True
    return max([len(upsert.data) for upsert in upserts]) > 2 * (DEPTH_MAX - 2) and any(
        json_decoder.is_too_deep(bytes(upsert.data), DEPTH_MAX - 2, check) for upsert in upserts
    )


def _parse_json(body: bytes, check: StepCheck) -> Any:
    """Parse a JSON body: its value, or the texts of the elements of a large array."""
    elements = slice_body(body, kind="json", check=check) if len(body) > LARGE_BODY_BYTES else None
    if elements is None:
        if len(body) > LARGE_BODY_BYTES:
            check_value_count(body, "json")
        value = json_decoder.decode_json(body, check=check)
    else:
        value = elements
        _check_count(elements)
        for part in split_into_arrays(elements, kind="json", check=check):
            json_decoder.decode_json(part, check=check)  # and forgotten
    if json_decoder.is_body_too_deep(body, check):
        json_decoder.refuse_malformed(RecursionError())
    return value


def _check_count(records: Any) -> None:
    if type(records) is not list or not records:
        raise RequestRefusedError(400, NOT_AN_ARRAY)
    if len(records) > RECORDS_MAX:
        raise RequestRefusedError(400, TOO_MANY_RECORDS)


# --- with the account known (import-api.md 7.2 steps 8-10) ----------------------------------------


def check_body(
    parsed: PushBody, account_id: int, check: StepCheck = pass_step
) -> list[MessageBatch]:
    """Check every record and group the records into batches.

    Args:
        parsed: from `decode_body`.
        account_id: the client that owns the token.
        check: called between steps.

    Returns:
        One batch per table and key names, in the order in which they begin.

    Raises:
        RequestRefusedError: 401, 403 or 422 with the documented bodies; nothing is stored then.
    """
    batches = None
    if parsed.upserts is not None:
        if len(parsed.upserts) == 1 and len(parsed.body) <= INTEGER_CHARACTERS_MAX:
            batches = _check_single_upsert(parsed.upserts[0], account_id)
        else:
            batches = _check_upserts(parsed.upserts, account_id)
    elif parsed.transit and parsed.checked is None:
        batches = _check_columns(parsed.records, account_id)
    return check_body_exactly(parsed, account_id, check) if batches is None else batches


def read_fast(body: bytes, account_id: int) -> list[MessageBatch] | None:
    """Decode and check a JSON body with the fast reader; None if it declines.

    Args:
        body: as received, decompressed.
        account_id: the client that owns the token.
    """
    upserts = _read_upserts(body)
    if upserts is None:
        return None
    if len(upserts) == 1 and len(body) <= INTEGER_CHARACTERS_MAX:
        return _check_single_upsert(upserts[0], account_id)
    return None if _may_exceed_limits(body, upserts) else _check_upserts(upserts, account_id)


def _check_single_upsert(upsert: _PushUpsert, account_id: int) -> list[MessageBatch] | None:
    """Check one record that is too short for long integers and too many data points.

    One-record requests are frequent: this takes half of the time of `_check_upserts`.
    """
    if upsert.client_id != account_id and upsert.client_id != str(account_id):
        return None
    key_names = upsert.key_names
    data = join_json_array([upsert.data])
    if (
        not upsert.table_name.strip()
        or len(upsert.table_name) > TABLE_CHARACTERS_MAX
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


def locate_records(body: bytes) -> dict[str, list[int]]:
    """Return the places in a JSON body of the records of each table, in order, from 0.

    Args:
        body: one that `check_body` accepts.
    """
    places: dict[str, list[int]] = {}
    for index, record in enumerate(_decode_places(json_decoder.repair_json(body))):
        if record.action != SWITCH_VIEW:
            places.setdefault(record.table_name, []).append(index)
    return places


def check_body_exactly(
    parsed: PushBody, account_id: int, check: StepCheck = pass_step
) -> list[MessageBatch]:
    """Do the same as `check_body` with the exact reader alone."""
    allowance = KeyAllowance()
    if not parsed.transit:
        found = _read_json_records(parsed.body, check)
        sent = (_check_record(record, payload, allowance) for record, payload in found)
        return _build_or_refuse(sent, account_id).build("json", join_json_array)
    checked: Iterable[_CheckedRecord] | None = parsed.checked
    if checked is None:
        records = _check_between(parsed.records, check)
        checked = (_check_record(record, _encode_data(record), allowance) for record in records)
    return _build_or_refuse(checked, account_id).build("transit", encoding.join_records)


def _check_upserts(upserts: list[_PushUpsert], account_id: int) -> list[MessageBatch] | None:
    """Return the batches, or None if anything may be wrong or is unusual."""
    clients = {upsert.client_id for upsert in upserts}
    if clients != {account_id} and clients != {str(account_id)}:
        return None
    table_names = [upsert.table_name for upsert in upserts]
    if not are_table_names(set(table_names)):
        return None
    records = [upsert.data for upsert in upserts]
    if may_exceed_data_points(records) and any(map(has_too_many_points, records)):
        return None
    batches = build_batches(
        table_names,
        [upsert.key_names for upsert in upserts],
        [upsert.sequence for upsert in upserts],
        [upsert.table_version or 0 for upsert in upserts],
        records,
        "json",
        join_json_array,
    )
    return batches if _have_key_values(batches) else None


_KEY_LISTS_MAX = 64
"""Most lists of key names that are checked by decoders: each needs one of its own."""


def _have_key_values(batches: list[MessageBatch]) -> bool:
    """Return whether all data are objects with usable values of their keys; False when unsure."""
    return len({batch.key_names for batch in batches}) <= _KEY_LISTS_MAX and all(
        have_all_keys(batch.key_names, batch.data, characters_max=KEY_CHARACTERS_MAX)
        for batch in batches
    )


def _check_columns(records: list[Any], account_id: int) -> list[MessageBatch] | None:
    """Return the batches of decoded records, or None if anything may be wrong or is unusual."""
    try:
        fields = read_common_fields(records, account_id)
    except (KeyError, TypeError):  # a field is missing, or no record is an object
        return None
    if fields is None:
        return None
    parts = encoding.split_records(encoding.encode_records(fields.data))
    if max(map(len, parts)) > DATA_POINTS_MAX and any(
        count_data_points(record) > DATA_POINTS_MAX for record in fields.data
    ):
        return None
    return build_batches(*fields[:4], parts, "transit", encoding.join_records)


# --- the exact reader -----------------------------------------------------------------------------


def _check_record(record: Any, payload: bytes, allowance: KeyAllowance) -> _CheckedRecord:
    """Check a record, which comes with the bytes that go into a batch's data."""
    if type(record) is not dict:
        return _CheckedRecord(None, NOT_A_RECORD)
    client = _normalize_client_id(record.get("client_id"))
    reasons = find_field_errors(record, len(payload), allowance)
    if reasons:
        return _CheckedRecord(client, reasons)
    return _CheckedRecord(
        client,
        None,
        record["table_name"],
        None if record["action"] == SWITCH_VIEW else tuple(record["key_names"]),
        record["sequence"],
        record.get("table_version") or 0,
        payload,
    )


def _build_or_refuse(records: Iterable[_CheckedRecord], account_id: int) -> BatchBuilder:
    """Group records, or refuse them with every reason."""
    builder = BatchBuilder()
    reasons: list[Any] = []
    refused: list[int] = []
    foreign: list[int] = []
    identified = False
    for index, sent in enumerate(records):
        client, wrong, table_name, key_names, sequence, version, payload = sent
        if wrong is NOT_A_RECORD:
            reasons.append(wrong)
            refused.append(index)
            continue
        if not identified:
            identified = True
            if client is None:
                raise RequestRefusedError(401, NOT_AUTHENTICATED)
            if client != account_id:
                raise RequestRefusedError(403, FOREIGN_CLIENT)
        if client != account_id:
            foreign.append(index)
        if wrong:
            reasons.append(wrong)
            refused.append(index)
        elif key_names is None:
            builder.add_activation(table_name, version)
        else:
            builder.add_record(table_name, key_names, sequence, version, payload)
    if foreign:
        refuse_records([MIXED_CLIENTS.format(account_id)], foreign)
    if reasons:
        refuse_records(reasons, refused)
    return builder


def _normalize_client_id(value: Any) -> int | str | None:
    """Return a client id as a number if it is one: some clients send its digits as a string."""
    if type(value) is int or value is None:
        return value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return "no client"


def _check_between(records: Iterable[Any], check: StepCheck) -> Iterator[Any]:
    for record in records:
        check()
        yield record


def _encode_data(record: Any) -> bytes:
    data = record.get("data") if type(record) is dict else None
    return encoding.encode_record(data) if type(data) is dict else b""


def _read_json_records(body: bytes, check: StepCheck) -> Iterator[tuple[Any, bytes]]:
    """Yield each value of a JSON array with the text of its `data` as sent, empty without one."""
    repaired = json_decoder.repair_json(body, check)
    end = body.index(b"[") + 1
    for piece in json_decoder.decode_slices(repaired):
        check()
        text = bytes(piece)
        # Nothing but commas and blanks stands between elements, so the first match is this one.
        start = repaired.index(text, end)
        end = start + len(text)
        check_value_count(text, "json")
        value = json_decoder.decode_json(text, check=check)
        if type(value) is dict and type(value.get("data")) is dict:
            yield value, _find_data_as_sent(text, body[start:end])
        else:
            yield value, b""


def _find_data_as_sent(repaired: bytes, sent: bytes) -> bytes:
    """Find the text of a record's last `data` in the bytes that were sent.

    Args:
        repaired: the record's text as `repair_json` gives it.
        sent: the same bytes before the repair, of the same length.
    """
    data = bytes(json_decoder.decode_members(repaired)["data"])
    if repaired == sent:
        return data
    start = repaired.rindex(data)
    return sent[start : start + len(data)]
