"""The cookie with the secret of a session of the console.

Only pages of the console read it: no API does, so that no page of another server can use an API by
the browser of somebody who has a session.
"""

from collections.abc import Iterable
from typing import Final

COOKIE_NAME: Final = "treadle_session"

SECURE_COOKIE_NAME: Final = "__Secure-treadle_session"
"""Over TLS. A browser takes a cookie of such a name over TLS only, so nobody on the network can put
another one in its place."""

COOKIE_PATH: Final = "/console"


def format_session_cookie(secret: str, *, seconds: int, secure: bool) -> str:
    """Return the value of `Set-Cookie` for a session.

    `SameSite` is `Lax`: a link in a portal or a mail leads to the page that gives the cookie, and a
    browser would not send one that is `Strict` to the page after it.

    Args:
        secret: of the session.
        seconds: how long the session lasts; 0 takes the cookie away.
        secure: the request came over TLS.
    """
    parts = [
        f"{SECURE_COOKIE_NAME if secure else COOKIE_NAME}={secret}",
        f"Max-Age={seconds}",
        f"Path={COOKIE_PATH}",
        "HttpOnly",
        "SameSite=Lax",
    ]
    return "; ".join([*parts, "Secure"] if secure else parts)


def read_session_cookie(headers: Iterable[tuple[bytes, bytes]], *, secure: bool) -> str | None:
    """Return the secret of a session that a request has.

    Args:
        headers: of the request, names in lower case.
        secure: the request came over TLS.

    Returns:
        None when there is none, or several: one of those is not ours.
    """
    wanted = SECURE_COOKIE_NAME if secure else COOKIE_NAME
    found = [
        value.strip()
        for header, text in headers
        if header == b"cookie"
        for pair in text.decode("latin-1").split(";")
        for name, equals, value in [pair.partition("=")]
        if equals and name.strip() == wanted
    ]
    return found[0] if len(found) == 1 and found[0] else None
