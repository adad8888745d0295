"""JSON text to Python values: everything RFC 8259 allows, nothing else, integers exact.

The first look is msgspec's. It refuses three things that the specifications accept, so a text it
refuses gets a second look with those allowed: escapes of unpaired surrogates (they become U+FFFD,
loading.md 3.3), a byte order mark (skipped, import-api.md 11) and numbers too large for a double
(`HugeNumber`, loading.md L26).
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

BOM = b"\xef\xbb\xbf"

SYNTAX_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a msgspec decoder raises on text that is not the JSON it expects."""


_EXPONENT_MAX = 999_999  # that of decimal.DefaultContext


class HugeNumber(Decimal):
    """A number literal beyond the range of a double, such as `1e400`.

    As a Decimal it is exact, unless it has more than a million digits before the point; then it is
    a number with a million, so that arithmetic in the default context does not overflow.

    Attributes:
        literal: the number as sent, for the reason of a rejection (loading.md 3.3).
    """

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, literal: str) -> "HugeNumber":
        """The number that a JSON number literal stands for."""
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
    # A literal that can be beyond a double is long or has an exponent; most are neither.
    if (len(literal) > 300 or "e" in literal or "E" in literal) and math.isinf(float(literal)):
        return HugeNumber(literal)
    try:
        return Decimal(literal)
    except InvalidOperation:  # an exponent below what a Decimal holds: nothing at any scale
        return Decimal(0)


def make_decoder(type_: Any, *, exact: bool) -> Callable[[bytes], Any]:
    """The first look of `decode_json` into a msgspec type; refuses what needs the second."""
    return msgspec.json.Decoder(type_, float_hook=_parse_exact if exact else None).decode


decode_fast: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""The first look alone: no `HugeNumber`, one of `SYNTAX_ERRORS` where `decode_json` looks again."""

_decode_with_huge = msgspec.json.Decoder(float_hook=_parse_double).decode
_decode_exact = msgspec.json.Decoder(float_hook=_parse_exact).decode

decode_slices = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""The elements of an array as texts."""

decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""The values of an object as texts, by their keys."""


def decode_json(text: bytes, *, exact: bool = False, kind: str = "json") -> Any:
    """The value a JSON text stands for.

    Integers are exact; the last of duplicate keys wins. A number with a fraction or an exponent is
    a float, or `HugeNumber` where a double cannot hold it.

    Args:
        text: UTF-8, with or without a byte order mark.
        exact: give such numbers as Decimal instead of float.
        kind: "json" or "transit", for the refusal.

    Raises:
        Refused: 400, the text is not JSON (import-api.md 17.2).
    """
    first, second = (_decode_exact, _decode_exact) if exact else (decode_fast, _decode_with_huge)
    try:
        return first(text)
    except SYNTAX_ERRORS:
        pass
    try:
        return second(repair_json(text))
    except SYNTAX_ERRORS as error:
        refuse_malformed(error, kind=kind)


def strip_byte_order_mark(body: bytes) -> bytes:
    """A body without a byte order mark, for those who go on to look for places in it.

    `repair_json` takes a mark away, too: of two, one would be taken here and one there, and what
    was found at a place of the repaired text would stand at another place of the body.

    Raises:
        Refused: 400, a second mark, which is no JSON.
    """
    text = body.removeprefix(BOM)
    if text.startswith(BOM):
        refuse_malformed("a second byte order mark")
    return text


# A pair is one match, so that what else matches a surrogate is unpaired; an escaped backslash is
# one match, so that what follows it is no escape.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def repair_json(text: bytes) -> bytes:
    """The text without a byte order mark, escapes of unpaired surrogates replaced by U+FFFD's.

    Apart from the mark every byte keeps its place.
    """
    text = text.removeprefix(BOM)
    if b"\\u" not in text:
        return text
    return _ESCAPES.sub(lambda found: b"\\ufffd" if found["lone"] else found[0], text)


def refuse_malformed(error: Exception | str, *, kind: str = "json") -> NoReturn:
    """Refuse a body that cannot be parsed (import-api.md 17.2).

    Args:
        error: the parser's words.
        kind: "json" or "transit".
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
"""Whole strings and what is between them, some at a time: taking something out of a text makes an
object for each place."""
_STEPS = {91: 1, 93: -1, 123: 1, 125: -1}


def measure_depth(text: bytes) -> int:
    """How deep arrays and objects are nested in a valid JSON text: 0 for a scalar, 1 for `[]`."""
    level = deepest = 0
    for piece in PIECES.finditer(text):
        brackets = _NOT_BRACKETS.sub(b"", piece[0])
        steps = accumulate(map(_STEPS.__getitem__, brackets), initial=level)
        deepest = max(deepest, max(steps))
        level += 2 * (brackets.count(b"[") + brackets.count(b"{")) - len(brackets)
    return deepest


def is_too_deep(text: bytes, levels: int = DEPTH_MAX) -> bool:
    """Whether a valid JSON text is nested deeper than so many levels; quick for short ones."""
    return (
        len(text) > 2 * levels
        and text.count(b"[") + text.count(b"{") > levels
        and measure_depth(text) > levels
    )


def is_body_too_deep(body: bytes) -> bool:
    """`is_too_deep` for a whole body; quick where it is an array of short elements."""
    try:
        elements = decode_slices(body)
    except SYNTAX_ERRORS:
        return is_too_deep(body)
    return any(
        is_too_deep(bytes(element), DEPTH_MAX - 1)
        for element in elements
        if len(element) > 2 * (DEPTH_MAX - 1)
    )


_PROBE = 32
_STRIDE = INTEGER_CHARACTERS_MAX - _PROBE - 1


def may_hide_long_integer(text: bytes) -> bool:
    """Whether a run of digits longer than an integer may have can be somewhere in the text.

    Looks at a few bytes in each stretch of the length in question, which such a run would cover.
    """
    if len(text) <= INTEGER_CHARACTERS_MAX:
        return False
    return any(text[at : at + _PROBE].isdigit() for at in range(0, len(text), _STRIDE))
