"""Questions to ClickHouse: one statement that only reads, on a connection of its own."""

import json
import time
from collections.abc import Generator, Sequence
from typing import Any, Final

from treadle.destinations.asking import (
    AnswerColumn,
    RoleRights,
    StatementFaultError,
    ValueForm,
)
from treadle.destinations.clickhouse.connection import ClickhouseConnection
from treadle.destinations.clickhouse.errors import OVERDUE, error_code, server_message
from treadle.destinations.clickhouse.row_format import read_answer, read_instant, strip_type
from treadle.destinations.clickhouse.session import ClickhouseSession, ClickhouseTransactions
from treadle.destinations.protocol import DestinationUnavailableError, LoadSession
from treadle.destinations.sql.asking import NO_ROWS, SqlAsking, wrap_statement
from treadle.destinations.sql.text import Quoted
from treadle.errors import TreadleError


class ClickhouseAsking(SqlAsking):
    """A session for one question; see `AskedSession`.

    With `readonly = 1` the server runs nothing but what reads its own tables: no setting is
    changed, and no file, URL or other server is asked.

    Args:
        connection: for reading.
        identity: of the destination.
        seconds: after which a statement is ended.
    """

    _connection: ClickhouseConnection
    faults = ClickhouseConnection.errors
    readable = Quoted(
        "SELECT DISTINCT database FROM system.tables"
        " WHERE database NOT IN ('INFORMATION_SCHEMA', 'information_schema', 'system', $1)"
    )

    def __init__(self, connection: ClickhouseConnection, identity: str, seconds: float) -> None:
        super().__init__(connection, seconds)
        self._identity = identity

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

    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        answer = self._read(wrap_statement(text, limit) if wraps else text)
        with self._bounded(lambda error: self._judge_fault(error, wraps=wraps)):
            columns: tuple[AnswerColumn, ...] = next(answer)
        if not columns:
            answer.close()
            raise StatementFaultError(NO_ROWS)
        return columns, answer

    def _read(self, statement: str) -> Generator[Any, None, None]:
        """Give the columns, and then rows as they come. To stop early ends the statement."""
        left = max(self._until - time.monotonic(), 0.001)
        settings = {"readonly": 1, "max_execution_time": left}
        with self._connection.stream(statement, settings) as lines:
            names, types, rows = read_answer(lines)
            yield tuple(
                AnswerColumn(name, type_, choose_form(type_))
                for name, type_ in zip(names, types, strict=True)
            )
            yield from rows

    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        if isinstance(error, UnicodeEncodeError):
            return StatementFaultError("The statement is not Unicode.")
        if not error_code(error):
            return DestinationUnavailableError(server_message(error))
        return StatementFaultError(server_message(error))

    def _is_interrupted(self, error: Exception) -> bool:
        return error_code(error) in OVERDUE or time.monotonic() > self._until

    def _spell_value(self, form: ValueForm, value: Any) -> str:
        return spell_answer(form, value)


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
