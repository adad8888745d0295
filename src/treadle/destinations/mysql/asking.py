"""Questions to MySQL: one statement in a transaction for reading, on a connection of its own."""

import base64
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor

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
from treadle.destinations.mysql.connection import MysqlConnection
from treadle.destinations.mysql.errors import INTERRUPTED, error_number, server_message, translate
from treadle.destinations.protocol import DestinationUnavailableError, LoadSession
from treadle.destinations.sql.catalogue import OWNERS, list_owners
from treadle.destinations.sql.stepped_session import SteppedSession, SteppedTransactions
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables.schema_owner import SchemaOwner

PREFIX: Final = "SELECT * FROM ("

BEGIN_READING: Final = Quoted("START TRANSACTION READ ONLY")

DANGEROUS_RIGHTS: Final = ("FILE", "SHUTDOWN", "SUPER")
"""Rights with which a statement reaches the machine of the server, or other sessions."""

RIGHTS: Final = Quoted(
    """
    SELECT CURRENT_USER(), privilege_type FROM information_schema.user_privileges
    WHERE grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')
    """
)

READABLE: Final = Quoted(
    """
    SELECT DISTINCT table_schema FROM information_schema.tables
    WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys', $1)
    """
)

_FORMS: Final = {
    FIELD_TYPE.JSON: ValueForm.JSON,
    FIELD_TYPE.DATETIME: ValueForm.INSTANT,
    FIELD_TYPE.TIMESTAMP: ValueForm.INSTANT,
    **dict.fromkeys(
        (
            *(FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG),
            *(FIELD_TYPE.INT24, FIELD_TYPE.YEAR, FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE),
            *(FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL),
        ),
        ValueForm.NUMBER,
    ),
}

_TYPES: Final = {
    number: name.lower()
    for name, number in vars(FIELD_TYPE).items()
    if name.isupper() and name not in ("CHAR", "INTERVAL")
} | {FIELD_TYPE.LONGLONG: "bigint", FIELD_TYPE.NEWDECIMAL: "decimal", FIELD_TYPE.TINY: "tinyint"}

NO_ROWS: Final = "The statement gives no rows. Only one that reads is run here."

WRAPPED_ONLY: Final = (
    "Only a SELECT that gives rows is run here. EXPLAIN, SHOW and others need a role of their own "
    "for questions: the operator names one in the setting query_url."
)


class MysqlAsking:
    """A session for one question; see `AskedSession`.

    Args:
        connection: in a transaction for reading.
        seconds: after which a statement is ended.
    """

    def __init__(self, connection: MysqlConnection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._is_overdue = False

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return SteppedSession(SteppedTransactions(self._connection, read_only=True))

    def find_rights(self) -> RoleRights:
        """Return the rights of the user of the log-in."""
        rows = self._ask(RIGHTS)
        if not rows:
            return RoleRights()
        held = {str(right) for _, right in rows}
        return RoleRights(
            str(rows[0][0]), tuple(f"allowed {one}" for one in DANGEROUS_RIGHTS if one in held)
        )

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas in which the user can read something: no others are shown."""
        return frozenset(str(name) for (name,) in self._ask(READABLE, PRIVATE_SCHEMA))

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that the database records; None where the user cannot read them."""
        try:
            if not self._connection.holds_own_table(OWNERS.name):
                return None
            return list_owners(self._connection)
        except pymysql.Error as error:
            if error_number(error) in (1142, 1143):
                return None
            raise translate(error) from error

    def _ask(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(statement, *values)
        except pymysql.Error as error:
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
        with self._bounded():
            # Alone, so that it is one statement whatever is put around it.
            self._connection.run(Quoted("PREPARE treadle_question FROM $1"), text)
        # A line break, since the statement may end with a comment.
        run = f"{PREFIX}{text}\n) AS q LIMIT {limit:d}" if wraps else text
        cursor = self._connection.driver.cursor(SSCursor)
        with self._bounded(wraps=wraps):
            cursor.execute(run)
        described = cursor._result.fields if cursor.description else []
        if not described:
            raise StatementFaultError(NO_ROWS)
        columns = tuple(
            AnswerColumn(field.name, _TYPES.get(field.type_code, "text"), _find_form(field))
            for field in described
        )
        return AnswerRows(columns, self._read(cursor, columns, limit))

    def _read(
        self, cursor: SSCursor, columns: Sequence[AnswerColumn], limit: int
    ) -> Iterator[AnswerRow]:
        """Read rows as they come. To stop early ends the statement."""
        forms = [column.form for column in columns]
        try:
            with self._bounded():
                for row in islice(iter(cursor.fetchone, None), limit):
                    if time.monotonic() > self._until:
                        raise self._make_overdue()
                    yield [
                        None if value is None else spell_answer(form, value)
                        for form, value in zip(forms, row, strict=True)
                    ]
        finally:
            self._connection.end_rows(cursor)

    @contextmanager
    def _bounded(self, *, wraps: bool = False) -> Iterator[None]:
        """Say in MySQL's words what is wrong; where it was ended, that it took too long."""
        try:
            yield
        except UnicodeEncodeError as error:
            raise StatementFaultError("The statement is not Unicode.") from error
        except pymysql.Error as error:
            number = error_number(error)
            if self._is_overdue or number in INTERRUPTED:
                raise self._make_overdue() from error
            if not number or 2000 <= number < 2100:
                raise DestinationUnavailableError(server_message(error)) from error
            if wraps and number == 1064:
                # By itself it was parsed, so what is wrong is where it stands.
                raise StatementFaultError(WRAPPED_ONLY) from error
            raise StatementFaultError(server_message(error)) from error

    def _make_overdue(self) -> StatementOverdueError:
        return StatementOverdueError(
            f"The statement took longer than {self._seconds:g} s and was ended."
        )

    def end(self) -> None:
        """End the statement that runs; may be called from any thread."""
        self._is_overdue = True
        self._connection.interrupt()


@contextmanager
def open_asking(connection: MysqlConnection, seconds: float) -> Iterator[MysqlAsking]:
    """Give a session for one question, and close the connection at the end."""
    asking = MysqlAsking(connection, seconds)
    timer = threading.Timer(seconds, asking.end)
    timer.daemon = True
    try:
        try:
            connection.run(BEGIN_READING)
        except pymysql.Error as error:
            raise translate(error) from error
        timer.start()
        yield asking
    finally:
        timer.cancel()
        connection.close()


def _find_form(field: Any) -> ValueForm:
    if field.charsetnr == 63 and field.type_code in (
        FIELD_TYPE.BLOB,
        FIELD_TYPE.LONG_BLOB,
        FIELD_TYPE.MEDIUM_BLOB,
        FIELD_TYPE.STRING,
        FIELD_TYPE.TINY_BLOB,
        FIELD_TYPE.VAR_STRING,
    ):
        return ValueForm.BLOB
    return _FORMS.get(field.type_code, ValueForm.TEXT)


def spell_answer(form: ValueForm, value: Any) -> str:
    """Return a value in the spelling of its form."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            at = value.isoformat()
            return f"{at.rstrip('0')}Z" if "." in at else f"{at}Z"
        case Decimal():
            return format(value, "f")
        case bool() | int() | float():
            return repr(value)
        case _:
            return str(value)
