"""Questions to Snowflake: one statement, on a connection of its own.

The service knows no session that only reads. So with the login that loads nothing is run but what
stands where a table can stand; a login for questions may what its role may.
"""

import base64
import json
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from snowflake.connector.constants import FIELD_ID_TO_NAME
from snowflake.connector.cursor import SnowflakeCursor

from treadle.destinations.asking import AnswerColumn, RoleRights, StatementFaultError, ValueForm
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    LoadSession,
)
from treadle.destinations.snowflake.connection import SnowflakeConnection
from treadle.destinations.snowflake.errors import (
    INTERRUPTED,
    error_number,
    is_unanswered,
    server_message,
    translate,
)
from treadle.destinations.sql.asking import WRAPPED_ONLY, SqlAsking, wrap_statement
from treadle.destinations.sql.stepped_session import SteppedSession, SteppedTransactions
from treadle.destinations.sql.text import Quoted
from treadle.errors import TreadleError

DANGEROUS_ROLES: Final = ("ACCOUNTADMIN", "ORGADMIN", "SECURITYADMIN")
"""Roles that reach other users, whatever is granted to them."""

_FORMS: Final = {
    "FIXED": ValueForm.NUMBER,
    "REAL": ValueForm.NUMBER,
    "BOOLEAN": ValueForm.BOOLEAN,
    "BINARY": ValueForm.BLOB,
    **dict.fromkeys(("VARIANT", "OBJECT", "ARRAY"), ValueForm.JSON),
    **dict.fromkeys(("TIMESTAMP_TZ", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ"), ValueForm.INSTANT),
}
_TYPES: Final = {"FIXED": "number", "REAL": "float", "TEXT": "varchar"}
_SPECIAL_NUMBERS: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class SnowflakeAsking(SqlAsking):
    """A session for one question; see `AskedSession`."""

    _connection: SnowflakeConnection
    faults = SnowflakeConnection.errors
    readable = Quoted(
        "SELECT DISTINCT LOWER(table_schema) FROM information_schema.tables"
        " WHERE table_schema NOT IN ('INFORMATION_SCHEMA', UPPER($1))"
    )

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return SteppedSession(SteppedTransactions(self._connection, read_only=True))

    def find_rights(self) -> RoleRights:
        """Return the role, and what it is dangerous for."""
        [(role,)] = self._ask(Quoted("SELECT CURRENT_ROLE()"))
        dangerous = (f"the role {role}",) if str(role).upper() in DANGEROUS_ROLES else ()
        return RoleRights(str(role), dangerous)

    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        # By itself, so that it is one statement whatever is put around it.
        with self._bounded(lambda error: self._judge_fault(error, wraps=False)):
            self._connection.describe_statement(text)
        asking = self._connection.ask(wrap_statement(text, limit) if wraps else text)
        with self._bounded(lambda error: self._judge_fault(error, wraps=wraps)):
            cursor, batches = asking.__enter__()
        return describe_columns(cursor), self._fetch(asking, batches)

    def _fetch(
        self, asking: Any, batches: Iterator[list[tuple[Any, ...]]]
    ) -> Generator[Sequence[Any], None, None]:
        try:
            for rows in batches:
                yield from rows
        finally:
            asking.__exit__(None, None, None)

    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        if isinstance(error, UnicodeEncodeError):
            return StatementFaultError("The statement is not Unicode.")
        if is_unanswered(error):
            return DestinationUnavailableError(server_message(error))
        if wraps and error_number(error) == 1003:
            # By itself it was parsed, so what is wrong is where it stands.
            return StatementFaultError(WRAPPED_ONLY)
        meaning = translate(error)
        if isinstance(meaning, DestinationUnavailableError) and not isinstance(
            meaning, AccessDeniedError
        ):
            return meaning
        return StatementFaultError(server_message(error))

    def _is_interrupted(self, error: Exception) -> bool:
        return error_number(error) in INTERRUPTED

    def _spell_value(self, form: ValueForm, value: Any) -> str:
        return spell_answer(form, value)


def describe_columns(cursor: SnowflakeCursor) -> tuple[AnswerColumn, ...]:
    """Return the columns of the rows that a cursor has."""
    found = []
    for column in cursor.description:
        kind = FIELD_ID_TO_NAME[column.type_code]
        form = _FORMS.get(kind, ValueForm.TEXT)
        found.append(AnswerColumn(column.name, _TYPES.get(kind, kind.lower()), form))
    return tuple(found)


def spell_answer(form: ValueForm, value: Any) -> str:
    """Return a value of an answer in the spelling of its form."""
    match value:
        case bool():
            return "true" if value else "false"
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case datetime():
            at = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            text = at.isoformat()
            return f"{text.rstrip('0')}Z" if "." in text else f"{text}Z"
        case Decimal():
            return format(value, "f")
        case float():
            return _SPECIAL_NUMBERS.get(repr(value), repr(value))
        case str() if form is ValueForm.JSON:
            return json.dumps(json.loads(value), ensure_ascii=False)  # sent with line breaks
        case _:
            return str(value)
