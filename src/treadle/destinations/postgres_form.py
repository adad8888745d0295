"""The form of a PostgreSQL destination: properties, and libpq's URL (connect-rest.md A.2.2).

libpq takes every parameter of a connection from the URL. Those that no property stands for, such as
`application_name`, are kept as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from treadle.destinations.form import (
    BOOLEAN,
    DIGITS,
    HOST,
    TEXT,
    FormProperty,
    TunnelRefusedError,
)

ENCRYPTED_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})
"""Values of sslmode with which nothing is sent in clear."""

PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
"""How the text of a certificate begins, which takes the place of the path of a file."""

_PEM: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": rf"^\s*{PEM_BEGIN}[\s\S]+-----END CERTIFICATE-----\s*$",
}
_TUNNEL: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^(ssh|none)$"}
_PLACE: Final = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
"""Parameters that a URL may have in its query in place of where they usually are."""


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """The parts of a URL of libpq, not escaped.

    Attributes:
        host: several are separated by commas.
        port: of each host; empty for the default.
        parameters: of the query, in order, without those that have a field here.
    """

    host: str
    port: str
    user: str | None
    password: str | None = field(repr=False)
    database: str
    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that libpq refuses gives parts of no use, and no error."""
        rest, _, query = url.partition("://")[2].partition("?")
        authority, _, database = rest.partition("/")
        login, _, place = authority.rpartition("@")
        user, colon, password = login.partition(":")
        hosts, ports = [], []
        for one in place.split(","):
            host, port = _split_host(one)
            hosts.append(unquote(host))
            ports.append(unquote(port))
        parts: dict[str, Any] = {
            "host": ",".join(hosts),
            "port": ports[0] if len(set(ports)) == 1 else ",".join(ports),
            "user": unquote(user) if user else None,
            "password": unquote(password) if colon else None,
            "database": unquote(database),
        }
        parameters = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            name, value = unquote(name), unquote(value)
            if name == "password":
                parts["password"] = value
            elif name in _PLACE:
                parts[_PLACE[name]] = value
            else:
                parameters[name] = value
        return cls(parameters=parameters, **parts)

    def format(self) -> str:
        """Return the URL."""
        login = "" if self.user is None else _escape(self.user)
        if self.password is not None:
            login += ":" + _escape(self.password)
        hosts = self.host.split(",")
        ports = self.port.split(",")
        if len(ports) != len(hosts):
            ports = ports[:1] * len(hosts)
        place = ",".join(
            (f"[{host}]" if ":" in host else _escape(host)) + (f":{_escape(port)}" if port else "")
            for host, port in zip(hosts, ports, strict=True)
        )
        query = "&".join(
            f"{_escape(name)}={_escape(value)}" for name, value in self.parameters.items()
        )
        return f"postgresql://{login}{'@' if login else ''}{place}/{_escape(self.database)}" + (
            f"?{query}" if query else ""
        )


@dataclass(frozen=True, slots=True)
class PostgresForm:
    """The form of the type `postgres`."""

    type: str = "postgres"
    properties: tuple[FormProperty, ...] = (
        FormProperty("host", json_schema=HOST),
        FormProperty("port", json_schema=DIGITS, takes_number=True),
        FormProperty("username"),
        FormProperty("password", is_credential=True),
        FormProperty("database"),
        FormProperty("ssl", json_schema=BOOLEAN),
        FormProperty("encryption_type", json_schema=_TUNNEL, default="none"),
        FormProperty("encryption_host", is_required=False, json_schema=TEXT),
        FormProperty("encryption_port", is_required=False, json_schema=DIGITS, takes_number=True),
        FormProperty("encryption_username", is_required=False, json_schema=TEXT),
        FormProperty("sslrootcert", is_required=False, json_schema=_PEM),
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL. The path of a file of certificates is none of them."""
        parts = PostgresUrl.parse(url)
        mode = parts.parameters.get("sslmode", "")
        certificate = parts.parameters.get("sslrootcert", "")
        found = {
            "host": parts.host,
            "port": parts.port or "5432",
            "username": parts.user,
            "password": parts.password,
            "database": parts.database or parts.user,
            "ssl": "true" if mode in ENCRYPTED_MODES else "false",
            "encryption_type": "none",
            "sslrootcert": certificate if PEM_BEGIN in certificate else None,
        }
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with the other parameters of the former one.

        Raises:
            TunnelRefusedError: `encryption_type` is not `none`.
        """
        if properties["encryption_type"] != "none":
            raise TunnelRefusedError(properties["encryption_type"])
        old = {} if former is None else self.read_url(former)
        parameters = {} if former is None else dict(PostgresUrl.parse(former).parameters)
        if properties.get("host") != old.get("host"):
            parameters.pop("hostaddr", None)  # the address of the former host
        if any(properties.get(name) != old.get(name) for name in ("ssl", "sslrootcert")):
            _set_encryption(parameters, properties, old)
        return PostgresUrl(
            host=properties.get("host", ""),
            port=properties.get("port", ""),
            user=properties.get("username"),
            password=properties.get("password"),
            database=properties.get("database", ""),
            parameters=parameters,
        ).format()


def _set_encryption(
    parameters: dict[str, str], properties: Mapping[str, str], old: Mapping[str, str]
) -> None:
    """Set how the connection is encrypted, from `ssl` and `sslrootcert`."""
    if "sslrootcert" in properties:
        parameters["sslrootcert"] = properties["sslrootcert"]
    elif "sslrootcert" in old:
        parameters.pop("sslrootcert", None)
    parameters.pop("ssl", None)  # what JDBC calls it, and libpq takes
    if properties.get("ssl") == "true":
        parameters["sslmode"] = "verify-full" if "sslrootcert" in parameters else "require"
        return
    parameters["sslmode"] = "disable"
    if parameters.get("sslrootcert") == "system":
        del parameters["sslrootcert"]  # libpq takes it with verify-full only


def _split_host(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def _escape(text: str) -> str:
    return quote(text, safe="")
