"""Form-encoded bodies of webhook senders (`application/x-www-form-urlencoded`) as JSON text.

GitHub sends its events so unless it is set otherwise, and Twilio always. A form is one record: its
fields, as texts, and a list of texts for a name that comes several times. A field `payload` that
holds JSON is that JSON; where it is the only field, it is the body itself. Mandrill sends its
events in `mandrill_events` in the same way.

The work is linear in the bytes of the body, and the memory is bounded: fields are counted before
they are split, and escapes are undone piece by piece.
"""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from treadle.http.limits import make_too_large_error
from treadle.records import json_decoder
from treadle.records.field_check import TOO_MANY_POINTS, refuse_records
from treadle.records.limits import BODY_BYTES_MAX, DATA_POINTS_MAX
from treadle.step_check import StepCheck, pass_step

FORM_TYPE: Final = "application/x-www-form-urlencoded"

JSON_FIELDS: Final = frozenset((b"payload", b"mandrill_events"))
"""Fields whose text is JSON where it begins an object or an array."""

_PIECE_BYTES: Final = 64 * 1024
"""Bytes whose escapes are undone at a time: each escape takes memory meanwhile."""

_ESCAPE_BYTES: Final = 3
_JSON_HEADS: Final = (b"{", b"[")
_is_json = msgspec.json.Decoder(msgspec.Raw).decode


def is_form(media_type: str, body: bytes) -> bool:
    """Return whether a body is a form, by its type and by what it holds.

    Many senders of JSON, `curl -d` among them, name the type of forms without meaning it. A form
    that a program writes never begins with a bracket, which it would escape, and it has at least
    one `=`.

    Args:
        media_type: of the body, as sent, without parameters.
        body: as received, decompressed.
    """
    if media_type.lower() != FORM_TYPE:
        return False
    text = body.removeprefix(json_decoder.BOM).lstrip()
    return not text.startswith((*_JSON_HEADS, b'"')) and b"=" in text


def convert_form(body: bytes, check: StepCheck = pass_step) -> bytes:
    """Return the records of a form as JSON text, for `parse_records`.

    Args:
        body: as received, decompressed.
        check: called between steps.

    Raises:
        RequestRefusedError: 400, a text is not UTF-8; 422, more fields than a record may have data
            points; 413, it is longer as JSON than a body may be.
    """
    if body.count(b"&") >= DATA_POINTS_MAX:
        refuse_records([{"data": [TOO_MANY_POINTS]}], [0])
    fields: dict[bytes, list[bytes]] = {}
    for name, value in _split_fields(body, check):
        fields.setdefault(name, []).append(value)
    if len(fields) == 1:
        [(name, values)] = fields.items()
        if len(values) == 1 and _may_be_json(name, values[0]):
            return values[0]
    record = {_decode_text(name): _convert_field(name, fields[name]) for name in fields}
    check()
    text = msgspec.json.encode(record)
    if len(text) > BODY_BYTES_MAX:
        raise make_too_large_error(len(text))
    return text


def _split_fields(body: bytes, check: StepCheck) -> Iterator[tuple[bytes, bytes]]:
    for piece in body.strip().split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            yield _undo_escapes(name, check), _undo_escapes(value, check)


def _undo_escapes(text: bytes, check: StepCheck) -> bytes:
    """Undo the escapes of a name or a value; what is no escape stays as it is."""
    text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text
    found = []
    begin = 0
    while begin < len(text):
        check()
        end = begin + _PIECE_BYTES
        if end < len(text):  # not within an escape
            escape = text.rfind(b"%", end - _ESCAPE_BYTES + 1, end)
            end = end if escape < 0 else escape
        found.append(unquote_to_bytes(text[begin:end]))
        begin = end
    return b"".join(found)


def _convert_field(name: bytes, values: list[bytes]) -> Any:
    converted = [_convert_value(name, value) for value in values]
    return converted[0] if len(converted) == 1 else converted


def _convert_value(name: bytes, value: bytes) -> Any:
    if _may_be_json(name, value):
        try:
            return _is_json(value)
        except json_decoder.SYNTAX_ERRORS:
            pass
    return _decode_text(value)


def _may_be_json(name: bytes, value: bytes) -> bool:
    return name in JSON_FIELDS and value.lstrip().startswith(_JSON_HEADS)


def _decode_text(text: bytes) -> str:
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError as error:
        json_decoder.refuse_malformed(error)
