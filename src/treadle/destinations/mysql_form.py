"""The form of a MySQL destination: properties, and its URL (connect-rest.md A.2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from treadle.destinations.form import FormProperty
from treadle.destinations.server_form import (
    ENCRYPTION_PROPERTIES,
    LOGIN_PROPERTIES,
    EncryptionTerms,
    ServerUrl,
    make_server_url,
    read_properties,
    set_encryption,
)

PORT: Final = 3306

TERMS: Final = EncryptionTerms("ssl-mode", "ssl-ca", "disabled", "required", "verify_identity")


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


class MysqlUrl(ServerUrl):
    """The parts of a URL, not escaped; names of parameters are in lower case and have `-` for `_`.

    It has no path: a server has no database that a URL could name, since each source has one.
    """

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        parts = super().parse(url)
        named = {name.lower().replace("_", "-"): one for name, one in parts.parameters.items()}
        return replace(parts, parameters=named)

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
    properties: tuple[FormProperty, ...] = (*LOGIN_PROPERTIES, *ENCRYPTION_PROPERTIES)

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL."""
        parts = MysqlUrl.parse(url)
        try:
            encrypts = parts.ssl_mode.encrypts
        except ValueError:
            encrypts = False
        return read_properties(parts, TERMS, str(PORT), encrypts=encrypts)

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with the other parameters of the former one."""
        old = {} if former is None else self.read_url(former)
        parameters = {} if former is None else dict(MysqlUrl.parse(former).parameters)
        set_encryption(parameters, properties, old, TERMS)
        return make_server_url(properties, parameters).format("mysql")
