"""The body of /v2/import/push and /v2/import/validate: an array of records (import-api.md 7).

`decode` is what can be said before the token is known, `check` what needs the account. A body goes
through typed decoding that leaves each record's data unread where nothing is wrong with it; the
slower general way reads everything and finds the documented words for what is wrong. Both make the
same batches.
"""

from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

import msgspec

from treadle.errors import Refused
from treadle.records import json, typed
from treadle.records import transit as transit_
from treadle.records.elements import LARGE_BYTES, check_values, first, parts
from treadle.records.fields import SWITCH_VIEW, faults, usual_fields
from treadle.records.gather import Gatherer, array, folded
from treadle.records.limits import (
    DATA_POINTS,
    DEPTH,
    INTEGER_CHARACTERS,
    KEY_CHARACTERS,
    RECORDS,
    SEQUENCE_MAX,
    SEQUENCE_MIN,
)
from treadle.records.message import Batch
from treadle.records.points import data_points, too_many_points
from treadle.records.present import all_present

NOT_AN_ARRAY = {"status": "ERROR", "message": "An array of records is expected"}
TOO_MANY = {"status": "ERROR", "message": f"The batch contains more than {RECORDS} records"}
NOT_AUTHENTICATED = {"status": "ERROR", "error": "Not Authenticated.", "errors": None}
FOREIGN_CLIENT = {
    "status": "ERROR",
    "error": "Forbidden",
    "errors": {"error": "Access token is not associated with this client."},
}
MIXED_CLIENTS = "The batch contains data points for multiple clients. Only client_id {} is allowed"
NOT_A_RECORD = "record must be an object"


class Push:
    """A parsed body, not yet checked.

    Attributes:
        transit: the body is Transit.
        body: the JSON text without a byte order mark; empty for Transit.
        records: the decoded records of a Transit body; none of a large one.
        seen: the records of a large Transit body, looked at.
        upserts: the records of a JSON body when all are well-formed upserts, else None.
    """

    __slots__ = ("body", "records", "seen", "transit", "upserts")

    def __init__(
        self,
        *,
        body: bytes = b"",
        upserts: "list[_Upsert] | None" = None,
        records: list[Any] | None = None,
        seen: "list[_Seen] | None" = None,
    ) -> None:
        self.seen = seen
        self.transit = records is not None
        self.body = body
        self.upserts = upserts
        self.records = records if records is not None else []


