"""Reads the records of JSON of any size: lines, an array, or objects one after the other.

The first byte that is not blank tells the form: `[` begins one JSON array of objects. Otherwise,
if the first line is a whole JSON value, each line is a record; if it is not, objects follow each
other, each over as many lines as it takes. Memory holds a chunk and a record, never the whole file.

A record is sent as the bytes that were read, so that numbers keep their size and precision. It is
decoded only as far as needed to name a mistake with its place. The server decides about the rest.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Final

from treadle.client.request_batch import RECORD_BYTES_MAX
from treadle.record_files.compression import ByteReader
from treadle.record_files.record_block import RecordBlock, RecordFileError, check_sizes

CHUNK_BYTES = 1024 * 1024

_CHUNK_RECORDS: Final = 1_000
_BLANK: Final = " \t\r\n"
_BYTE_ORDER_MARK: Final = codecs.BOM_UTF8


def read_json(stream: ByteReader) -> Iterator[RecordBlock]:
    """Yield the records of a stream in order.

    Raises:
        RecordFileError: the stream has none of the forms, or a record is too large.
    """
    head = stream.read(CHUNK_BYTES)
    begin = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
    while True:
        stripped = head[begin:].lstrip()
        if stripped or not (more := stream.read(CHUNK_BYTES)):
            break
        head, begin = more, 0
    text = head[begin:]
    if stripped[:1] == b"[":
        found = _read_values(stream, text, array=True)
    elif stripped[:1] != b"{":
        found = _read_lines(stream, text)
    else:
        # The first line: of a pipe it may come in several pieces.
        while b"\n" not in text.lstrip() and len(text) <= RECORD_BYTES_MAX:
            if not (more := stream.read(CHUNK_BYTES)):
                break
            text += more
        first = text.lstrip().partition(b"\n")[0]
        found = (
            _read_lines(stream, text)
            if _is_json(first) or len(first) > RECORD_BYTES_MAX
            else _read_values(stream, text, array=False)
        )
    for chunk in found:
        yield check_sizes(chunk)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except UnicodeDecodeError:
        return True  # the server refuses it with its own text
    except (ValueError, RecursionError):
        return False
    return True


def _read_lines(stream: ByteReader, head: bytes) -> Iterator[RecordBlock]:
    """Yield the lines that are not blank.

    Whole chunks are split at once, which is much faster than to read line by line.
    """
    number, records, rest = 0, 0, b""
    while head:
        lines = (rest + head).split(b"\n")
        rest = lines.pop()
        raws = [stripped for line in lines if (stripped := line.strip())]
        if raws:
            places = range(number + 1, number + len(lines) + 1)
            whole = len(raws) == len(lines)
            yield RecordBlock(
                raws,
                records + 1,
                places
                if whole
                else [n for n, line in zip(places, lines, strict=True) if line.strip()],
            )
        number += len(lines)
        records += len(raws)
        if len(rest) > RECORD_BYTES_MAX:
            break
        head = stream.read(CHUNK_BYTES)
    if rest.strip():
        yield RecordBlock([rest.strip()], records + 1, [number + 1])


def _read_values(stream: ByteReader, head: bytes, *, array: bool) -> Iterator[RecordBlock]:
    """Yield the elements of one JSON array, or objects that follow each other.

    The decoder says where a value ends. If it cannot decode a value, the value may go on in the
    next chunk. Chunks double in size, so that a large value is not tried too often.
    """
    # Bytes that are not UTF-8 are sent as they are: the server refuses them with its own text.
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    number, chunk = 0, CHUNK_BYTES
    buffer, ended = decode.decode(head).lstrip(_BLANK), not head
    at = 1 if array else 0
    separator = True  # a value may come now
    raws: list[bytes] = []
    while True:
        at = _skip_blanks(buffer, at)
        if at < len(buffer):
            sign = buffer[at]
            if array:
                if sign == "]" and not (separator and number):
                    rest = buffer[at + 1 :].encode(errors="surrogateescape")
                    if raws:
                        yield RecordBlock(raws, number - len(raws) + 1)
                    while not rest.strip():
                        if not (rest := stream.read(CHUNK_BYTES)):
                            return
                    raise RecordFileError(f"Something follows the array, after record {number}.")
                if sign == "," and not separator:
                    separator = True
                    at += 1
                    continue
            if not separator or (array and sign in ",]"):
                if raws:
                    yield RecordBlock(raws, number - len(raws) + 1)
                raise RecordFileError(
                    f"A comma is missing or is too many in the array, after record {number}."
                )
            fault = None
            try:
                end = decoder.raw_decode(buffer, at)[1] if sign == "{" else None
            except RecursionError:
                fault = f"Record {number + 1} is nested too deeply."
            except json.JSONDecodeError as error:
                if ended or len(buffer) - at > RECORD_BYTES_MAX:
                    fault = (
                        f"Record {number + 1} is not JSON, or not within "
                        f"{RECORD_BYTES_MAX} bytes: {error.msg}."
                    )
            except ValueError as error:
                fault = f"Record {number + 1} is not JSON: {error}."
            else:
                if end is not None:
                    number += 1
                    raw = buffer[at:end].encode(errors="surrogateescape")
                    raws.append(raw)
                    at, separator, chunk = end, not array, CHUNK_BYTES
                    if len(raws) >= _CHUNK_RECORDS:
                        yield RecordBlock(raws, number - len(raws) + 1)
                        raws = []
                    continue
                fault = f"Record {number + 1} is not a JSON object."
            if fault is not None:
                if raws:
                    yield RecordBlock(raws, number - len(raws) + 1)
                raise RecordFileError(fault)
        elif ended:
            if raws:
                yield RecordBlock(raws, number - len(raws) + 1)
            if array:
                raise RecordFileError(f"The array has no end, after record {number}.")
            return
        if raws:
            yield RecordBlock(raws, number - len(raws) + 1)
            raws = []
        more = _read_fully(stream, chunk)
        ended = len(more) < chunk
        buffer, at, chunk = buffer[at:] + decode.decode(more, ended), 0, chunk * 2


def _read_fully(stream: ByteReader, size: int) -> bytes:
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
