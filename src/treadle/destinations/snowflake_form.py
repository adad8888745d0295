"""The form of a Snowflake destination: properties, and its URL (connect-rest.md A.2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from treadle.destinations.form import FormProperty
from treadle.destinations.server_form import LOGIN_PROPERTIES, ServerUrl, make_server_url

PORT: Final = 443

DOMAINS: Final = (".snowflakecomputing.com", ".snowflakecomputing.cn")
"""Ends of the names of the service's hosts."""

_PROPERTIES: Final = ("warehouse", "role")
"""Parameters of the URL that are properties by themselves."""


class SnowflakeUrl(ServerUrl):
    """The parts of a URL, not escaped; the path is the database.

    The host is that of an account, or the identifier of the account alone.
    """

    @property
    def full_host(self) -> str:
        """The name of the host, in lower case."""
        host = self.host.lower()
        is_account = bool(host) and not host.endswith(DOMAINS) and not self.port
        return host + DOMAINS[0] if is_account and host != "localhost" else host

    @property
    def account(self) -> str:
        """The identifier of the account, as its host has it."""
        host = self.full_host
        return next((host.removesuffix(end) for end in DOMAINS if host.endswith(end)), host)


@dataclass(frozen=True, slots=True)
class SnowflakeForm:
    """The form of the type `snowflake`."""

    type: str = "snowflake"
    properties: tuple[FormProperty, ...] = (
        *(
            replace(each, is_credential=each.name in ("username", "password"))
            for each in LOGIN_PROPERTIES
        ),
        FormProperty("database"),
        FormProperty("warehouse"),
        FormProperty("role", is_required=False),
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL. The key of a login by keys is none of them."""
        parts = SnowflakeUrl.parse(url)
        found = {
            "host": parts.full_host,
            "port": parts.port or str(PORT),
            "username": parts.user,
            "password": parts.password,
            "database": parts.path,
            **{name: parts.parameters.get(name) for name in _PROPERTIES},
        }
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties; a new password takes the place of a key."""
        old = {} if former is None else self.read_url(former)
        parameters = {} if former is None else dict(SnowflakeUrl.parse(former).parameters)
        if properties.get("password") != old.get("password"):
            parameters.pop("private_key", None)
        for name in _PROPERTIES:
            parameters.pop(name, None)
            if name in properties:
                parameters[name] = properties[name]
        return make_server_url(properties, parameters, properties.get("database", "")).format(
            "snowflake"
        )
