"""Questions to SQL databases: what a session for one question does, whatever the database.

A session is used for one question, so that nothing that a statement sets, locks or prepares is
there for the next one. What keeps a statement from more than reading is the database.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, ClassVar, Final, LiteralString, TypeVar

from treadle.destinations.asking import (
    AnswerColumn,
    AnswerRow,
    AnswerRows,
    RoleRights,
    StatementFaultError,
    StatementOverdueError,
    ValueForm,
)
from treadle.destinations.layout import BATCHED_AT, PRIVATE_SCHEMA, SEQUENCE
from treadle.destinations.protocol import AccessDeniedError, LoadSession
from treadle.destinations.sql.catalogue import OWNERS, list_owners
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.sql.text import Quoted, compose
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.errors import TreadleError
from treadle.tables.schema_owner import SchemaOwner

PREFIX: Final = "SELECT * FROM ("
"""What stands before a statement that is put where a table can stand."""

NO_ROWS: Final = "The statement gives no rows. Only one that reads is run here."

WRAPPED_ONLY: Final = (
    "Only a SELECT that gives rows is run here. EXPLAIN, SHOW and others need a role of their own "
    "for questions: the operator names one in the setting query_url."
)


class SqlAsking(ABC):
    """A session for one question; see `AskedSession`.

    Args:
        connection: for reading only.
        seconds: after which a statement is ended.

    Attributes:
        faults: what the driver raises for a statement of a person's.
        readable: names of the schemas in which who asks can read something; $1 is treadle's own,
            which is left out.
        newest_first: how rows are put in order by `{at}` and `{sequence}`, those without them last.
    """

    faults: ClassVar[tuple[type[Exception], ...]]
    readable: ClassVar[Quoted]
    newest_first: ClassVar[LiteralString] = "{at} DESC NULLS LAST, {sequence} DESC NULLS LAST"

    def __init__(self, connection: SqlConnection, seconds: float) -> None:
        self._connection = connection
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self._is_overdue = False

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

    def read_statement(self, statement: str, limit: int, *, wraps: bool) -> AnswerRows:
        """Run one statement of a person's; see `AskedSession`."""
        text = statement.rstrip("; \t\r\n\f\v")
        if not text:
            raise StatementFaultError("Expected one statement, found none.")
        columns, rows = self._start(text, limit, wraps=wraps)
        return AnswerRows(columns, self._spell_rows(columns, rows, limit, wraps=wraps))

    @abstractmethod
    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        """Begin a statement; returns its columns, and its rows as they come.

        Closing the rows ends the statement.

        Raises:
            StatementFaultError: it is not one statement, gives no rows, or is refused.
        """

    def _spell_rows(
        self,
        columns: Sequence[AnswerColumn],
        rows: Generator[Sequence[Any], None, None],
        limit: int,
        *,
        wraps: bool,
    ) -> Iterator[AnswerRow]:
        forms = [column.form for column in columns]
        spell = self._spell_value  # looked up once, for a million values
        with self._bounded(lambda error: self._judge_fault(error, wraps=wraps)), closing(rows):
            for row in islice(rows, limit):
                if time.monotonic() > self._until:
                    raise self._make_overdue()
                yield [
                    None if value is None else spell(form, value)
                    for form, value in zip(forms, row, strict=True)
                ]

    @abstractmethod
    def _spell_value(self, form: ValueForm, value: Any) -> str:
        """Return a value of the driver's in the spelling of its form."""

    @contextmanager
    def _bounded(self, judge: Callable[[Exception], TreadleError]) -> Iterator[None]:
        """Say what is wrong with a statement; where it was ended, that it took too long."""
        try:
            yield
        except self.faults as error:
            if self._is_overdue or self._is_interrupted(error):
                raise self._make_overdue() from error
            raise judge(error) from error

    @abstractmethod
    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        """Return what an error of a statement of a person's means.

        Args:
            error: one of `faults`.
            wraps: the statement stands where a table can stand.
        """

    def _is_interrupted(self, error: Exception) -> bool:
        """Return whether the database ended a statement that took too long."""
        return False

    def _make_overdue(self) -> StatementOverdueError:
        return StatementOverdueError(
            f"The statement took longer than {self.seconds:g} s and was ended."
        )

    def _ask(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(statement, *values)
        except self._connection.errors as error:
            raise self._connection.translate(error) from error

    # --- life -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to read, before the first question.

        Raises:
            TreadleError: the database refuses it.
        """
        try:
            self._begin()
        except self._connection.errors as error:
            raise self._connection.translate(error) from error

    def _begin(self) -> None:
        """Begin a transaction for reading, where there has to be one."""
        return

    def end(self) -> None:
        """End the statement that runs; may be called from any thread."""
        self._is_overdue = True
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def wrap_statement(text: str, limit: int) -> str:
    """Return a statement where a table can stand, so that nothing but a SELECT fits."""
    # A line break, since the statement may end with a comment.
    return f"{PREFIX}{text}\n) AS q LIMIT {limit:d}"


AskingT = TypeVar("AskingT", bound=SqlAsking)


@contextmanager
def open_asking(asking: AskingT) -> Iterator[AskingT]:
    """Give a session for one question, and close the connection at the end."""
    timer = threading.Timer(asking.seconds, asking.end)
    timer.daemon = True
    try:
        asking.begin()
        timer.start()
        yield asking
    finally:
        timer.cancel()
        asking.close()
