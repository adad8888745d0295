"""The form of a Redshift destination: properties, and its URL (connect-api.md 2.7).

What Stitch asks for is enough: rows are sent by INSERT then. With a place in S3 and a role,
Redshift copies them from files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from treadle.destinations.form import FormProperty, PropertiesRefusedError
from treadle.destinations.object_store_form import S3_PARAMETERS
from treadle.destinations.postgres_form import PostgresForm, PostgresUrl
from treadle.destinations.server_form import ServerUrl

PORT: Final = "5439"

FOLDER_PATTERN: Final = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.=-]+)*/?$"
"""A bucket, and a prefix in it."""

ROLE_PATTERN: Final = r"^(default|arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/:-]+)$"
"""Roles that Redshift takes; several are chained by commas."""

REGION_PATTERN: Final = r"^[a-z0-9-]+$"
"""Regions, which become a part of the name of a host."""

OWN_PARAMETERS: Final = frozenset({"s3", "iam_role", *S3_PARAMETERS.values()})
"""Parameters that are not libpq's."""

_PROPERTIES: Final[Mapping[str, str]] = {
    "s3": "s3",
    "iam_role": "iam_role",
    **{name: given for name, given in S3_PARAMETERS.items() if name != "s3_endpoint"},
}
"""Property -> parameter of the URL. An endpoint is the operator's to name."""


_TOGETHER: Final = ("s3", "iam_role", "s3_access_key_id", "s3_secret_access_key")
"""Properties of which there are all or none: the server's own credentials are the operator's."""


class RedshiftUrl(PostgresUrl):
    """The parts of a URL, not escaped. `region` is another name for `s3.region`."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        parts = super().parse(url)
        named = {"s3.region" if n == "region" else n: one for n, one in parts.parameters.items()}
        return replace(parts, port=parts.port or PORT, parameters=named)

    @property
    def own_parameters(self) -> dict[str, str]:
        """The parameters that are not libpq's."""
        return {name: one for name, one in self.parameters.items() if name in OWN_PARAMETERS}

    def format_libpq(self) -> str:
        """Return the URL that libpq takes."""
        others = {name: one for name, one in self.parameters.items() if name not in OWN_PARAMETERS}
        return replace(self, parameters=others).format("postgresql")


def _list_properties() -> tuple[FormProperty, ...]:
    def fit(pattern: str) -> dict[str, str]:
        return {"type": "string", "pattern": pattern}

    return (
        *(
            replace(each, is_required=False, default="true") if each.name == "ssl" else each
            for each in PostgresForm().properties
        ),
        FormProperty("s3", is_required=False, json_schema=fit(FOLDER_PATTERN)),
        FormProperty("iam_role", is_required=False, json_schema=fit(ROLE_PATTERN)),
        FormProperty("s3_region", is_required=False, json_schema=fit(REGION_PATTERN)),
        FormProperty("s3_access_key_id", is_required=False),
        FormProperty("s3_secret_access_key", is_required=False, is_credential=True),
    )


@dataclass(frozen=True, slots=True)
class RedshiftForm:
    """The form of the type `redshift`."""

    type: str = "redshift"
    properties: tuple[FormProperty, ...] = field(default_factory=_list_properties)

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL."""
        parts = RedshiftUrl.parse(url)
        found = PostgresForm().read_url(parts.format_libpq())
        given = {name: parts.parameters.get(one) for name, one in _PROPERTIES.items()}
        return {**found, **{name: one for name, one in given.items() if one}}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with the other parameters of the former one.

        Raises:
            TunnelRefusedError: `encryption_type` is not `none`.
            PropertiesRefusedError: there is a place in S3 without a role or credentials.
        """
        missing = [name for name in _TOGETHER if name not in properties]
        if missing and len(missing) < len(_TOGETHER):
            raise PropertiesRefusedError(tuple(missing))
        before = None if former is None else RedshiftUrl.parse(former)
        libpq = PostgresForm().write_url(
            properties, None if before is None else before.format_libpq()
        )
        own = {} if before is None else before.own_parameters
        for name, given in _PROPERTIES.items():
            own.pop(given, None)
            if name in properties:
                own[given] = properties[name]
        parts = ServerUrl.parse(libpq)
        return replace(parts, parameters={**parts.parameters, **own}).format("redshift")
