"""Questions to Redshift."""

from collections.abc import Sequence
from typing import ClassVar, Final

from psycopg import postgres

from treadle.destinations.asking import RoleRights, ValueForm
from treadle.destinations.libpq.asking import FORMS, LibpqAsking
from treadle.destinations.sql.text import Quoted

RIGHTS: Final = Quoted("SELECT usename, usesuper FROM pg_catalog.pg_user WHERE usename = user")


class RedshiftAsking(LibpqAsking):
    """A session for one question; see `AskedSession`."""

    forms: ClassVar = {**FORMS, postgres.types["timestamp"].oid: ValueForm.INSTANT}
    readable = Quoted(
        """
        SELECT DISTINCT n.nspname
        FROM pg_catalog.pg_class r
        JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        WHERE r.relkind IN ('r', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg!_%' ESCAPE '!'
          AND n.nspname NOT IN ('information_schema', $1)
          AND has_schema_privilege(n.nspname, 'USAGE') AND has_table_privilege(r.oid, 'SELECT')
        """
    )

    def find_rights(self) -> RoleRights:
        """Return the rights of the user of the log-in."""
        rows = self._ask(RIGHTS)
        if not rows:
            return RoleRights()
        [(user, is_superuser)] = rows
        return RoleRights(str(user), ("a superuser",) if is_superuser else ())

    def _begin(self) -> None:
        milliseconds = max(int(self.seconds * 1000), 1)
        self._connection.driver.execute(f"SET statement_timeout TO {milliseconds:d}".encode())
        self._connection.run(Quoted("BEGIN READ ONLY"))

    def _name_types(self, kinds: Sequence[tuple[int, int]]) -> list[str]:
        known = (postgres.types.get(oid) for oid, _ in kinds)
        return [type_.regtype if type_ is not None else "unknown" for type_ in known]
