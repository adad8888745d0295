"""The cookies of the console: with the secret of a session, and of a visit before one.

Only pages of the console read them: no API does, so that no page of another server can use an API
by the browser of somebody who has a session.
"""

from collections.abc import Iterable
from typing import Final

SESSION_COOKIE: Final = "treadle_session"

VISIT_COOKIE: Final = "treadle_visit"
"""Of the page to sign in: the form that it shows is worth something in the same browser only."""

SECURE_PREFIX: Final = "__Secure-"
"""Over TLS. A browser takes a cookie of such a name over TLS only, so nobody on the network can put
another one in its place."""


def format_cookie(name: str, value: str, *, path: str, seconds: int, secure: bool) -> str:
    """Return the value of `Set-Cookie` for a cookie that no script can read.

    `SameSite` is `Strict`: a browser sends it only from pages of the console. The page that a link
    of another site leads to goes to itself once, so that it is sent there, too (console.md B.9).

    Args:
        name: without its prefix.
        value: of the cookie.
        path: of the console, as browsers see it.
        seconds: how long it lasts; 0 takes the cookie away.
        secure: the request came over TLS.
    """
    parts = [
        f"{_get_full_name(name, secure=secure)}={value}",
        f"Max-Age={seconds}",
        f"Path={path}",
        "HttpOnly",
        "SameSite=Strict",
    ]
    return "; ".join([*parts, "Secure"] if secure else parts)


def read_cookie(headers: Iterable[tuple[bytes, bytes]], name: str, *, secure: bool) -> str | None:
    """Return the value of a cookie that a request has.

    Args:
        headers: of the request, names in lower case.
        name: without its prefix.
        secure: the request came over TLS.

    Returns:
        None when there is none, or several: one of those is not ours.
    """
    return read_plain_cookie(headers, _get_full_name(name, secure=secure))


def read_plain_cookie(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the value of a cookie that holds no secret, as `read_cookie`; it has no prefix."""
    found = [
        value.strip()
        for header, text in headers
        if header == b"cookie"
        for pair in text.decode("latin-1").split(";")
        for sent, equals, value in [pair.partition("=")]
        if equals and sent.strip() == name
    ]
    return found[0] if len(found) == 1 and found[0] else None


def _get_full_name(name: str, *, secure: bool) -> str:
    return f"{SECURE_PREFIX}{name}" if secure else name
