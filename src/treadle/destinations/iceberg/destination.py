"""A warehouse of Apache Iceberg tables as a destination, by pyiceberg.

The URL names a catalogue: a SQLite file or a PostgreSQL database that lists the tables
(`iceberg+sql`), or a server that speaks the REST protocol (`iceberg+rest`). A schema is a namespace
of one level. The files of tables are on this machine or in an object store.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.duckdb_form import FOLDER_END
from treadle.destinations.host_addresses import check_addresses
from treadle.destinations.iceberg.asking import IcebergAsking
from treadle.destinations.iceberg.catalogue import (
    PASSED_PARAMETERS,
    PLAIN,
    IcebergCatalogue,
    default_warehouse,
    open_catalogue,
)
from treadle.destinations.iceberg.compaction import CompactionRule, list_crowded
from treadle.destinations.iceberg.errors import ERRORS, translate_open
from treadle.destinations.iceberg.rest_catalogue import find_host
from treadle.destinations.iceberg.session import IcebergSession
from treadle.destinations.iceberg_form import REST_SCHEME, SQL_SCHEME, IcebergUrl
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    Session,
)
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.server_form import refuse_unknown_parameters
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import TransportRisk, is_local_host
from treadle.destinations.upkeep import CrowdedTable
from treadle.errors import OperatorError
from treadle.tables.profiles import ICEBERG, ICEBERG_PLAIN

OWN_PARAMETERS: Final = frozenset({"warehouse", "tls", "names", "compact-files", "keep-hours"})

EXAMPLES: Final = (
    "iceberg+sql:///var/lib/treadle/lake.db or "
    "iceberg+rest://id:secret@catalog.example.com/path?warehouse=..."
)

REMEDY: Final = "Take tls=false out of its URL, and http:// out of s3.endpoint."


class IcebergDestination:
    """One catalogue.

    Args:
        url: `iceberg+sql:///absolute/path.db`, `iceberg+sql://user:secret@host:port/database` for
            PostgreSQL, or `iceberg+rest://id:secret@host:port/path`, with parameters.
        check_address: raises for an address that is not to be connected to; None for any address.
            With it, tables are only in an object store, or in the folder that the operator chose.
    """

    kind = "iceberg"
    capabilities = Capabilities(
        transactional_ddl=False,
        multi_table_transaction=False,
        load_age_seconds=60.0,
        load_price=(
            "makes files and a snapshot",
            "Tables have many small files between two compactions",
        ),
    )

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        parts = self._parts = IcebergUrl.parse(url)
        is_file = parts.scheme == SQL_SCHEME and not parts.host
        # The text of a malformed URL may repeat the part that holds the password.
        if (
            parts.scheme not in (SQL_SCHEME, REST_SCHEME)
            or (is_file and (not parts.path.startswith("/") or parts.path.endswith("/")))
            or (parts.scheme == REST_SCHEME and not parts.host)
            or not (parts.port or "1").isdigit()
        ):
            raise OperatorError(
                f"the destination's URL is not one of an Iceberg catalogue; expected {EXAMPLES} "
                "with special characters percent-encoded"
            )
        refuse_unknown_parameters(parts.parameters, PASSED_PARAMETERS | OWN_PARAMETERS)
        self._rule = CompactionRule(
            int(self._read_number("compact-files", 24)),
            self._read_number("keep-hours", 24.0) * 3600,
        )
        is_plain = parts.parameters.get("names", PLAIN) == PLAIN
        if not is_plain or ("names" in parts.parameters and parts.scheme != REST_SCHEME):
            raise OperatorError(
                "the destination's URL has names=...; expected names=plain, and of iceberg+rest "
                "only, or nothing"
            )
        self.profile = ICEBERG_PLAIN if "names" in parts.parameters else ICEBERG
        self._path = Path(parts.path).absolute() if is_file else None
        if parts.scheme == SQL_SCHEME and parts.host and "warehouse" not in parts.parameters:
            raise OperatorError(
                "the destination's URL names a catalogue in PostgreSQL and no warehouse; add "
                "warehouse=s3://bucket/folder or warehouse=file:///folder"
            )
        if check_address is not None:
            self._require_limits()

    def _read_number(self, name: str, default: float) -> float:
        text = self._parts.parameters.get(name)
        try:
            found = default if text is None else float(text)
        except ValueError:
            found = 0.0
        if found <= 0:
            raise OperatorError(
                f"the destination's URL has {name}={text}; expected a number above 0"
            )
        return found

    def _require_limits(self) -> None:
        """Refuse what only the operator may name.

        Raises:
            AccessDeniedError: it is the operator's.
        """
        if self._parts.scheme == REST_SCHEME:
            return
        if self._path is None or FOLDER_END not in self._parts.path or self._parts.parameters:
            raise AccessDeniedError(
                "a catalogue in a database, or outside of the folder for files, is named by the "
                "operator alone"
            )

    @property
    def file(self) -> Path | None:
        """The file of the catalogue, which the first load makes; None for a server."""
        return None if self._path is None else self._path.resolve()

    @property
    def identity(self) -> str:
        """The catalogue, without credentials."""
        if self._path is not None:
            return f"{SQL_SCHEME}://{self._path.resolve()}"
        parts = self._parts
        place = parts.host.lower() + (f":{parts.port}" if parts.port else "")
        path = f"/{parts.path}" if parts.path else ""
        warehouse = parts.parameters.get("warehouse")
        told = f"?warehouse={warehouse}" if warehouse and parts.scheme == REST_SCHEME else ""
        return f"{parts.scheme}://{place}{path}{told}"

    def find_risk(self) -> TransportRisk | None:
        """Return why others could read or change what is loaded; None where they cannot."""
        parts = self._parts
        clear = []
        if parts.scheme == REST_SCHEME and not parts.is_encrypted:
            clear.append(parts.host)
        endpoint = urlsplit(parts.parameters.get("s3.endpoint", ""))
        if endpoint.scheme == "http":
            clear.append(endpoint.hostname or "")
        remote = [host for host in clear if not is_local_host(host)]
        if not remote:
            return None
        return TransportRisk(
            f"{self.identity} is connected to without TLS at {remote[0]}.",
            "Whoever is on the way can read the rows and the credentials, and change them.",
            REMEDY,
        )

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        if read_only:
            self._require_catalogue()
        catalogue = self._connect(PhaseTimer(), makes=not read_only)
        return IcebergSession(catalogue, self._rule, self.profile, read_only=read_only)

    def preview(self) -> Session:
        """Connect for reading; a catalogue that is missing reads as empty. See `Destination`."""
        if self._path is None or self._path.exists():
            return self.open(read_only=True)
        imagined = open_catalogue(IcebergUrl(SQL_SCHEME), warehouse="file:///nowhere")
        return IcebergSession(imagined, self._rule, self.profile, read_only=True)

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        self._require_catalogue()
        return open_asking(IcebergAsking(self._connect(PhaseTimer(), makes=False), seconds))

    def find_crowded(self) -> Sequence[CrowdedTable]:
        """Return the tables with many more files than there should be; see `KeptDestination`."""
        if self._path is not None and not self._path.exists():
            return []
        catalogue = self._connect(PhaseTimer(), makes=False)
        try:
            found = list_crowded(catalogue, self._rule)
        except ERRORS as error:
            raise translate_open(error, self.identity) from error
        finally:
            catalogue.close()
        return found

    def _require_catalogue(self) -> None:
        if self._path is not None and not self._path.exists():
            raise DestinationUnavailableError(
                f"the catalogue {self._path} does not exist yet; the first load makes it"
            )

    def _connect(self, timer: PhaseTimer, *, makes: bool) -> IcebergCatalogue:
        parts = self._parts
        warehouse = parts.parameters.get("warehouse", "")
        if self._path is not None:
            path = self._path.resolve()
            if not path.parent.is_dir():
                raise OperatorError(f"{path} cannot be made: its folder is missing; make it first")
            parts = IcebergUrl(SQL_SCHEME, path=str(path), parameters=parts.parameters)
            warehouse = warehouse or default_warehouse(path)
        timer.begin(CheckPhase.CONNECT)
        try:
            if self._check_address is not None and parts.host:
                check_addresses(self._list_hosts(), self._check_address)
            return open_catalogue(
                parts,
                warehouse=warehouse,
                check_address=self._check_address if parts.host else None,
                makes=makes,
            )
        except ERRORS as error:
            raise translate_open(error, self.identity) from error

    def _list_hosts(self) -> list[tuple[str, int]]:
        """Return the hosts that are connected to, with their ports."""
        named = (self._parts.parameters.get(name) for name in ("s3.endpoint", "oauth2-server-uri"))
        return [find_host(place) for place in (self._parts.http_url, *named) if place]
