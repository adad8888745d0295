"""PostgreSQL 14 or newer as a destination, by psycopg 3.

The connection is in autocommit mode; a load writes BEGIN and COMMIT itself, so that an error of
COMMIT can be told from every other.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.postgres.asking import PostgresAsking
from treadle.destinations.postgres.connection import PostgresConnection
from treadle.destinations.postgres.dialect import PostgresSchemaStatements
from treadle.destinations.postgres.errors import server_message, translate, translate_login
from treadle.destinations.postgres.place import pin_addresses, place_certificate
from treadle.destinations.postgres.probe import probe_connection
from treadle.destinations.postgres.transport import judge_transport
from treadle.destinations.postgres.writer import PostgresWriter
from treadle.destinations.protocol import DestinationUnavailableError, Session
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.sql.text import Quoted
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import TransportRisk
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.profiles import POSTGRES

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

SESSION_SETTINGS: Final = sql.SQL(
    """
    SET TIME ZONE 'UTC';
    SET lock_timeout = '15s';
    SET statement_timeout = '15min';
    SET idle_in_transaction_session_timeout = '60s';
    """
)
"""A lock that somebody holds delays the load, which is repeated; a hung statement ends. A process
that was stopped in the middle of a load keeps its locks for a minute at most."""

CHECK_CLIENT: Final = sql.SQL("SET client_connection_check_interval = '5s'")
"""So that the server notices in the middle of a statement that its client is gone. Servers on some
systems, and those that only speak like PostgreSQL, cannot do that."""

END_SESSIONS: Final = Quoted(
    "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity "
    "WHERE right(application_name, length($1) + 1) = ' ' || $1"
    " AND usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
)
"""Ends them and waits until they are gone, 2 seconds at most."""

NAME_BYTES_MAX: Final = 26
"""Of the name in the URL, before the id of a member: PostgreSQL cuts off what is longer than 63."""


class PostgresDestination:
    """One database.

    Args:
        url: a libpq URL, `postgresql://user:secret@host:port/database?parameters`. `sslrootcert`
            may also be the text of certificates.
        check_address: raises for an address that is not to be connected to; None for any address.
    """

    kind = "postgres"
    profile = POSTGRES
    capabilities = Capabilities(evictable=True)
    file: Path | None = None  # a server has to be there

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        self._checks_client = True
        # The driver's own message may repeat the part that holds the password.
        malformed = OperatorError(
            "the destination's URL is not a PostgreSQL URL; expected "
            "postgresql://user:password@host:5432/database with special characters "
            "percent-encoded"
        )
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise malformed from None
        if "@" in str(given.get("host", "")):  # a password with an @ that is not encoded
            raise malformed
        self._parameters: dict[str, Any] = {**CONNECT_DEFAULTS, **given}
        self._session_name = str(self._parameters["application_name"])

    @property
    def identity(self) -> str:
        """Host, port and database."""
        found = self._resolve_parameters()
        host = found.get("host") or found.get("hostaddr") or "local"
        database = found.get("dbname") or found.get("user", "")
        return f"postgresql://{host.lower()}:{found.get('port') or '5432'}/{database}"

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
            probe_connection(make_conninfo("", **parameters), resolved, timer)

    def _pin_parameters(self) -> Mapping[str, Any]:
        """Return the parameters; of what an account named, with addresses that were checked."""
        if self._check_address is None:
            return self._parameters
        return pin_addresses(self._parameters, self._check_address)

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        connection = PostgresConnection(self._connect(read_only), read_only=read_only)
        return PostgresSession(SqlTransactions(connection))

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        connection = PostgresConnection(self._connect(read_only=True))
        return open_asking(PostgresAsking(connection, seconds))

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
            raise translate_login(error) from error
        try:
            self._set_up_session(connection)
            if read_only:
                connection.execute("SET default_transaction_read_only = on")
        except psycopg.Error as error:
            connection.close()
            raise translate(error) from error
        return connection

    def _set_up_session(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        if self._checks_client:
            try:
                # In one round trip, and one transaction.
                connection.execute(SESSION_SETTINGS + CHECK_CLIENT)
            except (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError):
                self._checks_client = False
            else:
                return
        connection.execute(SESSION_SETTINGS)

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)


class PostgresSession(SqlSession):
    """One connection; see `Session`."""

    schema_statements = PostgresSchemaStatements
    writer = PostgresWriter

    def evict(self, member: str) -> int:
        """End the sessions of another process; see `LoadSession.evict`."""
        with self._transactions.translated() as connection:
            ended = connection.rows(END_SESSIONS, member)
        if not all(is_ended for (is_ended,) in ended):
            raise DestinationUnavailableError(
                "a session of a loader that was lost does not end, and may hold locks still"
            )
        return len(ended)

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; says what depends on it where it cannot."""
        try:
            super().remove(schema, table, log_id)
        except TableStoppedError as error:
            cause = error.__cause__
            if not isinstance(cause, psycopg.errors.DependentObjectsStillExist):
                raise
            raise OperatorError(
                f"{server_message(cause)} ({cause.diag.message_detail}); nothing was changed, drop "
                "those first"
            ) from cause
