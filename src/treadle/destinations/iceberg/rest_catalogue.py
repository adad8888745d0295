"""Catalogues that speak REST, whose answers are taken for what they are: somebody else's.

A server tells a client its settings, and those of each table. pyiceberg does all that they say: it
imports a class by its name, connects to another address, signs with other credentials. Here a
server of the operator names no code, and one of an account nothing but where a table is and with
which keys it is read.

What is overridden here are private parts of pyiceberg's client, moved together with
`tests/unit/destinations/test_iceberg_rest.py`.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from pyarrow.fs import FileSystem
from pyiceberg.catalog.rest import RestCatalog, TableResponse
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.table import CommitTableResponse, StagedTable, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate

from treadle.destinations.host_addresses import check_addresses

ENDPOINT: Final = "s3.endpoint"
REGION: Final = "s3.region"
KEY_ID: Final = "s3.access-key-id"
SECRET_KEY: Final = "s3.secret-access-key"  # noqa: S105 - the name of a property
VIRTUAL: Final = "s3.force-virtual-addressing"

KEYS: Final = (KEY_ID, SECRET_KEY, "s3.session-token")
"""What requests to a store are signed with. These belong together, and are never mixed."""

OWN_STORE: Final = (
    ENDPOINT,
    REGION,
    *KEYS,
    VIRTUAL,
    "s3.connect-timeout",
    "s3.request-timeout",
)
"""Properties of an account's URL by which a store is reached."""

TOLD_STORE: Final = (ENDPOINT, REGION, "client.region", *KEYS)
"""Properties of an account's server by which a store is reached."""

TOLD_SETTINGS: Final = ("prefix", "namespace-separator")
"""Properties of an account's server by which it is asked itself."""

FIXED_REGION: Final = "aws-global"
"""The region with which the S3 library follows no redirect, and signs for us-east-1. With any other
one it sends a request on, body and all, to whatever host a store names."""

ENDPOINT_REGIONS: Final = frozenset({"us-east-1", "auto", FIXED_REGION})
"""Regions of stores at an endpoint that take requests which are signed for us-east-1."""

CONNECT_SECONDS_MAX: Final = 10.0
ANSWER_SECONDS_MAX: Final = 60.0
"""How long a server is waited for: until it is connected, and for each piece of an answer."""

_CODE: Final = re.compile(r"(auth([.].*)?|ssl|botocore_session|.*[-.]impl)")
_PLACE: Final = re.compile(
    r"https?://(?:[^\s/@?#\\:%\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\s\\]*)?"
)
_OBJECT: Final = re.compile(r"s3[an]?://[A-Za-z0-9._-]+/.*", re.DOTALL)
_REGION: Final = re.compile(r"[A-Za-z0-9-]+")
_AWS: Final = re.compile(r"https://s3(?:[.-]([a-z]+(?:-[a-z]+)+-[0-9]+))?[.]amazonaws[.]com/?")


def is_code(name: str) -> bool:
    """Return whether a property names a class to import, or files of this machine."""
    return _CODE.fullmatch(name) is not None


def drop_code(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties of a server's answer without those that name code."""
    return {name: value for name, value in properties.items() if not is_code(name)}


def find_host(place: str) -> tuple[str, int]:
    """Return the host and the port of a URL that somebody else than the operator named.

    Raises:
        PermissionError: it is not a plain URL of HTTP, of which every reader sees the same host.
    """
    parts = urlsplit(place) if _PLACE.fullmatch(place) else None
    if parts is None or not parts.hostname:
        raise PermissionError(f"{place!r} is not an address of the form https://host:port")
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)


def choose_store(own: Mapping[str, str], told: Mapping[str, Any]) -> dict[str, str]:
    """Return the properties by which the files of an account's table are reached.

    Args:
        own: of the account's URL.
        told: of its server, for all tables and for this one.

    Raises:
        PermissionError: neither has keys. The library would take those of the machine then, and
            they are the operator's.
    """
    found = {name: own[name] for name in OWN_STORE if own.get(name)}
    given = {
        name: value
        for name in TOLD_STORE
        if isinstance(value := told.get(name), str) and value != ""
    }
    vended = {name: given[name] for name in KEYS if name in given}
    if KEY_ID in vended and SECRET_KEY in vended:
        found = {name: value for name, value in found.items() if name not in KEYS} | vended
    elif KEY_ID not in found or SECRET_KEY not in found:
        raise PermissionError(
            "the server gives no keys to the store of the table's files, and the destination has "
            f"none; add {KEY_ID} and {SECRET_KEY}, or have the server vend credentials"
        )
    if ENDPOINT in given:
        found.setdefault(ENDPOINT, given[ENDPOINT])
    region = given.get(REGION) or given.get("client.region")
    if region is not None:
        found.setdefault(REGION, region)
    if place := _AWS.fullmatch(found.get(ENDPOINT, "")):  # it is known by its region alone
        del found[ENDPOINT]
        found.setdefault(REGION, place[1] or "us-east-1")
    if ENDPOINT in found:
        find_host(found[ENDPOINT])
        if found.get(REGION, FIXED_REGION) not in ENDPOINT_REGIONS:
            raise PermissionError(
                f"the store at {found[ENDPOINT]} has the region {found[REGION]!r}, with which its "
                "redirects would be followed to any host; a store at an endpoint that an account "
                "names has to take requests for us-east-1. Set s3.region=us-east-1, or have the "
                "operator name the destination"
            )
        found[REGION] = FIXED_REGION
    if REGION in found and not _REGION.fullmatch(found[REGION]):  # it is part of a host's name
        raise PermissionError(f"{found[REGION]!r} is not a region")
    return found


