"""Rules for the head of a request: its size, its version, and headers that may come only once.

The sender is not known before the head is complete, so a head that is too large is refused while it
arrives. A header with one value that comes twice means two things to two readers: a proxy in front
could check one, and the server use the other (RFC 9110 5.3, RFC 9112 3.2 and 6.3).
"""

import re
from collections.abc import Sequence
from typing import Final

from treadle.errors import RequestRefusedError

REQUEST_HEAD_BYTES_MAX: Final = 16 * 1024
"""Largest head in bytes, empty lines before it included. Chunk extensions and trailers of one
request together may have as many."""

TARGET_BYTES_MAX: Final = 8 * 1024
"""Longest target of a request, path and query, in bytes."""

HEADERS_MAX: Final = 100
"""Most headers of a request, and most trailers."""

CONTENT_LENGTH_DIGITS_MAX: Final = 19
"""Most digits of a Content-Length: all that fit 64 bits."""

SINGLE_HEADERS: Final = frozenset(
    (
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"date",
        b"expect",
        b"from",
        b"host",
        b"idempotency-key",
        b"if-modified-since",
        b"if-unmodified-since",
        b"max-forwards",
        b"origin",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"transfer-encoding",
        b"user-agent",
    )
)
"""Headers with one value: a second line of the name is refused, also where it says the same."""

_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::[0-9]{0,5})?", re.ASCII
)
"""A host as in RFC 3986 3.2.2, without the comma: with one, it is two that a proxy joined."""

Fields = Sequence[tuple[bytes, bytes]]
"""The headers of a request in order, names in lower case."""


def check_request_head(version: str, fields: Fields) -> None:
    """Refuse a head that is ambiguous, or of a version that is not served.

    Args:
        version: of HTTP, such as "1.1".
        fields: the headers.

    Raises:
        RequestRefusedError: 505, another version; 431, too many headers; 400, a header that may
            come once came twice, a Host is missing or wrong, or the length has too many digits;
            501, a transfer coding that is unknown.
    """
    if version not in ("1.1", "1.0"):
        raise RequestRefusedError(
            505, f"HTTP/{version} is not served on this connection; send HTTP/1.1."
        )
    check_header_count(len(fields))
    seen: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in SINGLE_HEADERS:
            if name in seen:
                raise RequestRefusedError(
                    400, f"The header {name.decode('ascii')} came twice; send it once."
                )
            seen[name] = value
    host = seen.get(b"host")
    if host is None:
        if version == "1.1":
            raise RequestRefusedError(400, "The header host is missing; HTTP/1.1 requires it.")
    elif _HOST.fullmatch(host) is None:
        raise RequestRefusedError(400, "The header host is not a host with a port or without one.")
    if len(seen.get(b"content-length", b"")) > CONTENT_LENGTH_DIGITS_MAX:
        raise RequestRefusedError(
            400, f"The content-length has more than {CONTENT_LENGTH_DIGITS_MAX} digits."
        )
    coding = seen.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            raise RequestRefusedError(400, "HTTP/1.0 has no transfer-encoding.")
        if coding.lower() != b"chunked":
            raise RequestRefusedError(501, "The only transfer-encoding that is served is chunked.")


def check_header_count(count: int) -> None:
    """Refuse a request with so many headers, or trailers, if they are too many.

    Raises:
        RequestRefusedError: 431.
    """
    if count > HEADERS_MAX:
        raise RequestRefusedError(431, f"The request has more than {HEADERS_MAX} headers.")


def check_head_size(head_bytes: int, target_bytes: int) -> None:
    """Refuse a head that is too large, as far as it has arrived.

    Args:
        head_bytes: bytes of it that are there.
        target_bytes: bytes of its target that are there.

    Raises:
        RequestRefusedError: 414, the target is too long; 431, the head is.
    """
    if target_bytes > TARGET_BYTES_MAX:
        raise RequestRefusedError(
            414, f"The path and the query have more than {TARGET_BYTES_MAX} bytes."
        )
    if head_bytes > REQUEST_HEAD_BYTES_MAX:
        raise RequestRefusedError(
            431, f"The head of the request has more than {REQUEST_HEAD_BYTES_MAX} bytes."
        )
