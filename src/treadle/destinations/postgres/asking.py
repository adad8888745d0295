"""Questions to PostgreSQL."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import psycopg

from treadle.destinations.asking import RoleRights
from treadle.destinations.libpq.asking import LibpqAsking
from treadle.destinations.sql.text import Quoted

BEGIN_READING: Final = Quoted("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

DANGEROUS_ROLES: Final = (
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
)
"""Roles whose members reach the machine of the server."""

# The role of the log-in counts, and each one that it can become: a statement can call set_config.
RIGHTS: Final = Quoted(
    """
    SELECT me.rolname, me.rolsuper,
      ARRAY(
        SELECT one.rolname::text FROM pg_catalog.pg_roles one
        WHERE (one.rolname::text = ANY ($1::text[]) OR one.rolsuper)
          AND pg_catalog.pg_has_role(me.oid, one.oid, 'MEMBER')
        ORDER BY one.rolname
      )
    FROM pg_catalog.pg_roles me WHERE me.rolname = session_user
    """
)

TYPES: Final = Quoted(
    """
    SELECT pg_catalog.format_type(one.oid::oid, one.modifier::int4)
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS one (oid, modifier, number)
    ORDER BY one.number
    """
)


class PostgresAsking(LibpqAsking):
    """A session for one question; see `AskedSession`."""

    readable = Quoted(
        """
        SELECT DISTINCT n.nspname
        FROM pg_catalog.pg_class r
        JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        JOIN pg_catalog.pg_roles me ON pg_catalog.pg_has_role(session_user, me.oid, 'MEMBER')
        WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', $1)
          AND pg_catalog.has_schema_privilege(me.oid, n.oid, 'USAGE')
          AND CASE r.relkind
            WHEN 'S' THEN pg_catalog.has_sequence_privilege(me.oid, r.oid, 'SELECT')
            ELSE pg_catalog.has_table_privilege(me.oid, r.oid, 'SELECT')
              OR pg_catalog.has_any_column_privilege(me.oid, r.oid, 'SELECT')
          END
        """
    )

    def find_rights(self) -> RoleRights:
        """Return the rights of the role of the log-in, and of each one that it can become."""
        rows = self._ask(RIGHTS, list(DANGEROUS_ROLES))
        if not rows:
            return RoleRights()
        [(role, superuser, others)] = rows
        if superuser:
            return RoleRights(role, ("a superuser",))
        return RoleRights(role, tuple(f"a member of {other}" for other in others))

    def _begin(self) -> None:
        driver = self._connection.driver
        milliseconds = max(int(self.seconds * 1000), 1)
        driver.execute(
            f"SET statement_timeout = {milliseconds:d};"
            f" SET lock_timeout = {milliseconds:d};"
            f" SET idle_in_transaction_session_timeout = {milliseconds * 2:d}".encode()
        )
        with suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
            # The server ends the statement of a client that is gone. Some systems cannot.
            driver.execute("SET client_connection_check_interval = '1s'")
        driver.execute(BEGIN_READING.encode())

    def _name_types(self, kinds: Sequence[tuple[int, int]]) -> list[str]:
        ids, modifiers = zip(*kinds, strict=True)
        rows = self._connection.rows(TYPES, list(map(str, ids)), list(map(str, modifiers)))
        return [str(type_) for (type_,) in rows]
