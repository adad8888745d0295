"""Reads the records of a file of any size, one after the other.

The first byte that is not blank tells the form: `[` begins one JSON array of objects, and anything
else is newline-delimited JSON, one object a line. Memory holds one record and a buffer, never the
whole file.

A record is sent as the bytes that were read, so that numbers keep their size and precision. It is
decoded only as far as needed to name a mistake with its place. The server decides about the rest.
"""

import codecs
import json
from collections.abc import Iterator
from typing import IO, NamedTuple

import msgspec

from treadle.errors import OperatorError

RECORD_BYTES_MAX = 20 * 1024 * 1024 - 1024
"""A request may have 20 MiB (import-api.md 5). A kilobyte is left for what surrounds the record."""

CHUNK_BYTES = 1024 * 1024

_BLANK = " \t\r\n"
_BYTE_ORDER_MARK = codecs.BOM_UTF8


class RecordFileError(OperatorError):
    """The file is not valid. The text names the place."""


class FileRecord(NamedTuple):
    """One record as it was read. A named tuple, since there are millions of them.

    Attributes:
        raw: the bytes of one JSON value.
        unit: "line" or "record".
        number: of the line or record, from 1.
        read: bytes of the file up to the end of the record, for a progress bar.
    """

    raw: bytes
    unit: str
    number: int
    read: int

    @property
    def place(self) -> str:
        """The place of the record for a person: "line 7"."""
        return f"{self.unit} {self.number}"


def read_records(stream: IO[bytes], skip: int = 0) -> Iterator[FileRecord]:
    """Yield the records of a stream in order, without the first `skip` of them.

    Raises:
        RecordFileError: the stream has neither form, or a record is too large.
    """
    head = stream.read(CHUNK_BYTES)
    begin = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
    while True:
        stripped = head[begin:].lstrip()
        if stripped or not (more := stream.read(CHUNK_BYTES)):
            break
        head, begin = more, 0
    found = (
        _read_array(stream, head[begin:])
        if stripped[:1] == b"["
        else _read_lines(stream, head[begin:])
    )
    for _ in range(skip):
        next(found, None)
    yield from found


def _read_lines(stream: IO[bytes], head: bytes) -> Iterator[FileRecord]:
    """Yield one record for each line that is not blank.

    Whole chunks are split at once, which is much faster than to read line by line.
    """
    number, read, rest = 0, 0, b""
    while head:
        lines = (rest + head).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            read += len(line) + 1
            if record := line.strip():
                yield _check_size(FileRecord(record, "line", number, read))
        if len(rest) > RECORD_BYTES_MAX:
            break
        head = stream.read(CHUNK_BYTES)
    if rest.strip():
        yield _check_size(FileRecord(rest.strip(), "line", number + 1, read + len(rest)))


def _read_array(stream: IO[bytes], head: bytes) -> Iterator[FileRecord]:
    """Yield the elements of one JSON array.

    The decoder says where a value ends. If it cannot decode a value, the value may go on in the
    next chunk. Chunks double in size, so that a large value is not tried too often.
    """
    # Bytes that are not UTF-8 are sent as they are: the server refuses them with its own text.
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    number, read, chunk = 0, 0, CHUNK_BYTES
    buffer, at, ended = decode.decode(head).lstrip(_BLANK), 1, not head
    separator = True  # a value may come now
    while True:
        at = _skip_blanks(buffer, at)
        if at < len(buffer):
            sign = buffer[at]
            if sign == "]" and not (separator and number):
                rest = buffer[at + 1 :].encode(errors="surrogateescape")
                while not rest.strip():
                    if not (rest := stream.read(CHUNK_BYTES)):
                        return
                raise RecordFileError(f"Something follows the array, after record {number}.")
            if sign == "," and not separator:
                separator = True
                at += 1
                continue
            if not separator or sign in ",]":
                raise RecordFileError(
                    f"A comma is missing or is too many in the array, after record {number}."
                )
            try:
                end = decoder.raw_decode(buffer, at)[1] if sign == "{" else None
            except RecursionError:
                raise RecordFileError(f"Record {number + 1} is nested too deeply.") from None
            except json.JSONDecodeError as error:
                if ended or len(buffer) - at > RECORD_BYTES_MAX:
                    raise RecordFileError(
                        f"Record {number + 1} is not JSON, or not within "
                        f"{RECORD_BYTES_MAX} bytes: {error.msg}."
                    ) from None
            except ValueError as error:
                raise RecordFileError(f"Record {number + 1} is not JSON: {error}.") from None
            else:
                if end is None:
                    raise RecordFileError(f"Record {number + 1} is not a JSON object.")
                number += 1
                raw = buffer[at:end].encode(errors="surrogateescape")
                read += len(raw) + 1
                yield _check_size(FileRecord(raw, "record", number, read))
                at, separator, chunk = end, False, CHUNK_BYTES
                continue
        elif ended:
            raise RecordFileError(f"The array has no end, after record {number}.")
        more = _read_fully(stream, chunk)
        ended = len(more) < chunk
        buffer, at, chunk = buffer[at:] + decode.decode(more, ended), 0, chunk * 2


def _read_fully(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes, fewer only at the end. One read of a pipe may return fewer."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_size(piece: FileRecord) -> FileRecord:
    if len(piece.raw) > RECORD_BYTES_MAX:
        raise RecordFileError(
            f"The record at {piece.place} has more than {RECORD_BYTES_MAX} bytes, "
            "which is the most a request can hold."
        )
    return piece


# --- checking a record --------------------------------------------------------------------------

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SEQUENCE = msgspec.json.Decoder(int)
_NULL = msgspec.Raw(b"null")


def check_record(
    piece: FileRecord, keys: tuple[str, ...], sequence_field: str | None
) -> int | None:
    """Check the key fields of a record, and return its sequence.

    Args:
        piece: the record.
        keys: fields that must exist and not be null (import-api.md 7.3).
        sequence_field: the field with the sequence, or None.

    Returns:
        The value of `sequence_field`; None without such a field.

    Raises:
        RecordFileError: the record is not a JSON object, or a field is not valid.
    """
    fields = _decode_fields(piece)
    for key in keys:
        if fields.get(key, _NULL) == _NULL:
            problem = "is null" if key in fields else "is missing"
            raise RecordFileError(
                f"The key field {key!r} {problem} in the record at {piece.place}."
            )
    if sequence_field is None:
        return None
    raw = bytes(fields.get(sequence_field, b""))
    try:
        sequence = _SEQUENCE.decode(raw)
    except msgspec.DecodeError:
        sequence = 2**63
    if not -(2**63) <= sequence < 2**63:
        found = raw[:40].decode("utf-8", "replace") or "missing"
        raise RecordFileError(
            f"The sequence field {sequence_field!r} is to be a whole number below 2^63, "
            f"and it is {found} in the record at {piece.place}."
        )
    return sequence


def _decode_fields(piece: FileRecord) -> dict[str, msgspec.Raw]:
    """Decode the fields of a record, each as raw JSON."""
    try:
        return _DECODER.decode(piece.raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        first = error
    # The server accepts unpaired surrogate escapes, which the fast decoder refuses.
    try:
        value = json.loads(piece.raw, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RecordFileError(f"The record at {piece.place} is not a JSON object: {first}.")
    # parse_float=str turns fractions into text. For a key it only matters whether it is null, and
    # a sequence is not a fraction.
    return {name: msgspec.Raw(json.dumps(inner).encode()) for name, inner in value.items()}
