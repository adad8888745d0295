"""What the forms of database servers share: the parts of a URL, and how a connection is encrypted.

Everything here is a function of values.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from treadle.destinations.form import BOOLEAN, DIGITS, HOST, FormProperty
from treadle.errors import OperatorError

PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
"""How the text of a certificate begins, which takes the place of the path of a file."""

PEM: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": rf"^\s*{PEM_BEGIN}[\s\S]+-----END CERTIFICATE-----\s*$",
}
"""What fits a property that holds certificates."""

LOGIN_PROPERTIES: Final = (
    FormProperty("host", json_schema=HOST, names_place=True, guards_secrets=True),
    FormProperty(
        "port", json_schema=DIGITS, takes_number=True, names_place=True, guards_secrets=True
    ),
    FormProperty("username"),
    FormProperty("password", is_credential=True),
)
"""Where a server is, and who logs in."""

CERTIFICATE_PROPERTY: Final = FormProperty(
    "sslrootcert", is_required=False, json_schema=PEM, guards_secrets=True
)
"""Whose certificates a server proves with that it is the right one."""

ENCRYPTION_PROPERTIES: Final = (
    FormProperty(
        "ssl", is_required=False, json_schema=BOOLEAN, default="false", guards_secrets=True
    ),
    CERTIFICATE_PROPERTY,
)
"""How a connection is encrypted, where nobody has to say it."""


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The parts of a URL of a database server, not escaped.

    Attributes:
        host: a name or an address; several are separated by commas.
        port: digits; empty for the default.
        path: what stands behind the host, such as the name of a database.
        parameters: of the query, in order.
    """

    host: str = ""
    port: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        rest, _, query = url.partition("://")[2].partition("?")
        authority, _, path = rest.partition("/")
        login, _, place = authority.rpartition("@")
        user, colon, password = login.partition(":")
        hosts, ports = zip(*map(_split_host, place.split(",")), strict=True)
        parameters = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            parameters[unquote(name)] = unquote(value)
        return cls(
            ",".join(hosts),
            ports[0] if len(set(ports)) == 1 else ",".join(ports),
            unquote(user) if user else None,
            unquote(password) if colon else None,
            unquote(path),
            parameters,
        )

    def format(self, scheme: str) -> str:
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
        return f"{scheme}://{login}{'@' if login else ''}{place}/{_escape(self.path)}" + (
            f"?{query}" if query else ""
        )


@dataclass(frozen=True, slots=True)
class EncryptionTerms:
    """Words of a driver for how a connection is encrypted.

    Attributes:
        mode: the parameter that says how.
        authority: the parameter that names the certificates of an authority.
        off, required, verified: values of the mode: nothing is encrypted; everything is; and the
            server has to prove who it is.
    """

    mode: str
    authority: str
    off: str
    required: str
    verified: str


def read_properties(
    parts: ServerUrl, terms: EncryptionTerms, port: str, *, encrypts: bool
) -> dict[str, str]:
    """Return the properties of a URL. The path of a file of certificates is none of them.

    Args:
        parts: of the URL.
        terms: of the driver.
        port: the default one.
        encrypts: nothing is sent in clear.
    """
    certificate = parts.parameters.get(terms.authority, "")
    found = {
        "host": parts.host,
        "port": parts.port or port,
        "username": parts.user,
        "password": parts.password,
        "ssl": "true" if encrypts else "false",
        "sslrootcert": certificate if PEM_BEGIN in certificate else None,
    }
    return {name: value for name, value in found.items() if value}


def make_server_url(
    properties: Mapping[str, str], parameters: Mapping[str, str], path: str = ""
) -> ServerUrl:
    """Return the parts of the URL of properties.

    Args:
        properties: of `LOGIN_PROPERTIES`; others are left out.
        parameters: of the query.
        path: behind the host.
    """
    return ServerUrl(
        host=properties.get("host", ""),
        port=properties.get("port", ""),
        user=properties.get("username"),
        password=properties.get("password"),
        path=path,
        parameters=parameters,
    )


def refuse_unknown_parameters(parameters: Mapping[str, str], known: Set[str]) -> None:
    """Refuse a URL with a parameter that the destination does not know.

    Raises:
        OperatorError: it has one.
    """
    unknown = sorted(parameters.keys() - known)
    if unknown:
        raise OperatorError(
            f"the destination's URL has the parameter {unknown[0]!r}; known are "
            f"{', '.join(sorted(known))}"
        )


def set_encryption(
    parameters: dict[str, str],
    properties: Mapping[str, str],
    old: Mapping[str, str],
    terms: EncryptionTerms,
) -> bool:
    """Set how a connection is encrypted, where `ssl` or `sslrootcert` are other ones than before.

    Args:
        parameters: of a URL, to be changed.
        properties: of the destination.
        old: the properties that it had.
        terms: of the driver.

    Returns:
        Whether they are.
    """
    if all(properties.get(name) == old.get(name) for name in ("ssl", "sslrootcert")):
        return False
    if "sslrootcert" in properties:
        parameters[terms.authority] = properties["sslrootcert"]
    elif "sslrootcert" in old:
        parameters.pop(terms.authority, None)
    mode = terms.off
    if properties.get("ssl") == "true":
        mode = terms.verified if terms.authority in parameters else terms.required
    parameters[terms.mode] = mode
    return True


def _split_host(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return unquote(host), unquote(rest.removeprefix(":"))
    host, _, port = place.partition(":")
    return unquote(host), unquote(port)


def _escape(text: str) -> str:
    return quote(text, safe="")
