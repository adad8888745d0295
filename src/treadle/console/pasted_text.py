"""Reads what somebody pastes to try it: records, or the body of a push or a batch.

Pure: a text -> the body of a request, and what it holds. Records are copied as they are, so that
numbers keep their digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from treadle.errors import TreadleError
from treadle.records import json_decoder
from treadle.text import shorten_line

EXCERPT_CHARACTERS_MAX: Final = 120

PUSH_KEYS: Final = frozenset({"client_id", "table_name", "action"})
"""A record with these keys is one of a push."""

BATCH_KEYS: Final = frozenset({"table_name", "messages"})
"""An object with these keys is a batch."""

_read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class PasteKind(StrEnum):
    """What was pasted."""

    RECORDS = "records"
    PUSH = "the body of a push"
    BATCH = "the body of a batch"


class PasteRefusedError(TreadleError):
    """A text is nothing that can be tried. The error says why, and what can be."""


@dataclass(frozen=True, slots=True)
class PastedBody:
    """A pasted text as the body of a request.

    Attributes:
        kind: what it was.
        body: of a push, or of a batch.
        excerpts: the beginning of each record, in order.
        tables: the table of each record, as sent; None where it names none.
    """

    kind: PasteKind
    body: bytes
    excerpts: tuple[str, ...]
    tables: tuple[str | None, ...]

    def quote_record(self, number: int) -> str:
        """Return the beginning of a record of the request, from 0; empty where there is none."""
        return self.excerpts[number] if 0 <= number < len(self.excerpts) else ""

    def quote_record_of(self, table: str, number: int) -> tuple[int, str]:
        """Return the place in the request, from 0, of a record of a table, and its beginning.

        Args:
            table: as sent.
            number: of the record among those of the table, from 0.
        """
        places = [place for place, name in enumerate(self.tables) if name == table]
        place = places[number] if number < len(places) else number
        return place, self.quote_record(place)


def read_pasted(
    text: str, table: str, key_names: Sequence[str], client_id: int, base: int
) -> PastedBody:
    """Return a pasted text as the body of a request.

    Args:
        text: a JSON array, one JSON object, or newline-delimited JSON objects.
        table: of plain records.
        key_names: of plain records; empty for none.
        client_id: the account, of plain records.
        base: the sequence of the first plain record; each further one has one more.

    Raises:
        PasteRefusedError: it is none of these.
    """
    body = text.lstrip("\ufeff").strip().encode("utf-8", "replace")
    if not body:
        raise PasteRefusedError("Nothing was pasted. Paste records, or the body of a request.")
    # As the server does: half of a surrogate pair becomes U+FFFD.
    raw = json_decoder.repair_json(body)
    if raw.startswith(b"["):
        return _read_list(body, raw, table, key_names, client_id, base)
    try:
        found = _read_object(raw)
    except (msgspec.DecodeError, RecursionError):
        lines = _read_lines(raw)
        return _make_push(lines, table, key_names, client_id, base)
    if found.keys() >= BATCH_KEYS:
        return _read_batch(body, found)
    if found.keys() >= PUSH_KEYS:
        return _describe_push(b"[" + body + b"]", [msgspec.Raw(raw)])
    return _make_push([msgspec.Raw(raw)], table, key_names, client_id, base)


def _read_list(
    body: bytes, raw: bytes, table: str, key_names: Sequence[str], client_id: int, base: int
) -> PastedBody:
    try:
        records = _read_array(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PasteRefusedError(f"This begins as a JSON array, and is none: {error}.") from error
    if not records:
        raise PasteRefusedError("The array is empty. It holds one record at least.")
    keys = _read_keys(records[0])
    if keys is not None and keys >= PUSH_KEYS:
        return _describe_push(body, records)
    return _make_push(records, table, key_names, client_id, base)


def _read_lines(raw: bytes) -> list[msgspec.Raw]:
    """Return the objects of newline-delimited JSON."""
    found = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            _read_object(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise PasteRefusedError(
                f"Line {number} is no JSON object: {error}. Paste a JSON array, one object, or one "
                "object a line."
            ) from error
        found.append(msgspec.Raw(line.strip()))
    return found


def _read_keys(record: msgspec.Raw) -> set[str] | None:
    try:
        return set(_read_object(record))
    except (msgspec.DecodeError, RecursionError):
        return None


def _make_push(
    records: Sequence[msgspec.Raw],
    table: str,
    key_names: Sequence[str],
    client_id: int,
    base: int,
) -> PastedBody:
    """Return the push that sends plain records, as `treadle push` makes it."""
    if not table:
        raise PasteRefusedError("These are plain records, so name the table that they are for.")
    head: dict[str, Any] = {
        "client_id": client_id,
        "table_name": table,
        "action": "upsert",
        "key_names": list(key_names),
    }
    begin = msgspec.json.encode(head)[:-1] + b',"sequence":'
    parts = [
        b'%b%d,"data":%b}' % (begin, base + number, bytes(record))
        for number, record in enumerate(records)
    ]
    return PastedBody(
        PasteKind.RECORDS,
        b"[" + b",".join(parts) + b"]",
        tuple(map(_quote, records)),
        (table,) * len(records),
    )


def _describe_push(body: bytes, records: Sequence[msgspec.Raw]) -> PastedBody:
    quoted, tables = [], []
    for record in records:
        try:
            found = _read_object(record)
        except (msgspec.DecodeError, RecursionError):
            found = {}
        tables.append(_read_text(found.get("table_name")))
        quoted.append(_quote(found.get("data", record)))
    return PastedBody(PasteKind.PUSH, body, tuple(quoted), tuple(tables))


def _read_batch(body: bytes, found: dict[str, msgspec.Raw]) -> PastedBody:
    table = _read_text(found["table_name"])
    try:
        messages = _read_array(found["messages"])
    except (msgspec.DecodeError, RecursionError):
        messages = []
    records = []
    for message in messages:
        keys = _read_keys(message) or set()
        if "data" in keys:
            records.append(_read_object(message)["data"])
    return PastedBody(PasteKind.BATCH, body, tuple(map(_quote, records)), (table,) * len(records))


def _read_text(value: msgspec.Raw | None) -> str | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return None


def _quote(record: msgspec.Raw) -> str:
    text = bytes(memoryview(record)[: 4 * EXCERPT_CHARACTERS_MAX]).decode("utf-8", "replace")
    return shorten_line(text, EXCERPT_CHARACTERS_MAX)
