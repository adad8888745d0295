"""A connection to Snowflake by its driver, with rows sent as Parquet files."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from snowflake.connector import SnowflakeConnection as Driver
from snowflake.connector.cursor import SnowflakeCursor
from snowflake.connector.errors import Error, OperationalError

from treadle.destinations.layout import digest_name, partition_columns
from treadle.destinations.protocol import CommitUnknownError, QueryResult, QueryStream
from treadle.destinations.snowflake.dialect import SnowflakeDialect
from treadle.destinations.snowflake.errors import (
    ABORTED,
    is_missing,
    is_refused_change,
    is_unanswered,
    server_message,
    translate,
)
from treadle.destinations.sql.connection import STREAMED_ROWS, Field, SqlConnection
from treadle.destinations.sql.text import Quoted, compose, join, number_values
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, insert, merge
from treadle.errors import OperatorError, TreadleError
from treadle.tables.arrow_column import ArrowColumn, to_arrow, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import PhysicalRelation, RelationRows

SENT_VALUES: Final = 1_200
"""Values that go with one statement, where rows are too few for a file."""

READING: Final = frozenset(
    {"SELECT", "WITH", "VALUES", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "LIST", "LS"}
)
"""The first words of statements that write nothing."""

SCHEMA_CHANGES: Final = ("ALTER TABLE ", "CREATE ", "DROP ")
"""How statements of treadle's begin that commit an open transaction."""

LOOKUPS: Final = "lookups"
"""Folder of files of keys that are looked up, which nobody empties: no lease protects it."""

GIVEN_UP: Final = "a transaction could not be undone; the session is to be closed"
ENDED: Final = "the transaction was ended from outside"

_FIRST: Final = re.compile(r"(?:\s|\(|(?:--|//)[^\n]*\n|/\*(?:.|\n)*?\*/)*(\w*)")
"""The first word of a statement, behind comments."""

