"""The form of an Iceberg destination: properties, and its URL (connect-rest.md A.2.2).

The URL names a catalogue: a database that lists the tables (`iceberg+sql`), or a server that does
(`iceberg+rest`). Where the files of the tables are is the catalogue's warehouse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from treadle.destinations.duckdb_form import FOLDER_END
from treadle.destinations.form import FormProperty, PathRefusedError, PropertiesRefusedError
from treadle.destinations.object_store_form import HTTP_URL, S3_PARAMETERS, S3_PROPERTIES
from treadle.destinations.store_url import StoreUrl

SQL_SCHEME: Final = "iceberg+sql"
REST_SCHEME: Final = "iceberg+rest"

_CATALOGUE: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^(sql|rest)$"}
_FILE: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[^?\\#%]+\.db$"}

_PARAMETERS: Final[Mapping[str, str]] = {"warehouse": "warehouse", **S3_PARAMETERS}
"""Property -> parameter of the URL."""

_SECRETS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "uri": ("token", "oauth2-server-uri", "s3.session-token"),
    "s3_endpoint": ("s3.session-token",),
}
"""Property -> parameters of the URL that belong to the server that it names."""


class IcebergUrl(StoreUrl):
    """The parts of a URL of a catalogue, not escaped."""


@dataclass(frozen=True, slots=True)
class IcebergForm:
    """The form of the type `iceberg`.

    An account names a file inside of the operator's folder, or a server whose tables are in an
    object store.

    Attributes:
        folder: that paths of catalogue files are relative to; absolute.
    """

    folder: Path
    type: str = "iceberg"
    properties: tuple[FormProperty, ...] = (
        FormProperty("catalog", json_schema=_CATALOGUE, names_place=True),
        FormProperty("path", is_required=False, json_schema=_FILE, names_place=True),
        FormProperty(
            "uri", is_required=False, json_schema=HTTP_URL, names_place=True, guards_secrets=True
        ),
        # Who logs in, and the warehouse, say where the catalogue has tables: that may be another
        # store, which this machine's own credentials open.
        FormProperty("username", is_required=False, names_place=True, guards_secrets=True),
        FormProperty(
            "password",
            is_required=False,
            is_credential=True,
            names_place=True,
            guards_secrets=True,
        ),
        FormProperty("warehouse", is_required=False, names_place=True, guards_secrets=True),
        *S3_PROPERTIES,
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL. Of a file outside of the folder it is the name alone."""
        parts = IcebergUrl.parse(url)
        if parts.scheme == SQL_SCHEME:
            head, end, tail = parts.path.partition(FOLDER_END)
            whole = Path(head)
            inside = whole.is_relative_to(self.folder)
            name = str(whole.relative_to(self.folder)) if inside else whole.name
            return {"catalog": "sql", "path": tail if end else name}
        found: dict[str, str | None] = {
            "catalog": "rest",
            "uri": parts.http_url,
            "username": parts.user,
            "password": parts.password,
        }
        found |= {name: parts.parameters.get(given) for name, given in _PARAMETERS.items()}
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with the other parameters of the former one.

        Raises:
            PathRefusedError: the path leads out of the folder.
            PropertiesRefusedError: what the kind of catalogue needs is missing.
        """
        if properties["catalog"] == "sql":
            path = PurePosixPath(properties.get("path", ""))
            if not path.name:
                raise PropertiesRefusedError(("path",))
            if path.is_absolute() or ".." in path.parts:
                raise PathRefusedError
            return IcebergUrl(SQL_SCHEME, path=f"{self.folder}{FOLDER_END}{path}").format()
        if not properties.get("uri"):
            raise PropertiesRefusedError(("uri",))
        scheme, _, place = properties["uri"].partition("://")
        server = IcebergUrl.parse(f"{REST_SCHEME}://{place.rstrip('/')}")
        parameters: dict[str, str] = {}
        if former is not None and IcebergUrl.parse(former).scheme == REST_SCHEME:
            parameters |= IcebergUrl.parse(former).parameters
            old = self.read_url(former)
            for name, secrets in _SECRETS_OF.items():
                if properties.get(name) != old.get(name):
                    for secret in secrets:
                        parameters.pop(secret, None)
        parameters.pop("tls", None)
        if scheme == "http":
            parameters["tls"] = "false"
        for name, given in _PARAMETERS.items():
            parameters.pop(given, None)
            if properties.get(name):
                parameters[given] = properties[name]
        return IcebergUrl(
            REST_SCHEME,
            server.host,
            server.port,
            properties.get("username", "" if "password" in properties else None),
            properties.get("password"),
            server.path,
            parameters,
        ).format()
