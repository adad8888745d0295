"""Questions by psycopg 3: one statement in a transaction for reading, on a connection of its own.

The transaction is never committed.
"""

import base64
import re
from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, Final

import psycopg
from psycopg import pq
from psycopg.types.string import TextLoader

from treadle.destinations.asking import AnswerColumn, StatementFaultError, ValueForm
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.libpq.connection import LibpqConnection
from treadle.destinations.libpq.errors import server_message
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.sql.asking import (
    NO_ROWS,
    PREFIX,
    WRAPPED_ONLY,
    SqlAsking,
    wrap_statement,
)
from treadle.destinations.sql.catalogue import OWNERS
from treadle.destinations.sql.text import Quoted
from treadle.errors import TreadleError

STREAMED_ROWS: Final = 100
"""Rows that come together, where libpq can do so (17 or newer): one by one takes longer."""

OWNERS_READABLE: Final = Quoted(
    """
    SELECT 1 FROM pg_catalog.pg_class r
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
    WHERE n.nspname = $1 AND r.relname = $2
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_table_privilege(r.oid, 'SELECT')
    """
)

FORMS: Final = {
    16: ValueForm.BOOLEAN,
    17: ValueForm.BLOB,
    114: ValueForm.JSON,
    1184: ValueForm.INSTANT,
    3802: ValueForm.JSON,
    # smallint, integer, bigint, oid, real, double precision, numeric
    **dict.fromkeys((21, 23, 20, 26, 700, 701, 1700), ValueForm.NUMBER),
}
"""Ids of types, which are the same in every PostgreSQL."""

CANCELED: Final = "57014"
"""The SQLSTATE of a statement that was ended."""

_BOOLEANS: Final = {"t": "true", "f": "false"}

_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(?:\+00)?")


class LibpqAsking(SqlAsking):
    """A session for one question; see `AskedSession`."""

    _connection: LibpqConnection
    faults = (psycopg.Error,)
    forms: ClassVar[Mapping[int, ValueForm]] = FORMS

    def _may_read_owners(self) -> bool:
        return bool(self._ask(OWNERS_READABLE, PRIVATE_SCHEMA, OWNERS.name))

    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        if "\0" in text:
            raise StatementFaultError("A statement has no character of the code 0.")
        columns = self._describe(text)
        run = wrap_statement(text, limit) if wraps else text
        cursor = self._connection.driver.cursor()
        for known in cursor.adapters.types:
            for oid in filter(None, (known.oid, known.array_oid)):
                cursor.adapters.register_loader(oid, TextLoader)
        return columns, _stream(cursor, run)

    def _describe(self, text: str) -> tuple[AnswerColumn, ...]:
        """Have the server parse a statement alone, and run nothing; return its columns.

        So it is one statement that gives rows, whatever it looks like in what is put around it; and
        what is wrong with it is told by its own positions.

        Raises:
            StatementFaultError: it is not, or it cannot be parsed.
        """
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise StatementFaultError("The statement is not Unicode.") from error
        pgconn = self._connection.driver.pgconn
        with self._bounded(lambda error: self._judge_fault(error, wraps=False)):
            parsed = pgconn.prepare(b"", raw)
            if parsed.status != pq.ExecStatus.COMMAND_OK:
                raise self._judge_parse(parsed)
            found = pgconn.describe_prepared(b"")
            if found.nparams:
                raise StatementFaultError("Expected a statement without parameters such as $1.")
            if not found.nfields:
                raise StatementFaultError(NO_ROWS)
            oids = [found.ftype(at) for at in range(found.nfields)]
            types = self._name_types([(oid, found.fmod(at)) for at, oid in enumerate(oids)])
        return tuple(
            AnswerColumn(
                (found.fname(at) or b"").decode("utf-8", "replace"),
                type_,
                self.forms.get(oids[at], ValueForm.TEXT),
            )
            for at, type_ in enumerate(types)
        )

    @abstractmethod
    def _name_types(self, kinds: Sequence[tuple[int, int]]) -> list[str]:
        """Return what types are called, each by its id and its modifier."""

    def _judge_parse(self, parsed: "pq.abc.PGresult") -> TreadleError:
        """Return what it means that a statement was not parsed."""
        words = _read_field(parsed, pq.DiagnosticField.MESSAGE_PRIMARY)
        state = _read_field(parsed, pq.DiagnosticField.SQLSTATE)
        at = _read_field(parsed, pq.DiagnosticField.STATEMENT_POSITION)
        if self._is_overdue or state == CANCELED:
            return self._make_overdue()
        if not words:
            return DestinationUnavailableError(f"the connection to {self._connection.server} broke")
        if words.startswith("cannot insert multiple commands"):
            return StatementFaultError("Expected one statement, found several.")
        return StatementFaultError(f"ERROR: {words}", int(at) - 1 if at.isdigit() else None)

    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        assert isinstance(error, psycopg.Error)  # noqa: S101 - for the type
        state = error.sqlstate
        if state is None and isinstance(error, psycopg.ProgrammingError):
            return StatementFaultError(NO_ROWS)
        if state is None or state.startswith(("08", "57P", "53")):
            return DestinationUnavailableError(server_message(error))
        if wraps and state == "42601":
            # By itself it was parsed, so what is wrong is where it stands.
            return StatementFaultError(WRAPPED_ONLY)
        at = error.diag.statement_position
        shift = len(PREFIX) if wraps else 0
        place = int(at) - 1 - shift if at and at.isdigit() else None
        if place is not None and place < 0:
            place = None
        return StatementFaultError(server_message(error), place)

    def _is_interrupted(self, error: Exception) -> bool:
        return isinstance(error, psycopg.Error) and error.sqlstate == CANCELED

    def _spell_value(self, form: ValueForm, value: Any) -> str:
        text = str(value)
        match form:
            case ValueForm.BOOLEAN:
                return _BOOLEANS.get(text, text)
            case ValueForm.BLOB:
                return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()
            case ValueForm.INSTANT:
                found = _INSTANT.fullmatch(text)
                return f"{found[1]}T{found[2]}Z" if found else text
        return text


def _stream(
    cursor: psycopg.Cursor[tuple[Any, ...]], run: str
) -> Generator[tuple[Any, ...], None, None]:
    """Give the rows of a statement; the extended protocol takes one statement alone."""
    size = STREAMED_ROWS if psycopg.capabilities.has_stream_chunked() else 1
    yield from cursor.stream(run.encode(), size=size)


def _read_field(result: "pq.abc.PGresult", name: pq.DiagnosticField) -> str:
    return (result.error_field(name) or b"").decode("utf-8", "replace")