_VALUE: Final = re.compile(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|\$(\d+)")
"""A quoted name, a quoted text, or the place of a value."""


class SnowflakeConnection(SqlConnection):
    """One connection.

    Args:
        driver: in autocommit mode, with `?` for values; each statement is sent once.
        database: its name.
        holder: as which it has leases; no other session has it.
        read_only: statements of the operator's that write are not sent; the service knows no
            session that only reads.

    Attributes:
        database: its name.
        is_given_up: nothing is sent any more but the end of the session, which undoes what is
            open. A schema change would commit it.
    """

    driver: Driver
    errors = (Error, UnicodeEncodeError)
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(server_message)
    translate = staticmethod(translate)

    def __init__(
        self, driver: Driver, database: str, holder: str, *, read_only: bool = False
    ) -> None:
        self.dialect: SnowflakeDialect = SnowflakeDialect()
        self.driver = driver
        self._holder = holder
        self._folder = LOOKUPS
        self.is_given_up = False
        self._is_open = False
        self._is_manual = False
        self._transaction: str | None = None
        self.database = database
        self._name = name_transaction(database, holder)
        self._read_only = read_only
        self._files = 0
        self._staged: list[Quoted] = []
        self._ahead: dict[int, tuple[RelationRows, StagedRows]] = {}
        self._running: str | None = None

    def begin(self, purpose: str = "load") -> None:
        """Begin a transaction; one that loads by the name of this connection.

        When one that loads is ended from outside, the statements after it would be committed one by
        one. So there is no autocommit meanwhile: the next of them begins another transaction, which
        `commit` tells from the first.
        """
        self._is_open = True
        if purpose != "load":
            self.run(Quoted("BEGIN TRANSACTION"))
            return
        self._is_manual = True
        self.run(Quoted("ALTER SESSION SET AUTOCOMMIT = FALSE"))
        # Others end one that is lost, by its name. One that reads keeps nobody waiting.
        self.run(Quoted(f"BEGIN TRANSACTION NAME {self._name}"))

    def keep_transaction(self) -> None:
        """Note which transaction is open: `commit` takes no other.

        Raises:
            Error: none is.
        """
        self._transaction = self._find_transaction()
        if self._transaction is None:
            raise OperationalError(ENDED, errno=ABORTED)

    def _find_transaction(self) -> str | None:
        [(found,)] = self.rows(Quoted("SELECT CURRENT_TRANSACTION()"))
        return None if found is None else str(found)

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            Error: it is not the one that was noted, which was ended from outside.
        """
        if self._transaction is not None and self._find_transaction() != self._transaction:
            raise OperationalError(ENDED, errno=ABORTED)
        super().commit()
        self._leave_transaction()

    def rollback(self) -> None:
        """Undo the transaction; when that fails, the connection is given up."""
        try:
            super().rollback()
        except BaseException:
            self.is_given_up = True
            raise
        self._leave_transaction()

    def _leave_transaction(self) -> None:
        self._is_open = False
        self._transaction = None
        if self._is_manual:
            self._is_manual = False
            try:
                self.run(Quoted("ALTER SESSION SET AUTOCOMMIT = TRUE"))
            except self.errors:  # nothing that is sent from now on would be committed
                self.is_given_up = True

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement; returns how many rows it wrote."""
        if statement.startswith(SCHEMA_CHANGES):
            self._transaction = None  # it commits what is open
        with self._execute(statement, values) as cursor:
            return int(cursor.rowcount or 0)

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        with self._execute(statement, values) as cursor:
            return list(map(tuple, cursor.fetchall()))

    @contextmanager
    def _execute(
        self, statement: Quoted, values: Sequence[object] = (), **options: Any
    ) -> Iterator[SnowflakeCursor]:
        if self.is_given_up:
            raise OperationalError(GIVEN_UP)
        text, given = fill_places(statement, values)
        with self.driver.cursor() as cursor:
            try:
                cursor.execute(text, given or None, **options)
            except KeyError as error:  # what the driver makes of an error that it does not repeat
                raise OperationalError("the request failed, in a way unknown to us") from error
            yield cursor

    # --- statements of the operator's -------------------------------------------------------------

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's; the service takes no more than one."""
        with self.stream_query(statement) as stream:
            columns = stream.columns
            rows = [row for batch in stream.batches for row in zip(*batch, strict=True)]
        return QueryResult(columns, rows)

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, and give its rows as they come."""
        with self.ask(statement) as (cursor, batches):
            columns = tuple(column.name for column in cursor.description)
            turned = ([list(column) for column in zip(*rows, strict=True)] for rows in batches)
            yield QueryStream(columns, turned)

    def describe_statement(self, statement: str) -> None:
        """Have the service compile one statement and run nothing."""
        with self.driver.cursor() as cursor:
            cursor.describe(statement)

    @contextmanager
    def ask(
        self, statement: str
    ) -> Iterator[tuple[SnowflakeCursor, Iterator[list[tuple[Any, ...]]]]]:
        """Run a statement so that it can be interrupted, and give its rows as they come."""
        if self._read_only and not only_reads(statement):
            raise OperatorError("the session only reads, and the statement would write")
        if self.is_given_up:
            raise OperationalError(GIVEN_UP)
        with self.driver.cursor() as cursor:
            self._running = cursor.execute_async(statement)["queryId"]
            try:
                cursor.get_results_from_sfqid(self._running)
                first = cursor.fetchone()  # waits, and then the columns are known
                yield cursor, _read_batches(first, cursor)
            finally:
                self._running = None

    def interrupt(self) -> None:
        """End the statement that runs; from any thread."""
        if self._running is not None:
            with suppress(Error), self.driver.cursor() as cursor:
                cursor.abort_query(self._running)

    def run_within(self, statement: str, seconds: float) -> list[tuple[Any, ...]]:
        """Run a question and fetch all rows, and end it when it takes too long."""
        with self._execute(Quoted(statement), timeout=max(int(seconds), 1)) as cursor:
            return list(map(tuple, cursor.fetchall()))

    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of COMMIT means."""
        if is_unanswered(error):
            return CommitUnknownError(f"Snowflake did not answer COMMIT: {server_message(error)}")
        return translate(error)

    def close(self) -> None:
        """Close the connection."""
        with suppress(Error):
            self.driver.close(retry=False)

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        """Return those of some relations that exist; keys only outside of a transaction.

        SHOW may end a transaction. Inside of one only treadle's own tables are described.
        """
        asked = {name.upper(): name for name in names}
        statement = compose(self.dialect.list_columns, names=number_values(2, len(asked)))
        columns: dict[str, dict[str, ColumnType | None]] = {}
        for relation, column, kind in self.rows(statement, schema, *asked):
            found = columns.setdefault(asked[relation], {})
            found[column] = self.dialect.logical_types.get(kind)
        keys: dict[str, set[str]] = {name: set() for name in columns}
        if any(not name.startswith("_") for name in columns):
            show = compose("SHOW PRIMARY KEYS IN SCHEMA {s}", s=self.dialect.schema(schema))
            for _, _, _, relation, column, *_ in self.rows(show):
                if asked.get(relation) in keys:
                    keys[asked[relation]].add(column.lower())
        return {name: PhysicalRelation(columns[name], frozenset(keys[name])) for name in columns}

    # --- rows -------------------------------------------------------------------------------------

    @contextmanager
    def filing(self, folder: str) -> Iterator[None]:
        """Send files to a folder of its own, in which those of a killed process may be.

        Args:
            folder: of the stage of the user, by a name of letters and digits. Nobody else fills it
                while the block lasts: it is emptied first.
        """
        self.rows(Quoted(f"REMOVE @~/treadle/{folder}/"))
        self._folder = folder
        try:
            yield
        finally:
            self._folder = LOOKUPS

    def stage_ahead(self, rows: RelationRows) -> None:
        """Stage rows before the transaction that writes them: to make a table would commit it."""
        if len(rows) and id(rows.columns) not in self._ahead:
            staged = super().stage(rows, f"treadle_ahead_{len(self._ahead)}")
            self._ahead[id(rows.columns)] = (rows, form_values(self.dialect, rows, staged))

    def stage(self, rows: RelationRows, title: str) -> StagedRows:
        """Return where rows were staged ahead; others are staged now."""
        _, staged = self._ahead.get(id(rows.columns), (rows, None))
        return staged or form_values(self.dialect, rows, super().stage(rows, title))

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Send values as a Parquet file to a new temporary table, until `release`."""
        self._files += 1
        place = self.dialect.own(title)
        # Names of digits and letters: what a client sent is in none of them.
        folder = Quoted(f"@~/treadle/{self._folder}/{self._holder}")
        file = Quoted(f"{self._files:d}.parquet")
        put = compose(
            "PUT 'file://{file}' {folder} AUTO_COMPRESS = FALSE OVERWRITE = TRUE"
            " SOURCE_COMPRESSION = NONE",
            file=file,
            folder=folder,
        )
        with self._execute(put, file_stream=encode_rows(fields)):
            pass
        columns = (
            compose("{name} {type}", name=name, type=self.dialect.staged_types[type_])
            for name, type_, _ in fields
        )
        self._staged.append(place)
        self.run(
            compose(
                "CREATE OR REPLACE TEMPORARY TABLE {place} ({columns})",
                place=place,
                columns=join(", ", columns),
            )
        )
        answer = self.rows(
            compose(
                # By default the text \N is NULL, in Parquet too.
                "COPY INTO {place} FROM {folder}/{file}"
                " FILE_FORMAT = (TYPE = PARQUET NULL_IF = ())"
                " MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE FORCE = TRUE PURGE = TRUE",
                place=place,
                folder=folder,
                file=file,
            )
        )
        # A file that is not found is no error: the answer is a sentence then.
        taken = sum(int(row[3]) for row in answer if len(row) > 3)
        if taken != len(fields[0][2]):
            sent = len(fields[0][2])
            raise OperationalError(f"COPY did not take every row: {taken} of {sent}")
        return place

    def release(self) -> None:
        """Drop what was staged: ROLLBACK does not.

        DROP would commit a transaction that nobody ended. So the connection is given up then.
        """
        self._ahead.clear()
        if self._is_open:
            self.is_given_up = True
        if self.is_given_up:
            return
        with suppress(Error):
            while self._staged:
                self.run(compose(self.dialect.drop_temporary, table=self._staged.pop()))

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Insert rows that were staged ahead; others go with the statements."""
        _, staged = self._ahead.get(id(rows.columns), (rows, None))
        if staged is not None:
            return self.run(insert(self.dialect, StagedUpsert(target, rows, staged)))
        given, _ = partition_columns(rows)
        width, forms = len(given), self.dialect.staged_forms
        selected = [
            compose(forms.get(each.type, "{value}"), value=Quoted(f"column{number:d}"))
            for number, each in enumerate(given, 1)
        ]
        columns = (to_values(rows.columns[each.name]) for each in given)
        values = list(zip(*columns, strict=True))
        for start in range(0, len(values), SENT_VALUES // width):
            several = values[start : start + SENT_VALUES // width]
            places = [number_values(1 + at * width, width) for at in range(len(several))]
            statement = compose(
                "INSERT INTO {target} ({names}) SELECT {selected} FROM VALUES {rows}",
                target=target,
                names=self.dialect.quote_all(each.name for each in given),
                selected=join(", ", selected),
                rows=join(", ", (compose("({places})", places=each) for each in places)),
            )
            self.run(statement, *(value for row in several for value in row))
        return len(values)

    def upsert(self, upsert: StagedUpsert) -> int:
        """Insert staged rows, or replace rows of their key; returns how many were written."""
        return self.run(merge(self.dialect, upsert))


def form_values(dialect: SnowflakeDialect, rows: RelationRows, staged: StagedRows) -> StagedRows:
    """Return staged rows with the expressions that make values of what a file has of them."""
    known = dialect.staged_forms
    forms = {
        each.name: compose(known[each.type], value=staged.value(each.name))
        for each in partition_columns(rows)[0]
        if each.type in known
    }
    return StagedRows(staged.name, staged.columns, staged.entries, forms)


def name_transaction(database: str, holder: str) -> str:
    """Return the name of the transactions of a holder: an identifier in upper case.

    The service lists those of a user in all databases of the account. So the database is in it.
    """
    return f"TREADLE_{digest_name(database.lower())[:16]}_{holder}".upper()


def only_reads(statement: str) -> bool:
    """Return whether a statement begins as those do that write nothing."""
    found = _FIRST.match(statement)
    return found is not None and found[1].upper() in READING


def fill_places(statement: Quoted, values: Sequence[object]) -> tuple[str, list[object]]:
    """Return a statement with `?` in place of `$1`, and the values in the order of these."""
    given: list[object] = []

    def fill(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        given.append(values[int(found[1]) - 1])
        return "?"

    return (_VALUE.sub(fill, statement) if values else statement), given


def encode_rows(fields: Sequence[Field]) -> io.BytesIO:
    """Return values as a Parquet file in memory; timestamps are numbers, JSON is text.

    Raises:
        UnicodeEncodeError: a text is not Unicode.
    """
    arrays = {name.upper(): _to_array(type_, column) for name, type_, column in fields}
    file = io.BytesIO()
    pq.write_table(pa.table(arrays), file, compression="zstd")
    file.seek(0)
    return file


def _to_array(type_: ColumnType, column: Any) -> Any:
    if type_ is ColumnType.DECIMAL:
        return pa.array(to_values(column), pa.decimal128(38, 6))
    held = to_arrow(column, ColumnType.TEXT if type_ is ColumnType.JSON else type_)
    if isinstance(held, ArrowColumn):
        return held.array
    return pa.array(to_values(column), pa.string())  # raises where a text is not Unicode


def _read_batches(first: Any, cursor: SnowflakeCursor) -> Iterator[list[tuple[Any, ...]]]:
    rows = [] if first is None else [first, *cursor.fetchmany(STREAMED_ROWS - 1)]
    while rows:
        yield rows
        rows = cursor.fetchmany(STREAMED_ROWS)
