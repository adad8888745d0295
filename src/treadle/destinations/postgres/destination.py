"""PostgreSQL 14 or newer as a destination, by psycopg 3."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import psycopg
from psycopg import sql

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.libpq.destination import LibpqDestination
from treadle.destinations.libpq.errors import advise_grant
from treadle.destinations.libpq.session import LibpqSession
from treadle.destinations.postgres.asking import PostgresAsking
from treadle.destinations.postgres.connection import PostgresConnection
from treadle.destinations.postgres.dialect import PostgresSchemaStatements
from treadle.destinations.postgres.writer import PostgresWriter
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    LoadResult,
    Session,
)
from treadle.destinations.sql.text import Quoted
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.destinations.statement_asking import open_asking
from treadle.tables.model import LoadPlan
from treadle.tables.profiles import POSTGRES

SESSION_SETTINGS: Final = sql.SQL(
    """
    SET TIME ZONE 'UTC';
    SET lock_timeout = '15s';
    SET statement_timeout = '15min';
    SET idle_in_transaction_session_timeout = '60s';
    SET standard_conforming_strings = on;
    SET extra_float_digits = 1;
    SET DateStyle = 'ISO';
    SET bytea_output = 'hex';
    """
)
"""A lock that somebody holds delays the load, which is repeated; a hung statement ends. A process
that was stopped in the middle of a load keeps its locks for a minute at most. The last four say how
values are written, which a database may have otherwise: doubles that become texts keep their
digits, and the driver reads no other dates."""

ALLOW_LONG: Final = sql.SQL("SET transaction_timeout = 0;")
"""For servers that know it. A statement has an end already, and so has a transaction that stands
still. One that takes long is of a large load, which would never be done."""

KNOWS_TRANSACTION_TIMEOUT: Final = 170_000
"""The version of the first server that knows `transaction_timeout`."""

CHECK_CLIENT: Final = sql.SQL("SET client_connection_check_interval = '5s'")
"""So that the server notices in the middle of a statement that its client is gone. Servers on some
systems, and those that only speak like PostgreSQL, cannot do that."""

MAY_STAGE: Final = Quoted(
    """
    SELECT pg_catalog.current_database(),
      pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')
    """
)

END_SESSIONS: Final = Quoted(
    """
    SELECT pg_catalog.pg_terminate_backend(pid, 2000) FROM pg_catalog.pg_stat_activity
    WHERE pg_catalog.right(application_name, pg_catalog.length($1::text) + 1)
        = ' '::text || $1::text
      AND usename = session_user AND datname = pg_catalog.current_database()
      AND pid <> pg_catalog.pg_backend_pid()
    """
)
"""Ends them and waits until they are gone, 2 seconds at most."""


class PostgresDestination(LibpqDestination):
    """One database; see `LibpqDestination`."""

    kind = "postgres"
    profile = POSTGRES
    capabilities = Capabilities(evictable=True)

    def __init__(self, url: str, check_address: Callable[[str], None] | None = None) -> None:
        super().__init__(url, check_address)
        self._checks_client = True

    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""
        connection = PostgresConnection(self._connect(read_only), read_only=read_only)
        return PostgresSession(SqlTransactions(connection))

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Connect for one question; see `AskedDestination`."""
        connection = PostgresConnection(self._connect(read_only=True))
        return open_asking(PostgresAsking(connection, seconds))

    def _set_up_session(
        self, connection: psycopg.Connection[tuple[Any, ...]], *, read_only: bool
    ) -> None:
        self._apply_settings(connection)
        if read_only:
            connection.execute("SET default_transaction_read_only = on")

    def _apply_settings(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        if self._checks_client:
            try:
                # In one round trip, and one transaction.
                is_known = connection.info.server_version >= KNOWS_TRANSACTION_TIMEOUT
                allowed = ALLOW_LONG if is_known else sql.SQL("")
                connection.execute(SESSION_SETTINGS + allowed + CHECK_CLIENT)
            except (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError):
                self._checks_client = False
            else:
                return
        connection.execute(SESSION_SETTINGS)


class PostgresSession(LibpqSession):
    """One connection; see `Session`."""

    schema_statements = PostgresSchemaStatements
    writer = PostgresWriter

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out; see `LoadSession.load`.

        The first load of a table needs no stage. So a rehearsal asks whether later ones may make
        one.
        """
        result = super().load(plan, rehearse=rehearse)
        if rehearse:
            self._check_stages()
        return result

    def _check_stages(self) -> None:
        with self._transactions.translated() as connection:
            [(database, may_stage)] = connection.rows(MAY_STAGE)
        if not may_stage:
            text = f'permission denied to create temporary tables in database "{database}"'
            raise AccessDeniedError(f"ERROR: {text}; {advise_grant(text)}")

    def evict(self, member: str) -> int:
        """End the sessions of another process; see `LoadSession.evict`."""
        with self._transactions.transaction() as connection:
            # Sessions are those of the role that logged in, and so is the right to end them.
            connection.run(Quoted("SET LOCAL ROLE NONE"))
            ended = connection.rows(END_SESSIONS, member)
            connection.rollback()
        if not all(is_ended for (is_ended,) in ended):
            raise DestinationUnavailableError(
                "a session of a loader that was lost does not end, and may hold locks still"
            )
        return len(ended)
