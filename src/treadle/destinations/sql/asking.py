"""Questions to SQL databases: what a session for one question does, whatever the database.

A session is used for one question, so that nothing that a statement sets, locks or prepares is
there for the next one. What keeps a statement from more than reading is the database.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, LiteralString

from treadle.destinations.asking import AnswerRows, RoleRights
from treadle.destinations.layout import BATCHED_AT, PRIVATE_SCHEMA, SEQUENCE
from treadle.destinations.protocol import AccessDeniedError, LoadSession
from treadle.destinations.sql.catalogue import OWNERS, list_owners
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.sql.text import Quoted, compose
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.destinations.statement_asking import StatementAsking
from treadle.tables.schema_owner import SchemaOwner

PREFIX: Final = "SELECT * FROM ("
"""What stands before a statement that is put where a table can stand."""

NO_ROWS: Final = "The statement gives no rows. Only one that reads is run here."

WRAPPED_ONLY: Final = (
    "Only a SELECT that gives rows is run here. EXPLAIN, SHOW and others need a role of their own "
    "for questions: the operator names one in the setting query_url."
)


class SqlAsking(StatementAsking):
    """A session for one question; see `AskedSession`.

    Args:
        connection: for reading only.
        seconds: after which a statement is ended.

    Attributes:
        readable: names of the schemas in which who asks can read something; $1 is treadle's own,
            which is left out.
        newest_first: how rows are put in order by `{at}` and `{sequence}`, those without them last.
    """

    readable: ClassVar[Quoted]
    newest_first: ClassVar[LiteralString] = "{at} DESC NULLS LAST, {sequence} DESC NULLS LAST"

    def __init__(self, connection: SqlConnection, seconds: float) -> None:
        super().__init__(seconds)
        self._connection = connection

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return SqlSession(SqlTransactions(self._connection))

    @abstractmethod
    def find_rights(self) -> RoleRights:
        """Return the rights of who asks; see `AskedSession`."""

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas in which something can be read; see `AskedSession`."""
        return frozenset(str(name) for (name,) in self._ask(self.readable, PRIVATE_SCHEMA))

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that the database records; None where it does not tell."""
        try:
            return list_owners(self._connection) if self._may_read_owners() else None
        except self._connection.errors as error:
            fault = self._connection.translate(error)
            if isinstance(fault, AccessDeniedError):
                return None
            raise fault from error

    def _may_read_owners(self) -> bool:
        """Return whether to try: False where a refusal would end the transaction."""
        return self._connection.holds_own_table(OWNERS.name)

    def read_relation(self, schema: str, relation: str, limit: int) -> AnswerRows:
        """Return the newest rows of a table; see `AskedSession`."""
        dialect = self._connection.dialect
        order = compose(
            self.newest_first, at=dialect.quote(BATCHED_AT), sequence=dialect.quote(SEQUENCE)
        )
        statement = compose(
            "SELECT * FROM {place} ORDER BY {order}",
            place=dialect.place(schema, relation),
            order=order,
        )
        return self.read_statement(f"{statement} LIMIT {limit:d}", limit, wraps=False)

    def _ask(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(statement, *values)
        except self._connection.errors as error:
            raise self._connection.translate(error) from error

    # --- life -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to read; see `StatementAsking.begin`."""
        try:
            self._begin()
        except self._connection.errors as error:
            raise self._connection.translate(error) from error

    def _begin(self) -> None:
        """Begin a transaction for reading, where there has to be one."""
        return

    def _interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def wrap_statement(text: str, limit: int) -> str:
    """Return a statement where a table can stand, so that nothing but a SELECT fits."""
    # A line break, since the statement may end with a comment.
    return f"{PREFIX}{text}\n) AS q LIMIT {limit:d}"