def list_store_hosts(properties: Mapping[str, str], bucket: str | None) -> list[tuple[str, int]]:
    """Return the hosts, with ports, at which a store that is not AWS is asked for a bucket."""
    if ENDPOINT not in properties:
        return []
    host, port = find_host(properties[ENDPOINT])
    is_virtual = bucket and properties.get(VIRTUAL, "false").lower() not in ("false", "0", "no")
    return [(host, port), *([(f"{bucket}.{host}", port)] if is_virtual else ())]


class CheckedRestCatalog(RestCatalog):
    """A REST catalogue whose server names no code, and is not waited for without an end."""

    def _config_headers(self, session: requests.Session) -> None:
        # The first thing that is done to a session: it asks for a token before it is given out.
        super()._config_headers(session)
        request = partial(session.request, timeout=(CONNECT_SECONDS_MAX, ANSWER_SECONDS_MAX))
        session.request = request  # type: ignore[method-assign]

    def _fetch_config(self) -> None:
        own = dict(self.properties)
        try:
            super()._fetch_config()
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"its settings are not as the protocol says: {error}") from error
        self.properties = {**drop_code(self.properties), **{n: own[n] for n in own if is_code(n)}}

    def _load_file_io(
        self, properties: Mapping[str, Any] | None = None, location: str | None = None
    ) -> FileIO:
        return super()._load_file_io(drop_code(properties or {}), location)

    def _response_to_table(
        self, identifier_tuple: tuple[str, ...], response: TableResponse
    ) -> Table:
        return super()._response_to_table(identifier_tuple, _without_code(response))

    def _response_to_staged_table(
        self, identifier_tuple: tuple[str, ...], response: TableResponse
    ) -> StagedTable:
        return super()._response_to_staged_table(identifier_tuple, _without_code(response))

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Commit updates to a table; see `Catalog.commit_table`."""
        done = super().commit_table(table, requirements, updates)
        cleaned: CommitTableResponse = done.model_copy(
            update={"metadata": clean_metadata(done.metadata)}
        )
        return cleaned


def _without_code(response: TableResponse) -> TableResponse:
    return response.model_copy(update={"metadata": clean_metadata(response.metadata)})


def clean_metadata(metadata: TableMetadata) -> TableMetadata:
    """Return the metadata of a table without properties that name code."""
    if not any(map(is_code, metadata.properties)):
        return metadata
    cleaned: TableMetadata = metadata.model_copy(
        update={"properties": drop_code(metadata.properties)}
    )
    return cleaned


class LimitedRestCatalog(CheckedRestCatalog):
    """A REST catalogue of somebody who is not the operator.

    Its answers decide neither to which address requests go nor what they are signed with: files are
    objects of an S3 store, at an address that was checked, with keys that are the account's.

    Args:
        name: of the catalogue.
        check_address: raises for an address that is not to be connected to.
        properties: of the account's URL.
    """

    def __init__(
        self, name: str, check_address: Callable[[str], None], properties: Mapping[str, str]
    ) -> None:
        self._check_address = check_address
        self._own: Mapping[str, str] = dict(properties)
        self._told: Mapping[str, Any] = {}
        super().__init__(name, **properties)

    def _config_headers(self, session: requests.Session) -> None:
        super()._config_headers(session)
        session.hooks["response"].append(refuse_redirect)
        # Until the session has one of its own: the library would look for the machine's in .netrc.
        session.auth = send_as_is

    def _fetch_config(self) -> None:
        super()._fetch_config()
        told = {
            name: value
            for name, value in self.properties.items()
            if isinstance(value, str) and self._own.get(name) != value
        }
        self._told = {name: told[name] for name in TOLD_STORE if name in told}
        self.properties = {
            **{name: told[name] for name in TOLD_SETTINGS if name in told},
            **self._own,
        }
        self.uri = self._own["uri"]

    def _load_file_io(
        self, properties: Mapping[str, Any] | None = None, location: str | None = None
    ) -> FileIO:
        store = choose_store(self._own, {**self._told, **(properties or {})})
        return LimitedFileIO(store, self._check_address)


def refuse_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """Check that an answer does not send a request on to another address.

    Raises:
        PermissionError: it does.
    """
    if response.is_redirect:
        raise PermissionError(
            "the server redirects to another address, which is not followed; name that one in the "
            "destination"
        )


def send_as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request without credentials."""
    return request


class LimitedFileIO(PyArrowFileIO):
    """Reads and writes objects of an S3 store, and nothing else.

    Args:
        properties: of `choose_store`.
        check_address: raises for an address that is not to be connected to.
    """

    def __init__(self, properties: Mapping[str, str], check_address: Callable[[str], None]) -> None:
        self._check_address = check_address
        super().__init__(dict(properties))

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> FileSystem:
        check_addresses(list_store_hosts(self.properties, netloc), self._check_address)
        return super()._initialize_fs(scheme, netloc)

    def new_input(self, location: str) -> PyArrowFile:
        """Return an object to read."""
        require_object(location)
        return super().new_input(location)

    def new_output(self, location: str) -> PyArrowFile:
        """Return an object to write."""
        require_object(location)
        return super().new_output(location)

    def delete(self, location: Any) -> None:
        """Delete an object."""
        require_object(location if isinstance(location, str) else location.location)
        super().delete(location)


def require_object(location: str) -> None:
    """Check that a location is in an S3 store.

    Raises:
        PermissionError: it is somewhere else.
    """
    if not _OBJECT.fullmatch(location):
        raise PermissionError(f"{location} is not in an S3 store")
