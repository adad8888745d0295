"""Decoding of JSON text: everything that RFC 8259 allows, nothing else, integers exact.

msgspec decodes a text first. It refuses three things that the specifications accept, so a text
that it refuses is decoded again with those allowed: escapes of unpaired surrogates (they become
U+FFFD, loading.md 3.3), a byte order mark (skipped, import-api.md 11) and numbers too large for a
double (`HugeNumber`, loading.md L26).
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any, NoReturn

import msgspec

from treadle.errors import RequestRefusedError
from treadle.records.limits import DEPTH_MAX, INTEGER_CHARACTERS_MAX
from treadle.step_check import StepCheck, pass_step

BOM = b"\xef\xbb\xbf"

SYNTAX_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions that a msgspec decoder raises on text that is not the JSON it expects."""


_EXPONENT_MAX = 999_999  # that of decimal.DefaultContext


class HugeNumber(Decimal):
    """A number literal beyond the range of a double, such as `1e400`.

    It is exact as a Decimal, unless it has more than a million digits before the point. Then it is
    a number with a million of them, so that arithmetic in the default context does not overflow.

    Attributes:
        literal: the number as sent, for the reason of a rejection (loading.md 3.3).
    """

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, literal: str) -> "HugeNumber":
        """Make the number of a JSON number literal."""
        try:
            self = super().__new__(cls, literal)
            fits = self.adjusted() <= _EXPONENT_MAX
        except InvalidOperation:
            fits = False
        if not fits:
            sign = "-" if literal[0] == "-" else ""
            self = super().__new__(cls, f"{sign}1E+{_EXPONENT_MAX}")
        self.literal = literal
        return self

    def __reduce__(self) -> tuple[type["HugeNumber"], tuple[str]]:
        return HugeNumber, (self.literal,)


def _parse_double(literal: str) -> float | HugeNumber:
    value = float(literal)
    return value if math.isfinite(value) else HugeNumber(literal)


def _parse_exact(literal: str) -> Decimal:
    # Only a long literal or one with an exponent can be beyond a double, so most are not tested.
    if (len(literal) > 300 or "e" in literal or "E" in literal) and math.isinf(float(literal)):
        return HugeNumber(literal)
    try:
        return Decimal(literal)
    except InvalidOperation:  # an exponent below what a Decimal holds: nothing at any scale
        return Decimal(0)


def make_decoder(type_: Any, *, exact: bool) -> Callable[[bytes], Any]:
    """Make a decoder into a msgspec type; it refuses what `decode_json` would decode again."""
    return msgspec.json.Decoder(type_, float_hook=_parse_exact if exact else None).decode


decode_fast: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""Decode once: there is no `HugeNumber`, and one of `SYNTAX_ERRORS` is raised where `decode_json`
would decode again."""

_decode_with_huge = msgspec.json.Decoder(float_hook=_parse_double).decode
_decode_exact = msgspec.json.Decoder(float_hook=_parse_exact).decode

decode_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""Decode an array into the texts of its elements."""

decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""Decode an object into the texts of its values, by key."""


def decode_json(
    text: bytes, *, exact: bool = False, kind: str = "json", check: StepCheck = pass_step
) -> Any:
    """Decode a JSON text.

    Integers are exact; the last of duplicate keys wins. A number with a fraction or an exponent is
    a float, or `HugeNumber` where a double cannot hold it.

    Args:
        text: UTF-8, with or without a byte order mark.
        exact: give such numbers as Decimal instead of float.
        kind: "json" or "transit", for the refusal.
        check: called between steps.

    Raises:
        RequestRefusedError: 400, the text is not JSON (import-api.md 17.2).
    """
    first, second = (_decode_exact, _decode_exact) if exact else (decode_fast, _decode_with_huge)
    try:
        return first(text)
    except SYNTAX_ERRORS:
        pass
    try:
        return second(repair_json(text, check))
    except SYNTAX_ERRORS as error:
        refuse_malformed(error, kind=kind)


def strip_byte_order_mark(body: bytes) -> bytes:
    """Remove the byte order mark from a body in which positions are looked up later.

    `repair_json` removes a mark, too. Of two marks, one would go here and one there, and a position
    in the repaired text would be another one in the body.

    Raises:
        RequestRefusedError: 400, there is a second mark, which is not JSON.
    """
    text = body.removeprefix(BOM)
    if text.startswith(BOM):
        refuse_malformed("a second byte order mark")
    return text


_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HIGH_ESCAPE = re.compile(_HIGH)
_LONE_HIGH = re.compile(_HIGH + rb"(?!" + _LOW + rb")")
_LONE_LOW = re.compile(rb"(?<!" + _HIGH + rb")" + _LOW)
_ESCAPE_BYTES = 6  # of `\u0000`
_PART_BYTES = 128 * 1024
"""Bytes of a text that are searched in one call: all of them may be escapes. More than two escapes,
because a cut goes back by as much."""


def repair_json(text: bytes, check: StepCheck = pass_step) -> bytes:
    """Remove the byte order mark and replace escapes of unpaired surrogates by those of U+FFFD.

    Apart from the mark, every byte keeps its position.

    Args:
        text: UTF-8; it may be JSON or not.
        check: called between steps.
    """
    text = text.removeprefix(BOM)
    if b"\\u" not in text or b"\0" in text:  # a text with a NUL is not JSON
        return text
    # Escaped backslashes are put away, so that what is left of `\u` begins an escape.
    hidden = text.replace(rb"\\", b"\0\0")
    parts: list[bytes] = []
    begin = 0
    while begin < len(hidden):
        check()
        end = _find_escape_end(hidden, begin + _PART_BYTES)
        part = _LONE_HIGH.sub(rb"\\ufffd", hidden[begin:end])
        parts.append(_LONE_LOW.sub(rb"\\ufffd", part))
        begin = end
    return b"".join(parts).replace(b"\0\0", rb"\\")


def _find_escape_end(text: bytes, end: int) -> int:
    """Return where to cut a text near `end`, so that no escape and no pair of two is cut."""
    if end >= len(text):
        return len(text)
    found = text.rfind(rb"\u", end - _ESCAPE_BYTES + 1, end + 2)
    cut = end if found < 0 else found
    # The escape behind the cut may be the second half of a pair, and that before it the first.
    before = cut - _ESCAPE_BYTES
    return before if _HIGH_ESCAPE.match(text, before, cut) else cut


def refuse_malformed(error: Exception | str, *, kind: str = "json") -> NoReturn:
    """Refuse a body that cannot be parsed (import-api.md 17.2).

    Args:
        error: the parser's words.
        kind: "json" or "transit".

    Raises:
        RequestRefusedError: 400, always.
    """
    if isinstance(error, RecursionError):
        error = f"nested deeper than {DEPTH_MAX} levels"
    raise RequestRefusedError(
        400,
        {
            "status": "ERROR",
            "message": f"Malformed {kind} in the body!",
            "error": str(error),
            "input": None,
        },
    )


# --- what a raw slice may hide --------------------------------------------------------------------

_NOT_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^\[\]{}"]++', re.DOTALL)
PIECES = re.compile(rb'(?:[^"]{1,512}+|"(?:[^"\\]++|\\.)*+"){1,512}+', re.DOTALL)
"""Matches whole strings and the text between them, a limited number at a time: to remove something
from a text makes an object for each place."""
_STEPS = {91: 1, 93: -1, 123: 1, 125: -1}


def measure_depth(text: bytes, check: StepCheck = pass_step) -> int:
    """Return the nesting depth of a valid JSON text: 0 for a scalar, 1 for `[]`."""
    level = deepest = 0
    for piece in PIECES.finditer(text):
        check()
        brackets = _NOT_BRACKETS.sub(b"", piece[0])
        steps = accumulate(map(_STEPS.__getitem__, brackets), initial=level)
        deepest = max(deepest, max(steps))
        level += 2 * (brackets.count(b"[") + brackets.count(b"{")) - len(brackets)
    return deepest


def is_too_deep(text: bytes, levels: int = DEPTH_MAX, check: StepCheck = pass_step) -> bool:
    """Return whether a valid JSON text is nested deeper than so many levels; fast if short."""
    return (
        len(text) > 2 * levels
        and count_bytes(text, b"[") + count_bytes(text, b"{") > levels
        and measure_depth(text, check) > levels
    )


def count_bytes(text: bytes, byte: bytes) -> int:
    """Return how often a byte occurs in a text.

    A long one is looked at in steps, between which other threads get the interpreter's lock: all
    other requests would wait 5 ms for 20 MB.
    """
    if len(text) <= _COUNTED_AT_ONCE:
        return text.count(byte)
    found = 0
    for start in range(0, len(text), _COUNTED_AT_ONCE):
        found += text.count(byte, start, start + _COUNTED_AT_ONCE)
    return found


_COUNTED_AT_ONCE = 1024 * 1024


def is_body_too_deep(body: bytes, check: StepCheck = pass_step) -> bool:
    """Return whether a body is nested too deep; fast for an array of short elements."""
    try:
        elements = decode_slices(body)
    except SYNTAX_ERRORS:
        return is_too_deep(body, check=check)
    return any(
        is_too_deep(bytes(element), DEPTH_MAX - 1, check)
        for element in elements
        if len(element) > 2 * (DEPTH_MAX - 1)
    )


_PROBE = 32
_STRIDE = INTEGER_CHARACTERS_MAX - _PROBE - 1


def may_hide_long_integer(text: bytes) -> bool:
    """Return whether the text may hold a run of digits longer than an integer may be.

    A few bytes in each stretch of that length are looked at: such a run would cover some of them.
    """
    if len(text) <= INTEGER_CHARACTERS_MAX:
        return False
    return any(text[at : at + _PROBE].isdigit() for at in range(0, len(text), _STRIDE))
