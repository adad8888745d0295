"""The form of a MySQL destination: properties, and its URL (connect-rest.md A.2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from treadle.destinations.form import BOOLEAN, DIGITS, HOST, FormProperty

PORT: Final = 3306

PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
"""How the text of a certificate begins, which takes the place of the path of a file."""

_PEM: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": rf"^\s*{PEM_BEGIN}[\s\S]+-----END CERTIFICATE-----\s*$",
}


class SslMode(StrEnum):
    """Ways to encrypt a connection, as the `mysql` client calls them."""

    DISABLED = "disabled"
    PREFERRED = "preferred"
    REQUIRED = "required"
    VERIFY_CA = "verify_ca"
    VERIFY_IDENTITY = "verify_identity"

    @property
    def verifies(self) -> bool:
        """Whether the server has to prove who it is."""
        return self in (SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY)

    @property
    def encrypts(self) -> bool:
        """Whether nothing is sent in clear."""
        return self.verifies or self is SslMode.REQUIRED


@dataclass(frozen=True, slots=True)
class MysqlUrl:
    """The parts of a URL, not escaped.

    Attributes:
        host: a name or an address; empty for this machine.
        port: digits; empty for the default.
        path: what stands behind the host. A server has no database that a URL could name, since
            each source has one.
        parameters: of the query, in order, with names in lower case and `-` for `_`.
    """

    host: str
    port: str
    user: str | None
    password: str | None = field(repr=False)
    path: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        rest, _, query = url.partition("://")[2].partition("?")
        authority, _, path = rest.partition("/")
        login, _, place = authority.rpartition("@")
        user, colon, password = login.partition(":")
        if place.startswith("["):
            host, _, tail = place[1:].partition("]")
            port = tail.removeprefix(":")
        else:
            host, _, port = place.partition(":")
        parameters = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            parameters[unquote(name).lower().replace("_", "-")] = unquote(value)
        return cls(
            unquote(host),
            port,
            unquote(user) if user else None,
            unquote(password) if colon else None,
            unquote(path),
            parameters,
        )

    def format(self) -> str:
        """Return the URL."""
        login = "" if self.user is None else _escape(self.user)
        if self.password is not None:
            login += ":" + _escape(self.password)
        host = f"[{self.host}]" if ":" in self.host else _escape(self.host)
        place = host + (f":{self.port}" if self.port else "")
        query = "&".join(f"{name}={_escape(value)}" for name, value in self.parameters.items())
        return f"mysql://{login}{'@' if login else ''}{place}/" + (f"?{query}" if query else "")

    @property
    def ssl_mode(self) -> SslMode:
        """How the connection is encrypted.

        Raises:
            ValueError: the parameter names no way that there is.
        """
        return SslMode(self.parameters.get("ssl-mode", "preferred").lower().replace("-", "_"))


@dataclass(frozen=True, slots=True)
class MysqlForm:
    """The form of the type `mysql_destination`."""

    type: str = "mysql_destination"
    properties: tuple[FormProperty, ...] = (
        FormProperty("host", json_schema=HOST),
        FormProperty("port", json_schema=DIGITS, takes_number=True),
        FormProperty("username"),
        FormProperty("password", is_credential=True),
        FormProperty("ssl", is_required=False, json_schema=BOOLEAN, default="false"),
        FormProperty("sslrootcert", is_required=False, json_schema=_PEM),
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL. The path of a file of certificates is none of them."""
        parts = MysqlUrl.parse(url)
        certificate = parts.parameters.get("ssl-ca", "")
        try:
            encrypts = parts.ssl_mode.encrypts
        except ValueError:
            encrypts = False
        found = {
            "host": parts.host,
            "port": parts.port or str(PORT),
            "username": parts.user,
            "password": parts.password,
            "ssl": "true" if encrypts else "false",
            "sslrootcert": certificate if PEM_BEGIN in certificate else None,
        }
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with the other parameters of the former one."""
        old = {} if former is None else self.read_url(former)
        parameters = {} if former is None else dict(MysqlUrl.parse(former).parameters)
        if any(properties.get(name) != old.get(name) for name in ("ssl", "sslrootcert")):
            if "sslrootcert" in properties:
                parameters["ssl-ca"] = properties["sslrootcert"]
            elif "sslrootcert" in old:
                parameters.pop("ssl-ca", None)
            mode = SslMode.DISABLED
            if properties.get("ssl") == "true":
                verified = "ssl-ca" in parameters
                mode = SslMode.VERIFY_IDENTITY if verified else SslMode.REQUIRED
            parameters["ssl-mode"] = mode.value
        return MysqlUrl(
            host=properties.get("host", ""),
            port=properties.get("port", ""),
            user=properties.get("username"),
            password=properties.get("password"),
            parameters=parameters,
        ).format()


def _escape(text: str) -> str:
    return quote(text, safe="")
