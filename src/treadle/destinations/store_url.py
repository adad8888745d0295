"""The parts of a URL of a place for files. Functions of values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The parts of a URL, not escaped.

    Attributes:
        scheme: in lower case.
        host: a name or an address; empty for a file of this machine.
        port: digits; empty for the default.
        path: of a file with its slash in front; else what follows the host, without.
        parameters: of the query, in order, with names in lower case.
    """

    scheme: str
    host: str = ""
    port: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        scheme, _, tail = url.partition("://")
        rest, _, query = tail.partition("?")
        authority, slash, path = rest.partition("/")
        login, at, place = authority.rpartition("@")
        user, colon, password = login.partition(":")
        if place.startswith("["):
            host, _, end = place[1:].partition("]")
            port = end.removeprefix(":")
        else:
            host, _, port = place.partition(":")
        parameters = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            parameters[unquote(name).lower()] = unquote(value)
        return cls(
            scheme.lower(),
            unquote(host),
            port,
            unquote(user) if at else None,
            unquote(password) if colon else None,
            unquote(path if host else slash + path),
            parameters,
        )

    def format(self) -> str:
        """Return the URL."""
        login = "" if self.user is None else _escape(self.user)
        if self.password is not None:
            login += ":" + _escape(self.password)
        host = f"[{self.host}]" if ":" in self.host else _escape(self.host)
        place = host + (f":{self.port}" if self.port else "")
        path = quote(self.path if not host else f"/{self.path}" if self.path else "")
        query = "&".join(f"{name}={_escape(value)}" for name, value in self.parameters.items())
        at = "@" if self.user is not None else ""
        return f"{self.scheme}://{login}{at}{place}{path}" + (f"?{query}" if query else "")

    @property
    def is_encrypted(self) -> bool:
        """Whether a server is spoken to by HTTPS."""
        return self.parameters.get("tls", "true").lower() != "false"

    @property
    def http_url(self) -> str:
        """The URL of the server, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = host + (f":{self.port}" if self.port else "")
        path = f"/{self.path}" if self.path else ""
        return f"{'https' if self.is_encrypted else 'http'}://{place}{path}"


def _escape(text: str) -> str:
    return quote(text, safe="")
