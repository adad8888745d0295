"""URLs that an account gives the server to call (connect-rest.md A.2.6)."""

import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from treadle.errors import TreadleError
from treadle.http.address_policy import AddressPolicy, AddressRefusedError, parse_full_address

URL_CHARACTERS_MAX: Final = 2_048

_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
"""The characters of a URI (RFC 3986 2). A backslash or a line break is none of them."""

_HOST: Final = re.compile(
    r"(?=.{1,253}\.?\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?"
)
_PORTS: Final = {"http": 80, "https": 443}


class UrlRefusedError(TreadleError):
    """A text is no URL that the server calls."""


@dataclass(frozen=True, slots=True)
class OutboundUrl:
    """The parts of a URL that the server calls.

    Attributes:
        scheme: "https" or "http".
        host: a name in lower case, or an address without brackets.
        port: also where the URL has none.
        target: path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OutboundRules:
    """What URLs an account may give.

    Attributes:
        allows_http: plain HTTP is allowed beside HTTPS.
        policy: which addresses it may name.
    """

    allows_http: bool
    policy: AddressPolicy

    @classmethod
    def from_setting(cls, hook_urls: str) -> "OutboundRules":
        """Return the rules of the setting `hook_urls`: "https", or "any" for local use."""
        return cls(hook_urls == "any", AddressPolicy(allows_loopback=hook_urls == "any"))

    def parse(self, text: str) -> OutboundUrl:
        """Parse a URL, and check what can be known of it before it is called.

        Raises:
            UrlRefusedError: it is no URL of an allowed scheme, has a user or a password in it, or
                names an address that is not connected to. The text does not repeat the URL.
        """
        url = _split_url(text)
        if url.scheme == "http" and not self.allows_http:
            raise UrlRefusedError("the URL has to begin with https://")
        literal = _read_literal(url.host)
        if literal is not None:
            try:
                self.policy.check(literal)
            except AddressRefusedError as error:
                raise UrlRefusedError(str(error)) from error
        return url


def _split_url(text: str) -> OutboundUrl:
    if len(text) > URL_CHARACTERS_MAX or not _URI.fullmatch(text):
        raise UrlRefusedError(
            f"the URL has at most {URL_CHARACTERS_MAX} characters, all of which a URL may have"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UrlRefusedError("the URL has a host or a port that is none") from error
    if parts.scheme not in _PORTS:
        raise UrlRefusedError("the URL has to begin with https://")
    if "@" in parts.netloc:
        raise UrlRefusedError("the URL holds a user or a password; put a secret into its path")
    host = (parts.hostname or "").lower()
    if not host or (":" not in host and not _HOST.fullmatch(host)) or port == 0:
        raise UrlRefusedError("the URL names no host, or no port of it")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return OutboundUrl(parts.scheme, host, port or _PORTS[parts.scheme], target)


def _read_literal(host: str) -> str | None:
    """Return the address that a host is, in any of the forms that systems take for one.

    Beside 127.0.0.1 these are 127.1, 0x7f000001 and 2130706433.
    """
    if parse_full_address(host) is not None:
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None
