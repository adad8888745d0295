"""Questions to a DuckDB file: read only, in bounded memory, with nothing outside of the file."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb

from treadle.destinations.asking import AnswerRows, RoleRights
from treadle.destinations.duckdb.connection import DuckDBConnection
from treadle.destinations.duckdb.errors import translate
from treadle.destinations.engine_answer import EngineAnswer
from treadle.destinations.layout import BATCHED_AT, PRIVATE_SCHEMA, SEQUENCE
from treadle.destinations.protocol import LoadSession
from treadle.destinations.sql.catalogue import OWNERS, list_owners
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.sql.text import Quoted, compose
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.tables.schema_owner import SchemaOwner


class DuckDBAsking:
    """A session for one question; see `AskedSession`.

    Args:
        driver: to the file, for reading only.
        seconds: after which a statement is ended.
    """

    def __init__(self, driver: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self._answer = EngineAnswer(driver, seconds)
        self._connection = DuckDBConnection(driver, read_only=True)

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return SqlSession(SqlTransactions(self._connection))

    def find_rights(self) -> RoleRights:
        """Return none: DuckDB has no roles, and external access is off."""
        return RoleRights()

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas with tables or views: all of them can be read."""
        try:
            rows = self._connection.rows(
                Quoted(
                    "SELECT schema_name FROM duckdb_tables()"
                    " WHERE database_name = current_database() AND NOT internal"
                    " UNION SELECT schema_name FROM duckdb_views()"
                    " WHERE database_name = current_database() AND NOT internal"
                )
            )
        except duckdb.Error as error:
            raise translate(error) from error
        return frozenset(str(name) for (name,) in rows if str(name).lower() != PRIVATE_SCHEMA)

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that the database records; None where it does not tell."""
        try:
            if not self._connection.holds_own_table(OWNERS.name):
                return None
            return list_owners(self._connection)
        except duckdb.Error as error:
            raise translate(error) from error

    def read_relation(self, schema: str, relation: str, limit: int) -> AnswerRows:
        """Return the newest rows of a table; see `AskedSession`."""
        dialect = self._connection.dialect
        statement = compose(
            "SELECT * FROM {place} ORDER BY {at} DESC NULLS LAST, {sequence} DESC NULLS LAST",
            place=dialect.place(schema, relation),
            at=dialect.quote(BATCHED_AT),
            sequence=dialect.quote(SEQUENCE),
        )
        return self._answer.read_statement(statement, limit)

    def read_statement(self, statement: str, limit: int, *, wraps: bool) -> AnswerRows:
        """Run one statement of a person's; see `AskedSession`."""
        return self._answer.read_statement(statement, limit)

    def end(self) -> None:
        """End the statement that runs; may be called from any thread."""
        self._answer.end()


@contextmanager
def open_asking(driver: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[DuckDBAsking]:
    """Give a session for one question, and close the connection at the end."""
    asking = DuckDBAsking(driver, seconds)
    timer = threading.Timer(seconds, asking.end)
    timer.daemon = True
    timer.start()
    try:
        yield asking
    finally:
        timer.cancel()
        driver.close()
