"""Texts that a client chose, made fit for databases and indexes.

A JSON text may hold the NUL character and surrogates without their other half. PostgreSQL stores
neither, and UTF-8 has no form for the second.
"""

import hashlib
import re


def make_storable(text: str) -> str:
    """Return a text that every database stores: without NUL, and `?` for an unpaired surrogate."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


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
