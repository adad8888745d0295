"""What a store on PostgreSQL needs beside what every store does: URL, sessions, durability.

It is imported where a store is on PostgreSQL: the driver takes memory that a store in a file saves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext

from treadle.errors import OperatorError
from treadle.postgres_place import name_postgres_place

SESSION_DEFAULTS: Final[Mapping[str, str]] = {
    "application_name": "treadle",
    # Together less than five seconds: when a way is open again that was cut, a gate is to know soon
    # which tokens were revoked meanwhile.
    "connect_timeout": "3",
    # A machine that vanished is noticed in 11 seconds, and a connection that is cut in 4.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "4000",
    # Of several servers the one that takes writes; a standby is no store.
    "target_session_attrs": "read-write",
}
"""Connection parameters of libpq that the URL may override."""

SESSION_SETTINGS: Final = """
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                                        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
                  false),
       set_config('lock_timeout', '30s', false),
       set_config('idle_in_transaction_session_timeout', '3s', false)
"""
"""What holds for each session, whatever the database or its user has as default. A token that was
revoked must not come back with a failover, so a commit waits for the synchronous standbys. A
process that was stopped in the middle of a transaction keeps the others waiting for three seconds:
they have to note that they live, and take over the units of a loader that was lost within ten."""

POOL_WAIT_SECONDS: Final = 10.0
"""How long a thread waits for a connection that others of its process use."""

POOL_RECYCLE_SECONDS: Final = 3600

EXPECTED_URL: Final = (
    "expected postgresql://user@host/database, where several servers of one database are "
    "host1,host2, and special characters are percent-encoded"
)


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """Where a store on PostgreSQL is.

    Attributes:
        url: as SQLAlchemy takes it: with host and port where there is one server.
        parameters: further ones of libpq, among them the hosts and ports of several servers.
        name: servers and database, as people may see them.
    """

    url: URL
    parameters: Mapping[str, str]
    name: str


def read_parameters(url: str) -> dict[str, Any]:
    """Return the parameters of libpq for a session of a store's server, beside the store's own.

    Raises:
        OperatorError: the URL cannot be read. The text does not repeat it, since it may have a
            password.
    """
    return {**SESSION_DEFAULTS, **_read_given(url)}


def _read_given(url: str) -> dict[str, str]:
    try:
        plain = url.replace("+psycopg", "", 1) if url.startswith("postgresql+psycopg:") else url
        return {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except psycopg.ProgrammingError:
        raise OperatorError(f"the store's URL cannot be read: {EXPECTED_URL}") from None


def parse_place(url: str) -> PostgresPlace:
    """Read the URL of a store, as libpq reads it.

    SQLAlchemy takes one host in a URL. So several of them become parameters of the connection.

    Raises:
        OperatorError: it cannot be read. The text does not repeat it, since it may have a password.
    """
    given = _read_given(url)
    host, port = given.pop("host", ""), given.pop("port", "")
    # A password with an @ that is not encoded ends up in the host, or in the port.
    if "@" in host or not re.fullmatch(r"[0-9,]*", port):
        raise OperatorError(f"the store's URL cannot be read: {EXPECTED_URL}")
    user, password = given.pop("user", None), given.pop("password", None)
    database = given.pop("dbname", None)
    driver = "postgresql+psycopg"
    if "," in host or host.startswith("/"):
        given["host"] = host
        if port.strip(","):
            given["port"] = port
        found = URL.create(driver, user, password, database=database)
    else:
        found = URL.create(
            driver, user, password, host or None, int(port) if port else None, database
        )
    return PostgresPlace(
        found, {**SESSION_DEFAULTS, **given}, name_postgres_place(host, port, database)
    )


def create_postgres_engine(url: str, connections: int, statements: int, mark: str) -> Engine:
    """Make the engine of a store on PostgreSQL; nothing is connected yet.

    Args:
        url: of the store.
        connections: most that are open at once. Half of them stay open.
        statements: most of which the SQL is kept, about.
        mark: set in the `info` of a connection when its server says that a commit did not wait.

    Raises:
        OperatorError: the URL cannot be read.
    """
    place = parse_place(url)
    kept = max(1, connections // 2)
    engine = create_engine(
        place.url,
        # Parameters hold sealed secrets and names of clients: never in an error text.
        hide_parameters=True,
        connect_args=dict(place.parameters),
        pool_pre_ping=True,
        pool_recycle=POOL_RECYCLE_SECONDS,
        query_cache_size=statements,
        pool_size=kept,
        max_overflow=connections - kept,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_use_lifo=True,  # so that a connection that nobody needs now is not kept alive
    )
    event.listen(engine, "connect", partial(_prepare_session, mark))
    event.listen(engine, "handle_error", _leave_standby)
    return engine


def _leave_standby(context: ExceptionContext) -> None:
    """Connect anew after a server refused to write; it answers, and would keep its connections."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_STATE:
        context.is_disconnect = True


