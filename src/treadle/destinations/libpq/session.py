"""A session on a database that speaks libpq's protocol."""

import psycopg

from treadle.destinations.libpq.errors import server_message
from treadle.destinations.sql.session import SqlSession
from treadle.errors import OperatorError, TableStoppedError


class LibpqSession(SqlSession):
    """One connection; see `Session`."""

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
