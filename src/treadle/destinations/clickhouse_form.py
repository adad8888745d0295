"""The form of a ClickHouse destination: properties, and its URL (connect-rest.md A.2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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

PORT: Final = 8123
SECURE_PORT: Final = 8443

TERMS: Final = EncryptionTerms("secure", "ca_cert", "0", "1", "1")

_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class ClickhouseUrl(ServerUrl):
    """The parts of a URL, not escaped; names of parameters are in lower case and have `_` for `-`.

    The path is the database where names without one are looked up.
    """

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        parts = super().parse(url)
        named = {name.lower().replace("-", "_"): one for name, one in parts.parameters.items()}
        return replace(parts, parameters=named)

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
    properties: tuple[FormProperty, ...] = (*LOGIN_PROPERTIES, *ENCRYPTION_PROPERTIES)

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL."""
        parts = ClickhouseUrl.parse(url)
        return read_properties(parts, TERMS, str(parts.default_port), encrypts=parts.is_secure)

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with what no property says of the former one."""
        old = {} if former is None else self.read_url(former)
        before = ServerUrl() if former is None else ClickhouseUrl.parse(former)
        parameters = dict(before.parameters)
        if set_encryption(parameters, properties, old, TERMS):
            parameters.pop("verify", None)
        return make_server_url(properties, parameters, before.path).format("clickhouse")
