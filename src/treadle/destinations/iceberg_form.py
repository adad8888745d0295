"""The form of an Iceberg destination: properties, and its URL (connect-rest.md A.2.2).

The URL names a catalogue: a database that lists the tables (`iceberg+sql`), or a server that does
(`iceberg+rest`). Where the files of the tables are is the catalogue's warehouse.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from treadle.destinations.duckdb_form import FOLDER_END
from treadle.destinations.form import FormProperty, PathRefusedError, PropertiesRefusedError
from treadle.destinations.object_store_form import S3_PARAMETERS

SQL_SCHEME: Final = "iceberg+sql"
REST_SCHEME: Final = "iceberg+rest"

_CATALOGUE: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^(sql|rest)$"}
_FILE: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[^?\\#%]+\.db$"}
_HTTP: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^https?://[^\s/@?#]+[^\s@?#]*$"}

_PARAMETERS: Final[Mapping[str, str]] = {"warehouse": "warehouse", **S3_PARAMETERS}
"""Property -> parameter of the URL."""


@dataclass(frozen=True, slots=True)
class IcebergUrl:
    """The parts of a URL, not escaped.

    Attributes:
        scheme: `iceberg+sql` or `iceberg+rest`.
        host: a name or an address; empty for a catalogue in a file.
        port: digits; empty for the default.
        path: of a file with its slash in front; else what follows the host, without.
        parameters: of the query, in order, with names in lower case.
    """

    scheme: str
    host: str = ""
    port: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL to pieces. One that is malformed gives parts of no use, and no error."""
        scheme, _, tail = url.partition("://")
        rest, _, query = tail.partition("?")
        authority, slash, path = rest.partition("/")
        login, at, place = authority.rpartition("@")
        user, colon, password = login.partition(":")
        if place.startswith("["):
            host, _, end = place[1:].partition("]")
            port = end.removeprefix(":")
        else:
            host, _, port = place.partition(":")
        parameters = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            parameters[unquote(name).lower()] = unquote(value)
        return cls(
            scheme.lower(),
            unquote(host),
            port,
            unquote(user) if at else None,
            unquote(password) if colon else None,
            unquote(path if host else slash + path),
            parameters,
        )

    def format(self) -> str:
        """Return the URL."""
        login = "" if self.user is None else _escape(self.user)
        if self.password is not None:
            login += ":" + _escape(self.password)
        host = f"[{self.host}]" if ":" in self.host else _escape(self.host)
        place = host + (f":{self.port}" if self.port else "")
        path = quote(self.path if not host else f"/{self.path}" if self.path else "")
        query = "&".join(f"{name}={_escape(value)}" for name, value in self.parameters.items())
        at = "@" if self.user is not None else ""
        return f"{self.scheme}://{login}{at}{place}{path}" + (f"?{query}" if query else "")

    @property
    def is_encrypted(self) -> bool:
        """Whether a server is spoken to by HTTPS."""
        return self.parameters.get("tls", "true").lower() != "false"

    @property
    def http_url(self) -> str:
        """The URL of the server of a REST catalogue, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = host + (f":{self.port}" if self.port else "")
        path = f"/{self.path}" if self.path else ""
        return f"{'https' if self.is_encrypted else 'http'}://{place}{path}"


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
        FormProperty("catalog", json_schema=_CATALOGUE),
        FormProperty("path", is_required=False, json_schema=_FILE),
        FormProperty("uri", is_required=False, json_schema=_HTTP),
        FormProperty("username", is_required=False),
        FormProperty("password", is_required=False, is_credential=True),
        FormProperty("warehouse", is_required=False),
        FormProperty("s3_endpoint", is_required=False, json_schema=_HTTP),
        FormProperty("s3_region", is_required=False),
        FormProperty("s3_access_key_id", is_required=False),
        FormProperty("s3_secret_access_key", is_required=False, is_credential=True),
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


def _escape(text: str) -> str:
    return quote(text, safe="")