def _prepare_session(mark: str, connection: "psycopg.Connection[Any]", record: Any) -> None:
    def note(found: psycopg.errors.Diagnostic) -> None:
        if tells_of_no_wait(found.sqlstate, found.severity_nonlocalized):
            record.info[mark] = True

    connection.autocommit = True
    connection.execute(SESSION_SETTINGS)
    connection.autocommit = False
    connection.add_notice_handler(note)


def tells_of_no_wait(state: str | None, severity: str | None) -> bool:
    """Return whether a notice of the server says that a commit did not wait for a standby.

    When a wait is cancelled, COMMIT succeeds with a warning, and its changes may be lost with the
    server. The warning has no SQLSTATE of its own and comes in the language of the server. No
    statement of the store brings another warning of these two kinds.
    """
    return severity == "WARNING" and state in ("01000", "57P01")


@dataclass(frozen=True, slots=True)
class StoreDurability:
    """What a server of PostgreSQL does before it says that something is committed.

    Attributes:
        fsync: it waits for its disk.
        full_page_writes: a page that a power cut tore can be mended.
        standbys: its setting `synchronous_standby_names`; empty where no commit waits for any.
        present: how many synchronous standbys are connected; None where the user may not see it.
    """

    fsync: bool
    full_page_writes: bool
    standbys: str = ""
    present: int | None = 0


def find_weakness(found: StoreDurability, wanted: str) -> str | None:
    """Return what is weaker than it has to be, and what to do; None where nothing is.

    Args:
        found: of the server.
        wanted: the setting `store_durability`: replicated, single or none.
    """
    if wanted == "none":
        return None
    for name, is_on in (("fsync", found.fsync), ("full_page_writes", found.full_page_writes)):
        if not is_on:
            return (
                f"the store's server has {name} = off, so a power cut can lose tokens, or bring "
                f"back revoked ones: set {name} = on there, or say with store_durability = none "
                "that the data may be lost"
            )
    if wanted != "replicated":
        return None
    if not found.standbys:
        return (
            "the store's server waits for no standby (synchronous_standby_names is empty), so a "
            "failover can bring back revoked tokens: name standbys there, or set "
            "store_durability = single"
        )
    if found.present == 0:
        return (
            f"no synchronous standby of the store's server is connected (of {found.standbys}), so "
            "every change would wait for one: start one, or set store_durability = single and "
            "empty synchronous_standby_names there"
        )
    return None


def read_durability(connection: Connection) -> StoreDurability:
    """Ask the server what it does before it says that something is committed."""
    row = connection.execute(
        text(
            "SELECT current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', "
            "current_setting('synchronous_standby_names'), "
            "count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), "
            "count(*) FILTER (WHERE pid IS NOT NULL AND sync_state IS NULL) "
            "FROM pg_stat_replication"
        )
    ).one()
    fsync, pages, standbys, present, hidden = row
    return StoreDurability(fsync, pages, standbys, None if hidden and not present else present)


def read_server_time(connection: Connection) -> int:
    """Return the server's time now, microseconds since 1970, UTC."""
    asked = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    now: int = connection.execute(asked).scalar_one()
    return now


# Errors ------------------------------------------------------------------------------------------

READ_ONLY_STATE: Final = "25006"
"""Of a standby."""

_PASSING_STATES: Final = (
    "08",  # connection lost
    READ_ONLY_STATE,
    "25P03",  # this process was stopped in the middle of a transaction
    "40",  # deadlock, serialisation
    "53",  # disk full, memory, too many connections
    "55P03",  # lock not available
    "57",  # shut down, starting up, cancelled
    "58",  # the server's own disk or files
    "F0",  # its configuration
    "XX",  # its own defect
)
"""Beginnings of SQLSTATEs of what may pass by itself, or with another server of the same store."""

_REFUSED_LOGIN: Final = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied"
    r"|not permitted to log in|permission denied for database|certificate"
)
"""Login errors have no SQLSTATE in libpq, so their text has to tell."""


def is_passing(error: BaseException | None) -> bool:
    """Return whether an error of the driver may pass by itself."""
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_PASSING_STATES)


def is_refused_login(error: BaseException | None) -> bool:
    """Return whether the server refused the user, who has to be given rights or another password.

    Where there are several servers, each has to refuse: a new one may not be there yet.
    """
    if not isinstance(error, psycopg.OperationalError) or error.sqlstate is not None:
        return False
    lines = [line for line in str(error).splitlines() if "failed" in line and ":" in line]
    tries = [line for line in lines if not line.startswith("Multiple connection attempts")]
    return bool(tries) and all(_REFUSED_LOGIN.search(line) for line in tries)
