"""Decoding of large arrays in parts, so that a hostile body cannot fill memory.

Twenty megabytes of `[],[],[]` would become seven million lists, half a gigabyte together, only to
be refused for their number. So elements stay text, no more of them are kept than a request may
have, and one part of them is decoded at a time.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from treadle.records import json_decoder
from treadle.records.batch_builder import join_json_array
from treadle.records.limits import RECORDS_MAX, VALUES_MAX
from treadle.step_check import StepCheck, pass_step

LARGE_BODY_BYTES = 1024 * 1024
"""Bodies above this size are decoded in parts of about half of it."""

_PART_BYTES = LARGE_BODY_BYTES // 2
_NO_ELEMENT = msgspec.Raw(b"")
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


@cache
def _make_slice_decoder() -> Callable[[bytes], Any]:
    # An array that is decoded into a struct may be longer than the struct: the decoder skips the
    # rest, so that a body of seven million elements makes only as many objects as are needed.
    fields = [(f"element{number}", msgspec.Raw, _NO_ELEMENT) for number in range(RECORDS_MAX + 1)]
    kind = msgspec.defstruct("First", fields, array_like=True, gc=False)
    return msgspec.json.Decoder(kind).decode


def slice_elements(body: bytes) -> list[msgspec.Raw]:
    """Return the texts of an array's elements; if there are too many, the first 20,001.

    Raises:
        msgspec.DecodeError: the body is not a JSON array.
    """
    found: list[msgspec.Raw] = []
    for element in msgspec.structs.astuple(_make_slice_decoder()(body)):
        if element is _NO_ELEMENT:
            break
        found.append(element)
    return found


def slice_body(body: bytes, *, kind: str, check: StepCheck = pass_step) -> list[msgspec.Raw] | None:
    """Return the texts of the elements of a body, which may need a repair; None if it is no array.

    Args:
        body: as received.
        kind: "json" or "transit", for the refusal.
        check: called between steps.

    Raises:
        RequestRefusedError: 400, an array that is not JSON.
    """
    if body.removeprefix(json_decoder.BOM).lstrip()[:1] != b"[":
        return None
    try:
        return slice_elements(body)
    except json_decoder.SYNTAX_ERRORS:
        pass
    try:
        return slice_elements(json_decoder.repair_json(body, check))
    except json_decoder.SYNTAX_ERRORS as error:
        json_decoder.refuse_malformed(error, kind=kind)


def split_into_arrays(
    elements: Sequence[msgspec.Raw], *, kind: str, check: StepCheck = pass_step
) -> Iterator[bytes]:
    """Yield the elements as JSON arrays that are small enough to decode.

    Args:
        elements: JSON texts.
        kind: "json" or "transit", for the refusal.
        check: called before each.

    Raises:
        RequestRefusedError: 400, an element holds more values than allowed.
    """
    part: list[msgspec.Raw] = []
    size = 0
    for element in elements:
        length = len(element)
        if part and size + length > _PART_BYTES:
            check()
            yield join_json_array(part)
            part, size = [], 0
        if length > 2 * VALUES_MAX:  # a shorter text cannot hold so many
            check_value_count(bytes(element), kind)
        part.append(element)
        size += length
    if part:
        check()
        yield join_json_array(part)


def check_value_count(text: bytes, kind: str) -> None:
    """Refuse a record that holds more values, arrays and objects than allowed.

    Raises:
        RequestRefusedError: 400.
    """
    if has_too_many_values(text):
        json_decoder.refuse_malformed(
            f"a record with more than {VALUES_MAX} values, arrays and objects", kind=kind
        )


def has_too_many_values(text: bytes) -> bool:
    """Return whether a JSON text holds more values, arrays and objects than one record may."""
    if len(text) <= 2 * VALUES_MAX or _count_values(text) <= VALUES_MAX:
        return False
    found = 0
    for piece in json_decoder.PIECES.finditer(text):
        found += _count_values(_STRINGS.sub(b"", piece[0]))
        if found > VALUES_MAX:
            return True
    return False


def _count_values(text: bytes) -> int:
    return sum(json_decoder.count_bytes(text, byte) for byte in (b",", b"[", b"{"))
