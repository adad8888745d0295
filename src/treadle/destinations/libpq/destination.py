"""What destinations share that libpq connects to: their URL, and how a connection is made.

The connection is in autocommit mode; a load writes BEGIN and COMMIT itself, so that an error of
COMMIT can be told from every other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from treadle.destinations.libpq.errors import POSTGRES, translate, translate_login
from treadle.destinations.libpq.place import pin_addresses, place_certificate, withhold_credentials
from treadle.destinations.libpq.probe import probe_connection
from treadle.destinations.libpq.transport import judge_transport
from treadle.destinations.protocol import Session
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.transport import TransportRisk
from treadle.postgres_place import read_libpq_url

CONNECT_DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "treadle",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    # A vanished server is noticed in 11 seconds, not after the system's two hours.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    # Keepalives wait while something sent is unanswered; the system tries that for a quarter hour.
    "tcp_user_timeout": "15000",
}
"""Connection parameters that the operator's URL may override."""

NAME_BYTES_MAX: Final = 26
"""Of the name in the URL, before the id of a member: PostgreSQL cuts off what is longer than 63."""


class LibpqDestination(ABC):
    """One database.

    Args:
        url: a libpq URL, `postgresql://user:secret@host:port/database?parameters`. `sslrootcert`
            may also be the text of certificates.
        check_address: raises for an address that is not to be connected to; None for any address.

    Attributes:
        server: the name of the kind of server, for errors.
        scheme: of its URL and its identity.
        port: the default one.
    """

    server: ClassVar[str] = POSTGRES
    scheme: ClassVar[str] = "postgresql"
    port: ClassVar[str] = "5432"
    file: Path | None = None  # a server has to be there

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        given = read_libpq_url(
            url,
            f"the destination's URL is not a {self.server} URL; expected "
            f"{self.scheme}://user:password@host:{self.port}/database with special characters "
            "percent-encoded",
        )
        self._parameters: dict[str, Any] = {**CONNECT_DEFAULTS, **given}
        self._session_name = str(self._parameters["application_name"])

    @property
    def identity(self) -> str:
        """Host, port and database."""
        found = self._resolve_parameters()
        host = found.get("host") or found.get("hostaddr") or "local"
        database = found.get("dbname") or found.get("user", "")
        port = found.get("port") or self.port
        return f"{self.scheme}://{host.lower()}:{port}/{database}"

    def name_sessions(self, member: str) -> None:
        """Let sessions from now on be those of a member; see `NamedSessions`."""
        given = self._session_name
        short = given.encode()[:NAME_BYTES_MAX].decode(errors="ignore")
        self._parameters["application_name"] = f"{short} {member}"

    def find_risk(self) -> TransportRisk | None:
        """Return why others could read or change what is loaded; None where they cannot."""
        return judge_transport(self.identity, self._resolve_parameters())

    def _resolve_parameters(self) -> dict[str, str]:
        """Return every parameter of libpq: of the URL, or else of the environment (PGSSLMODE)."""
        found = {
            option.keyword.decode(): option.val.decode() if option.val else ""
            for option in pq.Conninfo.get_defaults()
        }
        found.update({name: str(value) for name, value in self._parameters.items()})
        return found

    def probe(self, timer: PhaseTimer) -> None:
        """Connect and close again, phase by phase; see `ProbedDestination`."""
        if self._check_address is not None:
            timer.begin(CheckPhase.NAME)
        with place_certificate(self._pin_parameters()) as parameters:
            resolved = self._resolve_parameters()
            probe_connection(self.server, make_conninfo("", **parameters), resolved, timer)

    def _pin_parameters(self) -> Mapping[str, Any]:
        """Return the parameters; of what an account named, with addresses that were checked.

        Such a server is shown no certificate and no ticket of the operator's.
        """
        if self._check_address is None:
            return self._parameters
        return withhold_credentials(pin_addresses(self._parameters, self._check_address))

    @abstractmethod
    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)

    def _connect(self, read_only: bool) -> psycopg.Connection[tuple[Any, ...]]:
        wanted = self._pin_parameters()
        try:
            with place_certificate(wanted) as parameters:
                connection = psycopg.connect(
                    make_conninfo("", **parameters),
                    autocommit=True,
                    prepare_threshold=None,  # poolers may move us between servers
                    cursor_factory=psycopg.RawCursor,
                )
        except psycopg.Error as error:
            raise translate_login(error, self.server) from error
        try:
            self._set_up_session(connection, read_only=read_only)
        except psycopg.Error as error:
            connection.close()
            raise translate(error, self.server) from error
        return connection

    @abstractmethod
    def _set_up_session(
        self, connection: psycopg.Connection[tuple[Any, ...]], *, read_only: bool
    ) -> None:
        """Set what a session of treadle needs."""
