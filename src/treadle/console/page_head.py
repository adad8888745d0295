"""The head of a request for a page, and its form, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from starlette.types import Scope

from treadle.console.page_request import THEMES, ConsolePlaces, PagePreferences
from treadle.errors import RequestRefusedError
from treadle.http.headers import read_peer
from treadle.http.hosts import is_loopback_host, read_host
from treadle.http.session_cookie import read_plain_cookie
from treadle.store.trail_event import LOCAL_ADDRESS

THEME_COOKIE: Final = "treadle_theme"
LIVE_COOKIE: Final = "treadle_live"
KEYS_COOKIE: Final = "treadle_keys"

FIELDS_MAX: Final = 1_000
"""Most fields of a form or a query."""


@dataclass(frozen=True, slots=True)
class PageHead:
    """What is known of a request before its body is read.

    Attributes:
        method: in upper case.
        base: of the console, as a browser sees it.
        path: below the console, decoded; empty or with a slash at its beginning.
        raw_path: the same, as it was sent.
        query_text: as it was sent, with its question mark; empty for none.
        query: the last one of equal names.
        queries: all of them.
        headers: names in lower case; the last one of equal names.
        raw_headers: all of them.
        is_secure: the browser speaks TLS, with the server or with a proxy that is trusted.
        is_local: the browser is on this machine, so that nobody reads on the way.
        address: of the client.
        origin: of the server as the browser sees it.
    """

    method: str
    base: str
    path: str
    raw_path: str
    query_text: str
    query: Mapping[str, str]
    queries: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    raw_headers: Sequence[tuple[bytes, bytes]]
    is_secure: bool
    is_local: bool
    address: str
    origin: str
    preferences: PagePreferences

    @property
    def is_changing(self) -> bool:
        """Return whether it may change something."""
        return self.method not in ("GET", "HEAD", "OPTIONS")


def read_head(scope: Scope, places: ConsolePlaces) -> PageHead:
    """Read the head of a request for a path of the console."""
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    path: str = scope["path"].removeprefix(places.path)
    raw = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    raw_path = raw.removeprefix(places.path) if raw.startswith(places.path) else quote(path)
    query_text = scope.get("query_string", b"").decode("latin-1")
    queries = _parse_pairs(query_text)
    is_secure = scope["scheme"] == "https"
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    origin = places.origin or f"{scope['scheme']}://{named.get('host', 'localhost')}"
    return PageHead(
        method=scope["method"],
        base=places.base,
        path=path,
        raw_path=raw_path,
        query_text=f"?{query_text}" if query_text else "",
        query=dict(queries),
        queries=queries,
        headers=named,
        raw_headers=headers,
        is_secure=is_secure,
        is_local=is_loopback_host(read_host(scope)),
        address=read_peer(scope) or LOCAL_ADDRESS,
        origin=origin,
        preferences=read_preferences(headers),
    )


def read_preferences(headers: Sequence[tuple[bytes, bytes]]) -> PagePreferences:
    """Return what a browser wants of every page; what its cookies do not say is the default."""
    theme = read_plain_cookie(headers, THEME_COOKIE)
    return PagePreferences(
        theme=theme if theme in THEMES else THEMES[0],
        live=read_plain_cookie(headers, LIVE_COOKIE) != "off",
        keys=read_plain_cookie(headers, KEYS_COOKIE) != "off",
    )


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, `application/x-www-form-urlencoded`; the last of equal names.

    Raises:
        RequestRefusedError: 400, there are too many fields.
    """
    return dict(_parse_pairs(body.decode("ascii", "replace")))


def _parse_pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise RequestRefusedError(400, f"There are more than {FIELDS_MAX} fields.") from error
