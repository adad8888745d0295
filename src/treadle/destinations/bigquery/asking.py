"""Questions to BigQuery: one SELECT, billed for no more than a bound."""

import base64
import json
import time
from collections.abc import Generator, Sequence
from typing import Any, Final

from treadle.destinations.asking import AnswerColumn, RoleRights, StatementFaultError, ValueForm
from treadle.destinations.bigquery.connection import BigqueryConnection
from treadle.destinations.bigquery.errors import find_reason, service_message, translate
from treadle.destinations.bigquery.session import BigquerySession, BigqueryTransactions
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.protocol import DestinationUnavailableError, LoadSession
from treadle.destinations.sql.asking import NO_ROWS, SqlAsking, wrap_statement
from treadle.destinations.sql.text import Quoted
from treadle.errors import TreadleError

_FORMS: Final = {
    "BOOLEAN": ValueForm.BOOLEAN,
    "BYTES": ValueForm.BLOB,
    "JSON": ValueForm.JSON,
    "RECORD": ValueForm.JSON,
    "TIMESTAMP": ValueForm.INSTANT,
    **dict.fromkeys(("BIGNUMERIC", "FLOAT", "INTEGER", "NUMERIC"), ValueForm.NUMBER),
}

_SPECIAL_NUMBERS: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class BigqueryAsking(SqlAsking):
    """A session for one question; see `AskedSession`.

    BigQuery itself says what a statement is before it runs: nothing but a SELECT is run.

    Args:
        connection: for reading.
        identity: of the destination.
        seconds: after which a statement is ended.
    """

    _connection: BigqueryConnection
    faults = BigqueryConnection.errors

    def __init__(self, connection: BigqueryConnection, identity: str, seconds: float) -> None:
        super().__init__(connection, seconds)
        self._identity = identity

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return BigquerySession(
            BigqueryTransactions(self._connection, self._identity, read_only=True)
        )

    def find_rights(self) -> RoleRights:
        """Return the account. None of its rights is dangerous for a statement that only reads."""
        [(user,)] = self._ask(Quoted("SELECT SESSION_USER()"))
        return RoleRights(str(user))

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the datasets of the project that the account sees."""
        try:
            return frozenset(self._connection.list_schemas()) - {PRIVATE_SCHEMA}
        except self.faults as error:
            raise translate(error) from error

    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        with self._bounded(lambda error: self._judge_fault(error, wraps=wraps)):
            if self._connection.describe_statement(text) != "SELECT":
                raise StatementFaultError(NO_ROWS)
            _, found = self._connection.run_job(
                wrap_statement(text, limit) if wraps else text,
                job_timeout_ms=max(int((self._until - time.monotonic()) * 1000), 1),
                **self._connection.bounds,
            )
        columns = tuple(
            AnswerColumn(field.name, field.field_type, find_form(field)) for field in found.schema
        )
        return columns, (row.values() for row in found)

    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        fault = translate(error)
        if isinstance(fault, DestinationUnavailableError):
            return fault
        return StatementFaultError(service_message(error))

    def _is_interrupted(self, error: Exception) -> bool:
        return find_reason(error) in ("stopped", "timeout") or time.monotonic() > self._until

    def _spell_value(self, form: ValueForm, value: Any) -> str:
        return spell_answer(form, value)


def find_form(field: Any) -> ValueForm:
    """Return the form of the texts of a field of an answer."""
    if field.mode == "REPEATED":
        return ValueForm.JSON
    return _FORMS.get(field.field_type, ValueForm.TEXT)


def spell_answer(form: ValueForm, value: Any) -> str:
    """Return a value of an answer in the spelling of its form."""
    match form:
        case ValueForm.BOOLEAN:
            return "true" if value else "false"
        case ValueForm.NUMBER:
            text = format(value, "f") if hasattr(value, "quantize") else repr(value)
            return _SPECIAL_NUMBERS.get(text, text)
        case ValueForm.INSTANT:
            at = value.replace(tzinfo=None).isoformat()
            return f"{at.rstrip('0')}Z" if "." in at else f"{at}Z"
        case ValueForm.BLOB:
            return base64.b64encode(value).decode()
        case ValueForm.JSON:
            return json.dumps(value, default=str, ensure_ascii=False)
        case _:
            return str(value)