class _Upsert(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record as nearly all are. `namespace` says nothing (import-api.md 7.1)."""

    client_id: int | str
    table_name: str
    sequence: Annotated[int, msgspec.Meta(ge=SEQUENCE_MIN, le=SEQUENCE_MAX)]
    action: Literal["upsert"]
    key_names: tuple[str, ...]
    data: msgspec.Raw
    table_version: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)] | None = None
    namespace: str | None = None


class _Seen(NamedTuple):
    """A record that was looked at: what decides about it, and what is kept of it."""

    client: Any
    reasons: Any
    record: dict[str, Any]
    payload: bytes


_upserts = msgspec.json.Decoder(list[_Upsert]).decode
_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# --- before the token is known (7.2 steps 4-6) ----------------------------------------------------


def decode(body: bytes, *, transit: bool) -> Push:
    """Parse a body: an array of 1 to 20,000 values.

    Args:
        body: as received, inflated.
        transit: the content type is `application/transit+json`.

    Raises:
        Refused: 400, not parsable, no array, empty, or too many records.
    """
    if transit:
        if len(body) > LARGE_BYTES:
            pushed = _in_parts(body)
            if pushed is not None:
                return pushed
        records = transit_.decode(body)
        _check_count(records)
        return Push(records=records)
    try:
        body.isascii() or str(body, "utf-8")
        upserts = _upserts(body)
    except json.SYNTAX_ERRORS:
        upserts = None
    if upserts is not None and not _suspicious(body, upserts):
        _check_count(upserts)
        return Push(body=body, upserts=upserts)
    body = json.unmarked(body)
    _check_count(_parse(body))
    return Push(body=body, upserts=upserts)


def _in_parts(body: bytes) -> Push | None:
    """A large Transit body, of whose records only the encoded data is kept.

    None when it is no array of records.
    """
    try:
        found = first(body)
    except json.SYNTAX_ERRORS:
        try:
            found = first(json.repair(body))
        except json.SYNTAX_ERRORS as error:
            if body.removeprefix(json.BOM).lstrip()[:1] == b"[":
                json.malformed(error, kind="transit")
            return None
    head = bytes(memoryview(found[0])[:2]) if found else b""
    if head in (b"", b'"~', b'"^', b'"\\'):  # it may be a tag
        return None
    _check_count(found)
    seen: list[_Seen] = []
    for records in transit_.decode_parts(found, codes=transit_.has_codes(body)):
        while records:
            some, records = records[:_SOME], records[_SOME:]
            seen += _look(some)
    return Push(records=[], seen=seen)


_SOME = 256


def _see_copy(record: Any) -> "_Seen":
    return _see(dict(record) if type(record) is dict else record, _encoded(record))


def _look(records: list[Any]) -> Iterator["_Seen"]:
    return map(_see, records, map(_encoded, records))


def _suspicious(body: bytes, upserts: list[_Upsert]) -> bool:
    """Whether unread data may be deeper or hold longer integers than decoding allows."""
    return json.may_hide_long_integer(body) or any(
        json.too_deep(bytes(upsert.data), DEPTH - 2)
        for upsert in upserts
        if len(memoryview(upsert.data)) > 2 * (DEPTH - 2)
    )


def _parse(body: bytes) -> Any:
    if len(body) > LARGE_BYTES and body.lstrip()[:1] == b"[":
        return _parse_parts(body)
    value = json.decode(body)
    if json.body_too_deep(body):
        json.malformed(RecursionError())
    return value


def _parse_parts(body: bytes) -> Any:
    """The elements of a large array as text, after each was decoded and forgotten."""
    try:
        found = first(json.repair(body))
    except json.SYNTAX_ERRORS as error:
        json.malformed(error)
    _check_count(found)
    for part in parts(found, kind="json"):
        json.decode(part)
    if json.body_too_deep(body):
        json.malformed(RecursionError())
    return found


def _check_count(records: Any) -> None:
    if type(records) is not list or not records:
        raise Refused(400, NOT_AN_ARRAY)
    if len(records) > RECORDS:
        raise Refused(400, TOO_MANY)


# --- with the account known (7.2 steps 8-10) ------------------------------------------------------


def check(push: Push, account_id: int) -> list[Batch]:
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
        batches = _quickly(push.upserts, account_id)
        if batches is not None:
            return batches
    if push.transit and push.seen is None:
        batches = _together(push.records, account_id)
        if batches is not None:
            return batches
    return check_generally(push, account_id)


def quickly(body: bytes, account_id: int) -> list[Batch] | None:
    """What `decode` and `check` make of a JSON body; None where a closer look is needed.

    Args:
        body: as received, inflated.
        account_id: the client that owns the token.
    """
    try:
        body.isascii() or str(body, "utf-8")
        upserts = _upserts(body)
    except json.SYNTAX_ERRORS:
        return None
    if len(upserts) == 1 and len(body) <= INTEGER_CHARACTERS:
        return _singly(upserts[0], account_id)
    if not 0 < len(upserts) <= RECORDS or _suspicious(body, upserts):
        return None
    return _quickly(upserts, account_id)


def _singly(upsert: _Upsert, account_id: int) -> list[Batch] | None:
    """`_quickly` for one record that is too short for long integers and too many data points."""
    if upsert.client_id != account_id and upsert.client_id != str(account_id):
        return None
    key_names = upsert.key_names
    data = array([upsert.data])
    if (
        not upsert.table_name.strip()
        or json.too_deep(data, DEPTH - 1)
        or not all_present(key_names, data, characters_max=KEY_CHARACTERS)
    ):
        return None
    return [
        Batch(
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


def check_generally(push: Push, account_id: int) -> list[Batch]:
    """What `check` does, without the looks that are quicker for records without anything wrong."""
    if push.transit:
        seen = push.seen if push.seen is not None else map(_see_copy, push.records)
        return _thoroughly(seen, account_id).batches("transit", typed.join)
    return _thoroughly(starmap(_see, _read(push.body)), account_id).batches("json", array)


def _quickly(upserts: list[_Upsert], account_id: int) -> list[Batch] | None:
    """The batches, or None when something may be wrong or is unusual."""
    clients = {upsert.client_id for upsert in upserts}
    if clients != {account_id} and clients != {str(account_id)}:
        return None
    first = upserts[0]
    tables = {upsert.table_name for upsert in upserts}
    if not all(map(str.strip, tables)):
        return None
    if len(tables) == 1 and len({upsert.key_names for upsert in upserts}) == 1:
        data = array([upsert.data for upsert in upserts])
        batches = [
            Batch(
                table_name=first.table_name,
                key_names=first.key_names,
                form="json",
                schema=b"",
                bookmark_names=(),
                sequences=[upsert.sequence for upsert in upserts],
                versions=folded([upsert.table_version or 0 for upsert in upserts]),
                extracted=None,
                activations=[],
                data=data,
            )
        ]
    else:
        gatherer = Gatherer()
        for upsert in upserts:
            gatherer.record(
                upsert.table_name,
                upsert.key_names,
                upsert.sequence,
                upsert.table_version or 0,
                upsert.data,
            )
        batches = gatherer.batches("json", array)
    if any(too_many_points(upsert.data) for upsert in upserts):
        return None
    return batches if _have_keys(batches) else None


_KEY_LISTS = 64


def _have_keys(batches: list[Batch]) -> bool:
    """Whether all data are objects with usable values of their key names; False when unsure."""
    return len(batches) <= _KEY_LISTS and all(
        all_present(batch.key_names, batch.data, characters_max=KEY_CHARACTERS) for batch in batches
    )


def _together(records: list[Any], account_id: int) -> list[Batch] | None:
    """The batches of decoded records, or None when something may be wrong or is unusual."""
    try:
        fields = usual_fields(records, account_id)
    except (KeyError, TypeError):  # a field is missing, or no record is an object
        return None
    if fields is None:
        return None
    data = typed.encode_all(fields.data)
    parts = typed.split(data)
    if max(len(memoryview(part)) for part in parts) > DATA_POINTS and any(
        data_points(record) > DATA_POINTS for record in fields.data
    ):
        return None
    if len(set(fields.table_names)) == 1 and len(set(fields.key_names)) == 1:
        return [
            Batch(
                table_name=fields.table_names[0],
                key_names=fields.key_names[0],
                form="transit",
                schema=b"",
                bookmark_names=(),
                sequences=fields.sequences,
                versions=folded(fields.versions),
                extracted=None,
                activations=[],
                data=data,
            )
        ]
    gatherer = Gatherer()
    for message in zip(
        fields.table_names,
        fields.key_names,
        fields.sequences,
        fields.versions,
        parts,
        strict=True,
    ):
        gatherer.record(*message)
    return gatherer.batches("transit", typed.join)


# --- the general way ------------------------------------------------------------------------------


def _see(record: Any, payload: bytes) -> _Seen:
    """Look at a record, given with what goes into a batch's data."""
    if type(record) is not dict:
        return _Seen(None, NOT_A_RECORD, {}, b"")
    client = _client(record.get("client_id"))
    reasons = faults(record, len(payload))
    record.pop("data", None)
    # Of a refused record nothing more is needed.
    return _Seen(client, reasons, {}, b"") if reasons else _Seen(client, None, record, payload)


def _thoroughly(records: Iterable[_Seen], account_id: int) -> Gatherer:
    """Sort records, or refuse them with every reason."""
    gatherer = Gatherer()
    reasons: list[Any] = []
    identified = mixed = False
    for client, wrong, record, payload in records:
        if wrong is NOT_A_RECORD:
            reasons.append(wrong)
            continue
        if not identified:
            identified = True
            if client is None:
                raise Refused(401, NOT_AUTHENTICATED)
            if client != account_id:
                raise Refused(403, FOREIGN_CLIENT)
        mixed = mixed or client != account_id
        if wrong:
            reasons.append(wrong)
        elif record["action"] == SWITCH_VIEW:
            gatherer.activation(record["table_name"], record["table_version"])
        else:
            gatherer.record(
                record["table_name"],
                tuple(record["key_names"]),
                record["sequence"],
                record.get("table_version") or 0,
                payload,
            )
    if mixed:
        reasons = [MIXED_CLIENTS.format(account_id)]
    if reasons:
        _refuse(reasons)
    return gatherer


def _refuse(reasons: list[Any]) -> NoReturn:
    raise Refused(
        422,
        {
            "status": "ERROR",
            "error": "Request cannot be processed; see errors.",
            "errors": [{"reason": reason} for reason in reasons],
        },
    )


def _client(value: Any) -> int | str | None:
    """A client id as a number where it is one: some clients send its digits as a string."""
    if type(value) is int or value is None:
        return value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return "no client"


def _encoded(record: Any) -> bytes:
    data = record.get("data") if type(record) is dict else None
    return typed.encode(data) if type(data) is dict else b""


def _read(body: bytes) -> Iterator[tuple[Any, bytes]]:
    """Each value of a JSON array with the text of its `data`, as sent; empty where it has none."""
    repaired = json.repair(body)
    end = body.index(b"[") + 1
    for piece in _slices(repaired):
        text = bytes(piece)
        # Elements are sent in this order with nothing but commas and blanks between them.
        start = repaired.index(text, end)
        end = start + len(text)
        check_values(text, "json")
        value = json.decode(text)
        if type(value) is dict and type(value.get("data")) is dict:
            yield value, _data_as_sent(text, body[start:end])
        else:
            yield value, b""


def _data_as_sent(repaired: bytes, sent: bytes) -> bytes:
    """The text of a record's last `data` in the bytes that were sent.

    Args:
        repaired: the record's text as `json.repair` gives it.
        sent: the same bytes before, of the same length.
    """
    data = bytes(_members(repaired)["data"])
    if repaired == sent:
        return data
    start = repaired.rindex(data)
    return sent[start : start + len(data)]
