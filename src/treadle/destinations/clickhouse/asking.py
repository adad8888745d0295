"""Questions to ClickHouse: one statement that only reads, on a connection of its own."""

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from treadle.destinations.asking import (
    AnswerColumn,
    AnswerRow,
    AnswerRows,
    RoleRights,
    StatementFaultError,
    StatementOverdueError,
    ValueForm,
)
from treadle.destinations.clickhouse.connection import ClickhouseConnection
from treadle.destinations.clickhouse.errors import (
    OVERDUE,
    error_code,
    server_message,
    translate,
)
from treadle.destinations.clickhouse.row_format import read_answer, read_instant, strip_type
from treadle.destinations.clickhouse.session import ClickhouseSession, ClickhouseTransactions
from treadle.destinations.layout import BATCHED_AT, PRIVATE_SCHEMA, SEQUENCE
from treadle.destinations.protocol import DestinationUnavailableError, LoadSession
from treadle.destinations.sql.catalogue import OWNERS, list_owners
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables.schema_owner import SchemaOwner

READABLE: Final = Quoted(
    "SELECT DISTINCT database FROM system.tables"
    " WHERE database NOT IN ('INFORMATION_SCHEMA', 'information_schema', 'system', $1)"
)

NO_ROWS: Final = "The statement gives no rows. Only one that reads is run here."

DENIED: Final = frozenset({291, 497})
"""A right is missing."""


class ClickhouseAsking:
    """A session for one question; see `AskedSession`.

    With `readonly = 1` the server runs nothing but what reads its own tables: no setting is
    changed, and no file, URL or other server is asked.

    Args:
        connection: for reading.
        identity: of the destination.
        seconds: after which a statement is ended.
    """

    def __init__(self, connection: ClickhouseConnection, identity: str, seconds: float) -> None:
        self._connection = connection
        self._identity = identity
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return ClickhouseSession(
            ClickhouseTransactions(self._connection, self._identity, read_only=True)
        )

    def find_rights(self) -> RoleRights:
        """Return the user. None of its rights is dangerous for a statement that only reads."""
        [(user,)] = self._ask(Quoted("SELECT currentUser()"))
        return RoleRights(str(user))

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the databases of which the user sees a table."""
        return frozenset(str(name) for (name,) in self._ask(READABLE, PRIVATE_SCHEMA))

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that the database records; None where the user cannot read them."""
        try:
            if not self._connection.holds_own_table(OWNERS.name):
                return None
            return list_owners(self._connection)
        except self._connection.errors as error:
            if error_code(error) in DENIED:
                return None
            raise translate(error) from error

    def _ask(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(statement, *values)
        except self._connection.errors as error:
            raise translate(error) from error

    def read_relation(self, schema: str, relation: str, limit: int) -> AnswerRows:
        """Return the newest rows of a table; see `AskedSession`."""
        dialect = self._connection.dialect
        statement = compose(
            "SELECT * FROM {place} ORDER BY {at} DESC, {sequence} DESC",
            place=dialect.place(schema, relation),
            at=dialect.quote(BATCHED_AT),
            sequence=dialect.quote(SEQUENCE),
        )
        return self.read_statement(f"{statement} LIMIT {limit:d}", limit, wraps=False)

    def read_statement(self, statement: str, limit: int, *, wraps: bool) -> AnswerRows:
        """Run one statement of a person's; see `AskedSession`."""
        text = statement.rstrip("; \t\r\n\f\v")
        if not text:
            raise StatementFaultError("Expected one statement, found none.")
        answer = self._read(text, limit, wraps=wraps)
        columns: list[AnswerColumn] = next(answer)
        if not columns:
            answer.close()
            raise StatementFaultError(NO_ROWS)
        return AnswerRows(tuple(columns), answer)

    def _read(self, text: str, limit: int, *, wraps: bool) -> Generator[Any, None, None]:
        """Give the columns, and then rows as they come. To stop early ends the statement."""
        # A line break, since the statement may end with a comment.
        run = f"SELECT * FROM ({text}\n) LIMIT {limit:d}" if wraps else text  # noqa: S608 - a person's
        left = max(self._until - time.monotonic(), 0.001)
        settings = {"readonly": 1, "max_execution_time": left}
        with self._bounded(), self._connection.stream(run, settings) as lines:
            names, types, rows = read_answer(lines)
            columns = [
                AnswerColumn(name, type_, choose_form(type_))
                for name, type_ in zip(names, types, strict=True)
            ]
            yield columns
            for number, row in enumerate(rows):
                if number == limit:
                    return
                if time.monotonic() > self._until:
                    raise self._make_overdue()
                yield _spell_row(columns, row)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Say in ClickHouse's words what is wrong; where it was ended, that it took too long."""
        try:
            yield
        except UnicodeEncodeError as error:
            raise StatementFaultError("The statement is not Unicode.") from error
        except self._connection.errors as error:
            code = error_code(error)
            if code in OVERDUE or time.monotonic() > self._until:
                raise self._make_overdue() from error
            if not code:
                raise DestinationUnavailableError(server_message(error)) from error
            raise StatementFaultError(server_message(error)) from error

    def _make_overdue(self) -> StatementOverdueError:
        return StatementOverdueError(
            f"The statement took longer than {self._seconds:g} s and was ended."
        )


@contextmanager
def open_asking(
    connection: ClickhouseConnection, identity: str, seconds: float
) -> Iterator[ClickhouseAsking]:
    """Give a session for one question, and close the connection at the end."""
    try:
        yield ClickhouseAsking(connection, identity, seconds)
    finally:
        connection.close()


def choose_form(type_: str) -> ValueForm:
    """Return the form of the texts of a type, as ClickHouse spells it."""
    kind = strip_type(type_)
    if kind == "Bool":
        return ValueForm.BOOLEAN
    if kind.startswith(("Int", "UInt", "Float", "Decimal", "BFloat")):
        return ValueForm.NUMBER if not kind.startswith("Interval") else ValueForm.TEXT
    if kind.startswith("DateTime"):
        return ValueForm.INSTANT
    if kind.startswith(("Array", "Map", "Tuple", "JSON", "Nested", "Variant", "Dynamic")):
        return ValueForm.JSON
    return ValueForm.TEXT


_SPECIAL_NUMBERS: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _spell_row(columns: Sequence[AnswerColumn], row: Sequence[Any]) -> AnswerRow:
    return [
        None if value is None else spell_answer(column.form, value)
        for column, value in zip(columns, row, strict=True)
    ]


def spell_answer(form: ValueForm, value: Any) -> str:
    """Return a value of an answer in the spelling of its form."""
    match form:
        case ValueForm.BOOLEAN:
            return "true" if value else "false"
        case ValueForm.NUMBER:
            return _SPECIAL_NUMBERS.get(str(value), str(value))
        case ValueForm.INSTANT:
            at = read_instant(value).replace(tzinfo=None).isoformat()
            return f"{at.rstrip('0')}Z" if "." in at else f"{at}Z"
        case ValueForm.JSON:
            return json.dumps(value, default=float, ensure_ascii=False)
        case _:
            return value if isinstance(value, str) else json.dumps(value, default=float)
