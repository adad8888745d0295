"""MySQL 8 and MariaDB 10.6 or newer as a destination, by PyMySQL.

A source has a database of its own there: what PostgreSQL calls a schema. Treadle's own is one of
them, `_treadle`.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

import pymysql
from pymysql.constants import CLIENT

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.mysql.asking import MysqlAsking
from treadle.destinations.mysql.connection import MysqlConnection
from treadle.destinations.mysql.dialect import MysqlSchemaStatements
from treadle.destinations.mysql.driver import MysqlDriver
from treadle.destinations.mysql.errors import translate, translate_login
from treadle.destinations.mysql_form import PORT, MysqlUrl, SslMode
from treadle.destinations.protocol import DestinationUnavailableError, Session
from treadle.destinations.rehearsal_result import CheckPhase, PhaseTimer
from treadle.destinations.server_connection import connect_server, make_tls_context
from treadle.destinations.server_form import refuse_unknown_parameters
from treadle.destinations.sql.appending_writer import AppendingWriter
from treadle.destinations.sql.stepped_session import SteppedSession, SteppedTransactions
from treadle.destinations.sql.text import Quoted, number_values
from treadle.destinations.statement_asking import open_asking
from treadle.destinations.transport import TransportRisk, describe_risk, is_local_host
from treadle.errors import OperatorError
from treadle.tables.profiles import MYSQL

STATEMENT_SECONDS_MAX: Final = 900
"""A statement that takes longer is taken for hung, and its connection is closed; but see
`MysqlConnection.unhurried`."""

SESSION_SETTINGS: Final = (
    "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL,NO_BACKSLASH_ESCAPES,ANSI_QUOTES',"
    " innodb_lock_wait_timeout = 15, lock_wait_timeout = 15, wait_timeout = 120,"
    " max_error_count = 1024, sql_notes = 0"
)
"""A lock that somebody holds delays the load of a table, which is repeated. The locks of a session
end with it, two minutes after its last statement: a loader that vanished says nothing. Warnings
are kept, whatever the server keeps by default, since one may tell of a row that LOAD DATA left out,
and notes do not take their place. Names are quoted as in the other databases, so that a statement
of the operator's is the same in all of them.
"""

READER_SETTINGS: Final = ("SET wait_timeout = 3600", "SET SESSION TRANSACTION READ ONLY")
"""Of a session that only reads, which may compare for long what it read, and has no lock by which
others do not load."""

OPTIONAL_SETTINGS: Final = (
    # Without gaps between keys: loads of two tables do not wait for each other.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    # More columns of text than rows have room for, if all of them were long: most are not.
    "SET SESSION innodb_strict_mode = OFF",
    # Tables that rows are only added to have no key, and neither have those that are staged.
    "SET SESSION sql_require_primary_key = OFF",
    # A process that was stopped in the middle of a load keeps its locks for a minute at most.
    "SET SESSION idle_write_transaction_timeout = 60",
)
"""Settings that some servers do not know, or let nobody change. MySQL wants the right
SESSION_VARIABLES_ADMIN for two of them, or treadle does without."""

MEMBER_SESSIONS_MAX: Final = 64
"""Most sessions of one member that can be told apart."""

_PARAMETERS: Final = frozenset({"ssl-mode", "ssl-ca"})

REMEDY: Final = (
    "Add ssl-mode=VERIFY_IDENTITY to its URL, with ssl-ca=/path/of/the/authority.pem unless the "
    "authority is a public one."
)


class MysqlDestination:
    """One server.

    Args:
        url: `mysql://user:secret@host:port/?parameters`, or `mariadb://`. The parameters are
            `ssl-mode` and `ssl-ca`, which may also be the text of certificates.
        check_address: raises for an address that is not to be connected to; None for any address.
    """

    kind = "mysql_destination"  # the word of the Connect API
    profile = MYSQL
    capabilities = Capabilities(transactional_ddl=False, evictable=True)
    file: Path | None = None  # a server has to be there

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        self._check_address = check_address
        self._member = ""
        parts = MysqlUrl.parse(url)
        # The text of a malformed URL may repeat the part that holds the password.
        if not parts.host or parts.user is None or not (parts.port or "1").isdigit():
            raise OperatorError(
                "the destination's URL is not a MySQL URL; expected "
                "mysql://user:password@host:3306/ with special characters percent-encoded"
            )
        if parts.path:
            raise OperatorError(
                f"the destination's URL names the database {parts.path!r}; expected none, since "
                "each source gets a database that is called like its schema"
            )
        refuse_unknown_parameters(parts.parameters, _PARAMETERS)
        try:
            self._mode = parts.ssl_mode
        except ValueError:
            raise OperatorError(
                "the destination's URL has an unknown ssl-mode; expected one of "
                f"{', '.join(mode.name for mode in SslMode)}"
            ) from None
        self._parts = parts
        self._port = int(parts.port or PORT)

    @property
    def identity(self) -> str:
        """Host and port."""
        return f"mysql://{self._parts.host.lower()}:{self._port}"

    def name_sessions(self, member: str) -> None:
        """Let sessions from now on be those of a member; see `NamedSessions`."""
        self._member = member

    def find_risk(self) -> TransportRisk | None:
        """Return why others could read or change what is loaded; None where they cannot."""
        if self._mode.verifies or is_local_host(self._parts.host):
            return None
        setting = f"ssl-mode={self._mode.name}"
        return describe_risk(self.identity, setting, REMEDY, encrypts=self._mode.encrypts)

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        connection = self._connect(read_only=read_only)
        return MysqlSession(SteppedTransactions(connection, read_only=read_only))

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        return open_asking(MysqlAsking(self._connect(read_only=True), seconds))

    def probe(self, timer: PhaseTimer) -> None:
        """Connect and close again, phase by phase; see `ProbedDestination`."""
        self._log_in(timer).close()

    # --- connecting -------------------------------------------------------------------------------

    def _connect(self, *, read_only: bool) -> MysqlConnection:
        driver = self._log_in(PhaseTimer())
        try:
            with driver.cursor() as cursor:
                cursor.execute(SESSION_SETTINGS)
                for setting in OPTIONAL_SETTINGS:
                    with suppress(pymysql.Error):
                        cursor.execute(setting)
                for setting in READER_SETTINGS if read_only else ():
                    cursor.execute(setting)
            connection = MysqlConnection(driver, self._interrupt, read_only=read_only)
            self._tell_member(connection)
        except pymysql.Error as error:
            driver.close()
            raise translate(error) from error
        return connection

    def _tell_member(self, connection: MysqlConnection) -> None:
        """Take the first lock of the member that is free: so others know whose the session is."""
        if not self._member:
            return
        for name in name_member_locks(self._member):
            [(is_taken,)] = connection.rows(Quoted("SELECT GET_LOCK($1, 0)"), name)
            if is_taken:
                return

    def _interrupt(self, connection_id: int) -> None:
        with self._log_in(PhaseTimer()) as driver, driver.cursor() as cursor:
            cursor.execute(f"KILL QUERY {connection_id:d}")

    def _log_in(self, timer: PhaseTimer) -> MysqlDriver:
        """Connect, and begin each phase of it at a timer."""
        driver = MysqlDriver(
            host=self._parts.host,
            port=self._port,
            user=self._parts.user,
            password=(self._parts.password or "").encode(),
            autocommit=True,
            charset="utf8mb4",
            local_infile=True,
            # What an UPDATE finds to be equal already counts as written.
            client_flag=CLIENT.FOUND_ROWS,
            read_timeout=STATEMENT_SECONDS_MAX,
            write_timeout=STATEMENT_SECONDS_MAX,
            program_name="treadle",
            defer_connect=True,
            **self._make_tls(),
        )
        connected = connect_server(
            "MySQL", self._parts.host, self._port, timer, self._check_address
        )
        timer.begin(CheckPhase.LOG_IN)
        try:
            driver.connect(connected)
        except pymysql.Error as error:
            if isinstance(getattr(error, "original_exception", None), ssl.SSLError) or (
                error.args and error.args[0] == 2026
            ):
                timer.drop(CheckPhase.LOG_IN)
                timer.begin(CheckPhase.TLS)
            raise translate_login(error) from error
        return driver

    def _make_tls(self) -> Mapping[str, Any]:
        """Return what PyMySQL is told of encryption."""
        if self._mode is SslMode.DISABLED:
            return {"ssl_disabled": True}
        if self._mode is SslMode.PREFERRED:
            return {}
        context = make_tls_context(
            self._parts.parameters.get("ssl-ca", ""),
            "ssl-ca",
            verifies=self._mode.verifies,
            checks_name=self._mode is SslMode.VERIFY_IDENTITY,
        )
        return {"ssl": context}


def name_member_locks(member: str) -> Sequence[str]:
    """Return the names of the locks by which the sessions of a member are known."""
    return [f"treadle {member} {number}" for number in range(MEMBER_SESSIONS_MAX)]


class MysqlSession(SteppedSession):
    """One connection; see `Session`."""

    schema_statements = MysqlSchemaStatements
    writer = AppendingWriter

    def evict(self, member: str) -> int:
        """End the sessions of another process; see `LoadSession.evict`."""
        locks = name_member_locks(member)
        marks = number_values(1, len(locks)).split(", ")
        asked = Quoted("SELECT " + ", ".join(f"IS_USED_LOCK({mark})" for mark in marks))
        wait = Quoted("SELECT GET_LOCK($1, 2), RELEASE_LOCK($1)")
        with self._transactions.translated() as connection:
            [found] = connection.rows(asked, *locks)
            held = {lock: int(one) for lock, one in zip(locks, found, strict=True) if one}
            for one in held.values():
                with suppress(pymysql.OperationalError):  # it is gone by now
                    connection.run(Quoted(f"KILL {one:d}"))
            ended = [connection.rows(wait, lock)[0][0] for lock in held]
        if not all(ended):
            raise DestinationUnavailableError(
                "a session of a loader that was lost does not end, and may hold locks still"
            )
        return len(held)
