"""The form of a ClickHouse destination: properties, and its URL (connect-rest.md A.2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from treadle.destinations.form import BOOLEAN, DIGITS, HOST, FormProperty

PORT: Final = 8123
SECURE_PORT: Final = 8443

PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
"""How the text of a certificate begins, which takes the place of the path of a file."""

_PEM: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": rf"^\s*{PEM_BEGIN}[\s\S]+-----END CERTIFICATE-----\s*$",
}

_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class ClickhouseUrl:
    """The parts of a URL, not escaped.

    Attributes:
        host: a name or an address.
        port: digits; empty for the default.
        database: where names without a database are looked up; empty for that of the user.
        parameters: of the query, in order, with names in lower case and `_` for `-`.
    """

    host: str
    port: str
    user: str | None
    password: str | None = field(repr=False)
    database: str = ""
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
            parameters[unquote(name).lower().replace("-", "_")] = unquote(value)
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
        return f"clickhouse://{login}{'@' if login else ''}{place}/{_escape(self.database)}" + (
            f"?{query}" if query else ""
        )

    @property
    def default_port(self) -> int:
        """The port where the URL has none."""
        return SECURE_PORT if self.is_secure else PORT

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted; a value that is none means no."""
        try:
            return self.read_flag("secure", default=False)
        except ValueError:
            return False

    def read_flag(self, name: str, *, default: bool) -> bool:
        """Return a parameter that is on or off.

        Raises:
            ValueError: it is neither.
        """
        text = self.parameters.get(name, "").lower()
        if text and text not in _FLAGS:
            raise ValueError(name)
        return _FLAGS.get(text, default)


@dataclass(frozen=True, slots=True)
class ClickhouseForm:
    """The form of the type `clickhouse`."""

    type: str = "clickhouse"
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
        parts = ClickhouseUrl.parse(url)
        certificate = parts.parameters.get("ca_cert", "")
        is_secure = parts.is_secure
        found = {
            "host": parts.host,
            "port": parts.port or str(parts.default_port),
            "username": parts.user,
            "password": parts.password,
            "ssl": "true" if is_secure else "false",
            "sslrootcert": certificate if PEM_BEGIN in certificate else None,
        }
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with what no property says of the former one."""
        old = {} if former is None else self.read_url(former)
        before = None if former is None else ClickhouseUrl.parse(former)
        parameters = {} if before is None else dict(before.parameters)
        if any(properties.get(name) != old.get(name) for name in ("ssl", "sslrootcert")):
            if "sslrootcert" in properties:
                parameters["ca_cert"] = properties["sslrootcert"]
            elif "sslrootcert" in old:
                parameters.pop("ca_cert", None)
            parameters["secure"] = "1" if properties.get("ssl") == "true" else "0"
            parameters.pop("verify", None)
        return ClickhouseUrl(
            host=properties.get("host", ""),
            port=properties.get("port", ""),
            user=properties.get("username"),
            password=properties.get("password"),
            database="" if before is None else before.database,
            parameters=parameters,
        ).format()


def _escape(text: str) -> str:
    return quote(text, safe="")
