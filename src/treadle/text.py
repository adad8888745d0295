"""Texts that a client chose, made fit for databases, indexes, terminals and log lines.

A JSON text may hold the NUL character and surrogates without their other half. PostgreSQL stores
neither, and UTF-8 has no form for the second. Other characters command a terminal, or are not seen:
with them a name could clear the screen, begin a line of its own, or look like another name.
"""

import hashlib
import re
from typing import Final

_UNPRINTABLE: Final = re.compile(
    "["
    r"\x00-\x1f\x7f-\x9f"  # controls, C0 and C1, with ESC and CSI
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of writing
    r"\u2028\u2029"  # separators of lines and paragraphs
    r"\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff"  # of no width
    r"\xad\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\ufff0-\ufffb"  # other formats
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\uffa0"  # letters that show nothing
    r"\ufe00-\ufe0f\U000e0000-\U000e0fff"  # variations and tags
    r"\ud800-\udfff"  # surrogates without their other half
    "]"
)
"""The characters that a terminal obeys or does not show. It has Unicode's categories Cc, Cf, Cs, Zl
and Zp, and the characters that Unicode calls ignorable."""

_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def make_storable(text: str) -> str:
    """Return a text that every database stores: without NUL, and `?` for an unpaired surrogate."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def cut_text(text: str, bytes_max: int) -> str:
    """Return what fits of a text into a number of bytes of UTF-8; no character is cut in two."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= bytes_max else raw[:bytes_max].decode(errors="ignore")


def escape_nul(text: str) -> str:
    r"""Return a text that every database stores, for people: NUL as `\x00`, not left out."""
    return make_storable(text.replace("\0", _escape_number(0)))


def make_clause(text: str) -> str:
    """Return a text as a part of a sentence: on one line, without a full stop."""
    return " ".join(text.split()).rstrip(".")


def end_sentence(text: str) -> str:
    """Return a text, often a database's, with a full stop at its end if it has none."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def escape_unprintable(text: str) -> str:
    r"""Return a text in which every character can be seen, as one line.

    A character that a terminal obeys or does not show becomes an escape as Python writes it, such
    as `\n`, `\x1b` or `\u202e`. A backslash stays as it is, as in psql: this is for eyes. JSON is
    for programs (`escape_json`).
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_escape_character, text)


def escape_lines(text: str) -> str:
    """Return a text of several lines, of which each is as `escape_unprintable` returns it."""
    return "\n".join(map(escape_unprintable, text.split("\n")))


def _escape_character(found: re.Match[str]) -> str:
    character = found[0]
    number = ord(character)
    return _SHORT_ESCAPES.get(character) or _escape_number(number)


def _escape_number(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def format_bytes(number: int) -> str:
    """Write a size with a unit: 640 B, 1.5 kB, 20 MB."""
    size = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            digits = 0 if unit == "B" or abs(size) >= 10 else 1
            return f"{size:.{digits}f} {unit}"
        size /= 1000
    raise AssertionError


def shorten_line(text: str, characters_max: int) -> str:
    """Return a text as one line that can be seen, and that ends with `...` where it was longer."""
    shown = escape_unprintable(text)
    return shown if len(shown) <= characters_max else shown[: characters_max - 3] + "..."


def escape_json(text: str) -> str:
    r"""Return the same JSON value as a text in which every character can be seen, on one line.

    Inside of strings JSON has escapes for all characters; outside of them only blanks can be
    controls.

    Args:
        text: valid JSON. Surrogates without their other half become escapes, too.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_escape_json_character, text)


def _escape_json_character(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x20:
        return " "
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def digest_text(text: str) -> bytes:
    """Return the SHA-256 of a text, 32 bytes, under which it can be a key of an index.

    Unpaired surrogates count like any other character, so that two texts never share a digest.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class NulEscape:
    """A spelling of texts without NUL characters, from which each comes back as it was.

    Args:
        mark: the character that begins an escape.
        second: what follows `mark` for a `mark` of the text itself. A NUL is `mark` and `0`.
    """

    def __init__(self, mark: str, second: str) -> None:
        self._mark = mark
        self._doubled = mark + second
        self._nul = mark + "0"
        self._pair = re.compile(re.escape(mark) + "(?s:(.))")
        self._second = second

    def escape(self, text: str) -> str:
        """Return the text without NUL characters."""
        if self._mark not in text and "\0" not in text:
            return text
        return text.replace(self._mark, self._doubled).replace("\0", self._nul)

    def unescape(self, escaped: str) -> str:
        """Return the text that was given to `escape`."""
        if self._mark not in escaped:
            return escaped
        return self._pair.sub(lambda pair: "\0" if pair[1] == "0" else self._mark, escaped)
