"""The elements of a large array, without the values: what a hostile body could fill memory with.

Twenty megabytes of `[],[],[]` are seven million lists of together half a gigabyte, and the body is
refused for their number. So elements stay text, no more of them are kept than are asked for, and a
part of them is decoded at a time.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from treadle.records import json
from treadle.records.gather import array
from treadle.records.limits import RECORDS, VALUES

LARGE_BYTES = 1024 * 1024
"""Bodies above this size are decoded in parts of about half of it."""

_PART_BYTES = LARGE_BYTES // 2
_NOTHING = msgspec.Raw(b"")
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


@cache
def _decoder() -> Callable[[bytes], Any]:
    # Decoding an array into a struct skips what is beyond the struct's fields.
    fields = [(f"element{number}", msgspec.Raw, _NOTHING) for number in range(RECORDS + 1)]
    kind = msgspec.defstruct("First", fields, array_like=True, gc=False)
    return msgspec.json.Decoder(kind).decode


def first(body: bytes) -> list[msgspec.Raw]:
    """The elements of an array, of too many the first 20,001.

    Raises:
        msgspec.DecodeError: the body is no JSON array.
    """
    found: list[msgspec.Raw] = []
    for element in msgspec.structs.astuple(_decoder()(body)):
        if element is _NOTHING:
            break
        found.append(element)
    return found


def parts(elements: Sequence[msgspec.Raw], *, kind: str) -> Iterator[bytes]:
    """The elements as JSON arrays, each to be decoded at once.

    Args:
        elements: JSON texts.
        kind: "json" or "transit", for the refusal.

    Raises:
        Refused: 400, an element holds more values than one may.
    """
    part: list[msgspec.Raw] = []
    size = 0
    for element in elements:
        length = len(memoryview(element))
        if part and size + length > _PART_BYTES:
            yield array(part)
            part, size = [], 0
        if length > 2 * VALUES:  # else it cannot hold so many
            check_values(bytes(element), kind)
        part.append(element)
        size += length
    if part:
        yield array(part)


def check_values(text: bytes, kind: str) -> None:
    """Refuse a record that holds more values, arrays and objects than one may.

    Raises:
        Refused: 400.
    """
    if too_many_values(text):
        json.malformed(f"a record with more than {VALUES} values, arrays and objects", kind=kind)


def too_many_values(text: bytes) -> bool:
    """Whether a JSON text holds more values, arrays and objects than one record may."""
    if len(text) <= 2 * VALUES or _marks(text) <= VALUES:
        return False
    found = 0
    for piece in json.PIECES.finditer(text):
        found += _marks(_STRINGS.sub(b"", piece[0]))
        if found > VALUES:
            return True
    return False


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")
