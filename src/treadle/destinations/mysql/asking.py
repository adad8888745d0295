"""Questions to MySQL: one statement in a transaction for reading, on a connection of its own."""

import base64
import re
from collections.abc import Generator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor

from treadle.destinations.asking import AnswerColumn, RoleRights, StatementFaultError, ValueForm
from treadle.destinations.mysql.connection import MysqlConnection
from treadle.destinations.mysql.errors import INTERRUPTED, error_number, server_message
from treadle.destinations.protocol import DestinationUnavailableError, LoadSession
from treadle.destinations.sql.asking import NO_ROWS, WRAPPED_ONLY, SqlAsking, wrap_statement
from treadle.destinations.sql.stepped_session import SteppedSession, SteppedTransactions
from treadle.destinations.sql.text import Quoted
from treadle.errors import TreadleError

DANGEROUS_RIGHTS: Final = ("FILE", "SHUTDOWN", "SUPER")
"""Rights with which a statement reaches the machine of the server, or other sessions."""

_GRANT: Final = re.compile(r"GRANT (?P<rights>[A-Z_ ,]+) ON \*\.\* TO ")
"""A line of SHOW GRANTS with rights to everything. Those of roles that are active have lines."""

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


class MysqlAsking(SqlAsking):
    """A session for one question; see `AskedSession`."""

    _connection: MysqlConnection
    faults = (pymysql.Error, UnicodeEncodeError)
    readable = Quoted(
        """
        SELECT DISTINCT table_schema FROM information_schema.tables
        WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys', $1)
        """
    )
    newest_first = "{at} DESC, {sequence} DESC"

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return SteppedSession(SteppedTransactions(self._connection, read_only=True))

    def find_rights(self) -> RoleRights:
        """Return the rights of the user of the log-in, with those of its active roles."""
        [(user,)] = self._ask(Quoted("SELECT CURRENT_USER()"))
        held: set[str] = set()
        for (line,) in self._ask(Quoted("SHOW GRANTS")):
            found = _GRANT.match(line)
            held.update(found["rights"].split(", ") if found else ())
        dangerous = [one for one in DANGEROUS_RIGHTS if held & {one, "ALL PRIVILEGES"}]
        return RoleRights(str(user), tuple(f"allowed {one}" for one in dangerous))

    def _begin(self) -> None:
        self._connection.run(Quoted("START TRANSACTION READ ONLY"))

    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        # By itself, so that it is one statement whatever is put around it, and runs only if it
        # gives rows.
        with self._bounded(lambda error: self._judge_fault(error, wraps=False)):
            columns, parameters = self._connection.driver.describe_statement(text)
        if parameters:
            raise StatementFaultError("Expected a statement without parameters such as ?.")
        if not columns:
            raise StatementFaultError(NO_ROWS)
        run = wrap_statement(text, limit) if wraps else text
        cursor = self._connection.driver.cursor(SSCursor)
        with self._bounded(lambda error: self._judge_fault(error, wraps=wraps)):
            cursor.execute(run)
        described = tuple(
            AnswerColumn(field.name, _TYPES.get(field.type_code, "text"), _find_form(field))
            for field in cursor._result.fields
        )
        return described, self._fetch(cursor)

    def _fetch(self, cursor: SSCursor) -> Generator[Sequence[Any], None, None]:
        try:
            while (row := cursor.fetchone()) is not None:
                yield row
        finally:
            self._connection.end_rows(cursor)

    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        number = error_number(error)
        if isinstance(error, UnicodeEncodeError):
            return StatementFaultError("The statement is not Unicode.")
        if not number or 2000 <= number < 2100:
            return DestinationUnavailableError(server_message(error))
        if wraps and number == 1064:
            # By itself it was parsed, so what is wrong is where it stands.
            return StatementFaultError(WRAPPED_ONLY)
        return StatementFaultError(server_message(error))

    def _is_interrupted(self, error: Exception) -> bool:
        return error_number(error) in INTERRUPTED

    def _spell_value(self, form: ValueForm, value: Any) -> str:
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
