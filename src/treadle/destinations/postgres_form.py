"""The form of a PostgreSQL destination: properties, and libpq's URL (connect-rest.md A.2.2).

libpq takes every parameter of a connection from the URL. Those that no property stands for, such as
`application_name`, are kept as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from treadle.destinations.form import (
    BOOLEAN,
    DIGITS,
    TEXT,
    FormProperty,
    TunnelRefusedError,
)
from treadle.destinations.server_form import (
    CERTIFICATE_PROPERTY,
    LOGIN_PROPERTIES,
    EncryptionTerms,
    ServerUrl,
    make_server_url,
    read_properties,
    set_encryption,
)

ENCRYPTED_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})
"""Values of sslmode with which nothing is sent in clear."""

TERMS: Final = EncryptionTerms("sslmode", "sslrootcert", "disable", "require", "verify-full")

_TUNNEL: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^(ssh|none)$"}
_PLACE: Final = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "dbname": "path",
}
"""Parameters that a URL may have in its query in place of where they usually are."""


class PostgresUrl(ServerUrl):
    """The parts of a URL of libpq, not escaped; its parameters are those without a field here."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that libpq refuses gives parts of no use, and no error."""
        parts = super().parse(url)
        given: dict[str, Any] = {
            _PLACE[name]: value for name, value in parts.parameters.items() if name in _PLACE
        }
        others = {name: one for name, one in parts.parameters.items() if name not in _PLACE}
        return replace(parts, parameters=others, **given)


@dataclass(frozen=True, slots=True)
class PostgresForm:
    """The form of the type `postgres`."""

    type: str = "postgres"
    properties: tuple[FormProperty, ...] = (
        *LOGIN_PROPERTIES,
        FormProperty("database"),
        FormProperty("ssl", json_schema=BOOLEAN, guards_secrets=True),
        FormProperty("encryption_type", json_schema=_TUNNEL, default="none"),
        FormProperty("encryption_host", is_required=False, json_schema=TEXT),
        FormProperty("encryption_port", is_required=False, json_schema=DIGITS, takes_number=True),
        FormProperty("encryption_username", is_required=False, json_schema=TEXT),
        CERTIFICATE_PROPERTY,
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL."""
        parts = PostgresUrl.parse(url)
        encrypts = parts.parameters.get("sslmode", "") in ENCRYPTED_MODES
        found = read_properties(parts, TERMS, "5432", encrypts=encrypts)
        if database := parts.path or parts.user:
            found["database"] = database
        return {**found, "encryption_type": "none"}

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
        if set_encryption(parameters, properties, old, TERMS):
            parameters.pop("ssl", None)  # what JDBC calls it, and libpq takes
            if parameters["sslmode"] == TERMS.off and parameters.get("sslrootcert") == "system":
                del parameters["sslrootcert"]  # libpq takes it with verify-full only
        url = make_server_url(properties, parameters, properties.get("database", ""))
        return url.format("postgresql")
