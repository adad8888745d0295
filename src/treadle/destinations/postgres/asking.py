"""Questions to PostgreSQL: one statement in a transaction for reading, on a connection of its own.

The transaction is never committed. A connection is used for one question, so that nothing that a
statement sets, locks or prepares is there for the next one.
"""

import base64
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.types.string import TextLoader

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
from treadle.destinations.postgres.connection import PostgresConnection
from treadle.destinations.postgres.errors import server_message, translate
from treadle.destinations.protocol import DestinationUnavailableError, LoadSession
from treadle.destinations.sql.catalogue import OWNERS, list_owners
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.sql.text import Quoted, compose
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.errors import OperatorError, RetriableError
from treadle.tables.schema_owner import SchemaOwner

PREFIX: Final = "SELECT * FROM ("

CANCEL_SECONDS_MAX: Final = 2.0
"""How long PostgreSQL is asked to end a statement, before the connection is closed."""

STREAMED_ROWS: Final = 100
"""Rows that come together, where libpq can do so (17 or newer): one by one takes longer."""

BEGIN_READING: Final = Quoted("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

DANGEROUS_ROLES: Final = (
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
)
"""Roles whose members reach the machine of the server."""

# The role of the log-in counts, and each one that it can become: a statement can call set_config.
RIGHTS: Final = Quoted(
    """
    SELECT me.rolname, me.rolsuper,
      ARRAY(
        SELECT one.rolname::text FROM pg_catalog.pg_roles one
        WHERE (one.rolname::text = ANY ($1::text[]) OR one.rolsuper)
          AND pg_catalog.pg_has_role(me.oid, one.oid, 'MEMBER')
        ORDER BY one.rolname
      )
    FROM pg_catalog.pg_roles me WHERE me.rolname = session_user
    """
)

READABLE: Final = Quoted(
    """
    SELECT DISTINCT n.nspname
    FROM pg_catalog.pg_class r
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
    JOIN pg_catalog.pg_roles me ON pg_catalog.pg_has_role(session_user, me.oid, 'MEMBER')
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', $1)
      AND pg_catalog.has_schema_privilege(me.oid, n.oid, 'USAGE')
      AND CASE r.relkind
        WHEN 'S' THEN pg_catalog.has_sequence_privilege(me.oid, r.oid, 'SELECT')
        ELSE pg_catalog.has_table_privilege(me.oid, r.oid, 'SELECT')
          OR pg_catalog.has_any_column_privilege(me.oid, r.oid, 'SELECT')
      END
    """
)

OWNERS_READABLE: Final = Quoted(
    """
    SELECT 1 FROM pg_catalog.pg_class r
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
    WHERE n.nspname = $1 AND r.relname = $2
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND pg_catalog.has_table_privilege(r.oid, 'SELECT')
    """
)

TYPES: Final = Quoted(
    """
    SELECT pg_catalog.format_type(one.oid::oid, one.modifier::int4)
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS one (oid, modifier, number)
    ORDER BY one.number
    """
)

_FORMS: Final = {
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

NO_ROWS: Final = "The statement gives no rows. Only one that reads is run here."

_BOOLEANS: Final = {"t": "true", "f": "false"}

_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\+00")

WRAPPED_ONLY: Final = (
    "Only a SELECT that gives rows is run here. EXPLAIN, SHOW and others need a role of their own "
    "for questions: the operator names one in the setting query_url."
)


class PostgresAsking:
    """A session for one question; see `AskedSession`.

    Args:
        driver: in a transaction for reading.
        seconds: after which a statement is ended.
    """

    def __init__(self, driver: psycopg.Connection[tuple[Any, ...]], seconds: float) -> None:
        self._driver = driver
        self._connection = PostgresConnection(driver)
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._is_overdue = False

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions."""
        return SqlSession(SqlTransactions(self._connection))

    def find_rights(self) -> RoleRights:
        """Return the rights of the role of the log-in, and of each one that it can become."""
        rows = self._ask(RIGHTS, list(DANGEROUS_ROLES))
        if not rows:
            return RoleRights()
        [(role, superuser, others)] = rows
        if superuser:
            return RoleRights(role, ("a superuser",))
        return RoleRights(role, tuple(f"a member of {other}" for other in others))

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas in which the role, or one that it can become, can read something."""
        return frozenset(str(name) for (name,) in self._ask(READABLE, PRIVATE_SCHEMA))

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that the database records; None where the role cannot read them."""
        if not self._ask(OWNERS_READABLE, PRIVATE_SCHEMA, OWNERS.name):
            return None
        try:
            return list_owners(self._connection)
        except psycopg.Error as error:
            raise translate(error) from error

    def _ask(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(statement, *values)
        except psycopg.Error as error:
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
        return self.read_statement(statement, limit, wraps=True)

    def read_statement(self, statement: str, limit: int, *, wraps: bool) -> AnswerRows:
        """Run one statement of a person's; see `AskedSession`."""
        text = strip_end(statement)
        if not text:
            raise StatementFaultError("Expected one statement, found none.")
        if "\0" in text:
            raise StatementFaultError("A statement has no character of the code 0.")
        columns = self._describe(text)
        # A line break, since the statement may end with a comment.
        run = f"{PREFIX}{text}\n) AS q LIMIT {limit:d}" if wraps else text
        return AnswerRows(columns, self._read(run, columns, limit, wraps=wraps))

    def _describe(self, text: str) -> tuple[AnswerColumn, ...]:
        """Have PostgreSQL parse a statement alone, and run nothing; return its columns.

        So it is one statement that gives rows, whatever it looks like in what is put around it; and
        what is wrong with it is told by its own positions.

        Raises:
            StatementFaultError: it is not, or it cannot be parsed.
        """
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise StatementFaultError("The statement is not Unicode.") from error
        with self._bounded():
            parsed = self._driver.pgconn.prepare(b"", raw)
            if parsed.status != pq.ExecStatus.COMMAND_OK:
                raise self._judge_parse(parsed)
            found = self._driver.pgconn.describe_prepared(b"")
            if found.nparams:
                raise StatementFaultError("Expected a statement without parameters such as $1.")
            if not found.nfields:
                raise StatementFaultError(NO_ROWS)
            oids = [found.ftype(at) for at in range(found.nfields)]
            types = self._connection.rows(
                TYPES, list(map(str, oids)), [str(found.fmod(at)) for at in range(found.nfields)]
            )
        return tuple(
            AnswerColumn(
                (found.fname(at) or b"").decode("utf-8", "replace"),
                str(type_),
                _FORMS.get(oids[at], ValueForm.TEXT),
            )
            for at, (type_,) in enumerate(types)
        )

    def _judge_parse(self, parsed: "pq.abc.PGresult") -> OperatorError | RetriableError:
        """Return what it means that a statement was not parsed."""
        words = _read_field(parsed, pq.DiagnosticField.MESSAGE_PRIMARY)
        state = _read_field(parsed, pq.DiagnosticField.SQLSTATE)
        at = _read_field(parsed, pq.DiagnosticField.STATEMENT_POSITION)
        if self._is_overdue or state == CANCELED:
            return self._make_overdue()
        if not words:
            return DestinationUnavailableError("the connection to PostgreSQL broke")
        if words.startswith("cannot insert multiple commands"):
            return StatementFaultError("Expected one statement, found several.")
        return StatementFaultError(f"ERROR: {words}", int(at) - 1 if at.isdigit() else None)

    def _read(
        self, run: str, columns: Sequence[AnswerColumn], limit: int, *, wraps: bool
    ) -> Iterator[AnswerRow]:
        """Read rows as they come. To stop early ends the statement."""
        forms = [column.form for column in columns]
        cursor = self._driver.cursor()
        for known in cursor.adapters.types:
            for oid in filter(None, (known.oid, known.array_oid)):
                cursor.adapters.register_loader(oid, TextLoader)
        with self._bounded(wraps=wraps), closing(_stream(cursor, run)) as rows:
            for row in islice(rows, limit):
                if time.monotonic() > self._until:
                    raise self._make_overdue()
                yield [
                    None if value is None else spell_value(form, value)
                    for form, value in zip(forms, row, strict=True)
                ]

    @contextmanager
    def _bounded(self, *, wraps: bool = False) -> Iterator[None]:
        """Say in PostgreSQL's words what is wrong; where it was ended, that it took too long."""
        try:
            yield
        except psycopg.Error as error:
            state = error.sqlstate
            if self._is_overdue or state == CANCELED:
                raise self._make_overdue() from error
            if state is None and isinstance(error, psycopg.ProgrammingError):
                raise StatementFaultError(NO_ROWS) from error
            if state is None or state.startswith(("08", "57P", "53")):
                raise DestinationUnavailableError(server_message(error)) from error
            if wraps and state == "42601":
                # By itself it was parsed, so what is wrong is where it stands.
                raise StatementFaultError(WRAPPED_ONLY) from error
            at = error.diag.statement_position
            shift = len(PREFIX) if wraps else 0
            place = int(at) - 1 - shift if at and at.isdigit() else None
            if place is not None and place < 0:
                place = None
            raise StatementFaultError(server_message(error), place) from error

    def _make_overdue(self) -> StatementOverdueError:
        return StatementOverdueError(
            f"The statement took longer than {self._seconds:g} s and was ended."
        )

    def end(self) -> None:
        """End the statement that runs; may be called from any thread."""
        self._is_overdue = True
        with suppress(psycopg.Error):
            self._driver.cancel_safe(timeout=CANCEL_SECONDS_MAX)


@contextmanager
def open_asking(
    driver: psycopg.Connection[tuple[Any, ...]], seconds: float
) -> Iterator[PostgresAsking]:
    """Give a session for one question, and close the connection at the end."""
    try:
        milliseconds = max(int(seconds * 1000), 1)
        asking = PostgresAsking(driver, seconds)
        try:
            driver.execute(
                f"SET statement_timeout = {milliseconds:d};"
                f" SET lock_timeout = {milliseconds:d};"
                f" SET idle_in_transaction_session_timeout = {milliseconds * 2:d}".encode()
            )
            with suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
                # The server ends the statement of a client that is gone. Some systems cannot.
                driver.execute("SET client_connection_check_interval = '1s'")
            driver.execute(BEGIN_READING.encode())
        except psycopg.Error as error:
            raise translate(error) from error
        timer = threading.Timer(seconds, asking.end)
        timer.daemon = True
        timer.start()
        try:
            yield asking
        finally:
            timer.cancel()
    finally:
        driver.close()


def strip_end(statement: str) -> str:
    """Return a statement without the blanks and semicolons at its end."""
    return statement.rstrip("; \t\r\n\f\v")


def spell_value(form: ValueForm, text: str) -> str:
    """Return a text of PostgreSQL in the spelling of its form."""
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
