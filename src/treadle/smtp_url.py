"""The URL of a mail server: `smtp://user:password@mail.example.com:587?starttls=1`."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Encryption = Literal["none", "starttls", "tls"]
"""How a connection is encrypted: not, after a command of SMTP, or from its beginning."""

PORTS: Final = {"none": 25, "starttls": 587, "tls": 465}
"""The port of each kind of encryption (RFC 5321, RFC 6409, RFC 8314)."""

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_SWITCH: Final = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server that takes mails to be passed on.

    Attributes:
        user: the name to log in with; None to send without a login.
    """

    host: str
    port: int
    encryption: Encryption
    user: str | None = None
    password: str = field(default="", repr=False)


def parse_smtp_url(url: str) -> SmtpServer:
    """Return the mail server of a URL.

    `smtps` is encrypted from the beginning. `smtp` with `starttls=1` is encrypted before anything
    is said. A password never crosses a network in clear: without encryption the host has to be this
    machine.

    Raises:
        ValueError: it is no such URL. The text says why, and holds no password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        asked = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise ValueError("its host, its port or its parameters cannot be read") from None
    if parts.scheme not in ("smtp", "smtps"):
        raise ValueError("it begins with smtp:// or smtps://")
    if not _HOST.fullmatch(host) or parts.path not in ("", "/") or parts.fragment:
        raise ValueError("it names a host, and a port where that is not the usual one")
    starttls = _SWITCH.get(asked.pop("starttls", "0"))
    if asked or starttls is None:
        raise ValueError("its only parameter is starttls=1")
    encryption: Encryption = "none"
    if parts.scheme == "smtps":
        if starttls:
            raise ValueError("smtps is encrypted from its beginning and needs no starttls")
        encryption = "tls"
    elif starttls:
        encryption = "starttls"
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password or "")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in (user or "") + password):
        raise ValueError("its user and its password have no control characters")
    if password and user is None:
        raise ValueError("a password needs a user")
    if user is not None and encryption == "none" and not _is_local(host):
        raise ValueError("a password is sent encrypted only: add starttls=1, or use smtps")
    return SmtpServer(host, port or PORTS[encryption], encryption, user, password)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
