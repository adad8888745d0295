"""A connection to MySQL or MariaDB by PyMySQL, with rows sent by LOAD DATA."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import pymysql
from pymysql.cursors import SSCursor

from treadle.destinations.layout import PRIVATE_SCHEMA, partition_columns
from treadle.destinations.mysql.dialect import MysqlDialect
from treadle.destinations.mysql.driver import MysqlDriver
from treadle.destinations.mysql.errors import (
    ENDED,
    FILES_REFUSED,
    HALF_COMMITTED,
    REOPENED,
    ROW_TOO_BIG,
    error_number,
    explain,
    is_missing,
    is_refused_change,
    server_message,
    translate,
)
from treadle.destinations.mysql.row_format import encode_rows, group_rows, spell_value
from treadle.destinations.protocol import (
    CommitUnknownError,
    QueryResult,
    QueryStream,
    RowRefusedError,
    ValueBatch,
)
from treadle.destinations.sql.connection import STREAMED_ROWS, Field, SqlConnection
from treadle.destinations.sql.row_choice import sort_rows
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join, where
from treadle.destinations.sql.upsert import (
    StagedRows,
    StagedUpsert,
    choose_absent,
    insert,
    update_replaced,
)
from treadle.errors import OperatorError, TableStoppedError, TreadleError
from treadle.tables.arrow_column import to_values
from treadle.tables.model import PhysicalRelation, RelationRows

INSERTED_ROWS: Final = 200
"""Rows of one INSERT, where a server does not take LOAD DATA."""

INSERTED_BYTES: Final = 1_000_000
"""Bytes of the rows of one INSERT; a longer row has one for itself."""

TABLE_SECONDS_MAX: Final = 86_400
"""A statement about a whole table may take so long. A machine that vanished meanwhile is noticed by
keepalives, and a lock is waited for no longer than otherwise."""

_MARK: Final = re.compile(r"`(?:[^`]|``)*`|'(?:[^']|'')*'|\$(\d+)")
"""A quoted name, a quoted text, or the place of a value."""


class MysqlConnection(SqlConnection):
    """One connection.

    Args:
        driver: in autocommit mode.
        interrupt: ends what a connection of this id does, by way of another one.
        read_only: the session was opened so.
    """

    dialect: MysqlDialect
    driver: MysqlDriver
    errors = (pymysql.Error, UnicodeEncodeError)
    is_missing = staticmethod(is_missing)
    is_refused_change = staticmethod(is_refused_change)
    message = staticmethod(server_message)

    def __init__(
        self, driver: MysqlDriver, interrupt: Callable[[int], None], *, read_only: bool = False
    ) -> None:
        self.dialect = MysqlDialect(is_mariadb="MariaDB" in driver.get_server_info())
        self.driver = driver
        self._interrupt = interrupt
        self._read_only = read_only
        self._staged: list[Quoted] = []
        self._takes_files = True
        self._has_default = False

    def translate(self, error: Exception) -> TreadleError:
        """Return the meaning of an error of a statement."""
        if self._read_only and error_number(error) == 1792:  # the session refuses to write
            return OperatorError(self.message(error))
        return translate(error)

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement; returns how many rows it wrote, or found to be as they should be."""
        with self.driver.cursor() as cursor:
            return int(cursor.execute(self._fill(statement, values)))

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""
        with self.driver.cursor() as cursor:
            cursor.execute(self._fill(statement, values))
            return list(cursor.fetchall())

    def _fill(self, statement: Quoted, values: Sequence[object]) -> str:
        """Return a statement with its values in place of `$1`, as the driver writes them."""
        if not values:
            return statement

        def fill(found: re.Match[str]) -> str:
            number = found[1]
            return found[0] if number is None else self.driver.escape(values[int(number) - 1])

        return _MARK.sub(fill, statement)

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's; the driver sends no more than one."""
        with self.driver.cursor() as cursor:
            cursor.execute(statement)
            columns = tuple(column[0] for column in cursor.description or ())
            return QueryResult(columns, [tuple(map(_with_zone, row)) for row in cursor.fetchall()])

    @contextmanager
    def stream_query(self, statement: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, and give its rows as they come."""
        cursor = self.driver.cursor(SSCursor)
        try:
            cursor.execute(statement)
            columns = tuple(column[0] for column in cursor.description or ())
            yield QueryStream(columns, _read_batches(cursor) if columns else iter(()))
        finally:
            self.end_rows(cursor)

    def end_rows(self, cursor: SSCursor) -> None:
        """Close a cursor; a statement whose rows were not all taken is ended."""
        if cursor._result is not None and cursor._result.unbuffered_active:
            self.interrupt()
        with suppress(pymysql.Error):
            cursor.close()

    def interrupt(self) -> None:
        """End the statement that runs; from any thread."""
        with suppress(pymysql.Error, TreadleError):
            self._interrupt(self.driver.thread_id())

    def unhurried(self) -> AbstractContextManager[object]:
        """Give statements about whole tables a day; see `SqlConnection.unhurried`."""
        return self.driver.waiting(TABLE_SECONDS_MAX)

    def begin(self, purpose: str = "load") -> None:
        """Begin a transaction; for the purposes see `SqlDialect.begin`."""
        if purpose == "snapshot":
            self.run(Quoted("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        elif not self._has_default:
            # A DELETE that looks into other tables wants some database to be the default.
            with suppress(pymysql.Error):
                self.driver.select_db(PRIVATE_SCHEMA)
                self._has_default = True
        super().begin(purpose)

    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of COMMIT means."""
        if not self.driver.open or error_number(error) in ENDED:
            return CommitUnknownError(
                f"the connection to MySQL broke during COMMIT: {self.message(error)}"
            )
        if error_number(error) in HALF_COMMITTED:
            return CommitUnknownError(f"MySQL failed during COMMIT: {self.message(error)}")
        return self.translate(error)

    def close(self) -> None:
        """Close the connection."""
        with suppress(pymysql.Error):
            self.driver.close()

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        """Return those of some relations that exist.

        Raises:
            pymysql.Error: one is there that may not be read.
        """
        found: dict[str, PhysicalRelation] = {}
        for name in names:
            columns = self.rows(Quoted(self.dialect.list_columns), schema, name)
            if columns:
                found[name] = PhysicalRelation(
                    {column: self.dialect.logical_types.get(kind) for column, kind, _ in columns},
                    frozenset(column for column, _, in_key in columns if in_key),
                )
            elif self.holds_table(schema, name):
                # The columns of such a table are hidden. It must not look as if it was dropped.
                self.run(compose("SELECT 1 FROM {p} LIMIT 0", p=self.dialect.place(schema, name)))
        return found

    # --- rows -------------------------------------------------------------------------------------

    def stage(self, rows: RelationRows, title: str) -> StagedRows:
        """Send rows to a temporary table, in the order of their key.

        Rows that an UPDATE meets in the order of the index cost a third less than in any other.
        """
        return super().stage(sort_rows(rows), title)

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Send values to a new temporary table, until `release`."""
        columns = (
            compose("{name} {type}", name=name, type=self.dialect.types[type_])
            for name, type_, _ in fields
        )
        place = self._add_temporary(
            title,
            "CREATE TEMPORARY TABLE {copy} ({columns}){options}",
            columns=join(", ", columns),
            options=self.dialect.table_options,
        )
        self._load(place, fields)
        return place

    def _add_temporary(self, title: str, make: LiteralString, **parts: Quoted) -> Quoted:
        """Make a temporary table, `{copy}`, until `release`; returns its place."""
        place = self.dialect.own(title)
        self._staged.append(place)  # a table of that name may be left of a transaction that failed
        self.run(compose(self.dialect.drop_temporary, table=place))
        self.run(compose(make, copy=place, **parts))
        return place

    def release(self) -> None:
        """Drop what was staged: ROLLBACK does not."""
        with suppress(pymysql.Error):
            while self._staged:
                self.run(compose(self.dialect.drop_temporary, table=self._staged.pop()))

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Send rows into a relation; returns how many were written."""
        given, _ = partition_columns(rows)
        quote = self.dialect.quote
        return self._load(
            target, [(quote(each.name), each.type, rows.columns[each.name]) for each in given]
        )

    def upsert(self, upsert: StagedUpsert) -> int:
        """Insert staged rows, or replace rows of their key; returns how many were written.

        ON DUPLICATE KEY UPDATE would meet any unique index of the user's, and change another row.
        """
        if not upsert.rows.relation.key:  # the user may have dropped it
            return self.run(insert(self.dialect, upsert))
        updated = self.run(update_replaced(self.dialect, upsert))
        if updated == len(upsert.rows):  # each key is there
            return updated
        return updated + self._insert_absent(upsert)

    def _insert_absent(self, upsert: StagedUpsert) -> int:
        """Insert those staged rows whose key no row has."""
        absent = choose_absent(self.dialect, upsert)
        try:
            return self.run(insert(self.dialect, absent))
        except pymysql.Error as error:
            if error_number(error) != REOPENED:
                raise
        # The target is the copy of a rehearsal, and MySQL takes the name of a temporary table once
        # in a statement.
        chosen = self._add_temporary(
            "treadle_absent", self.dialect.copy_definition, original=upsert.stage.name
        )
        self.run(
            compose(
                "INSERT INTO {chosen} SELECT s.* FROM {stage} s {where}",
                chosen=chosen,
                stage=upsert.stage.name,
                where=where(absent.condition),
            )
        )
        stage = replace(upsert.stage, name=chosen)
        return self.run(insert(self.dialect, replace(upsert, stage=stage, condition=NOTHING)))

    def _load(self, target: Quoted, fields: Sequence[Field]) -> int:
        names = join(", ", (name for name, *_ in fields))
        if self._takes_files:
            try:
                return self._load_text(target, names, fields)
            except pymysql.Error as error:
                if error_number(error) not in FILES_REFUSED:
                    raise
                self._takes_files = False
        return self._insert_values(target, names, fields)

    def _load_text(self, target: Quoted, names: Quoted, fields: Sequence[Field]) -> int:
        statement = compose(
            "LOAD DATA LOCAL INFILE 'treadle' INTO TABLE {target} CHARACTER SET utf8mb4"
            " FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' ({names})",
            target=target,
            names=names,
        )
        pieces = encode_rows([(type_, column) for _, type_, column in fields])
        taken, warnings = self.driver.load_rows(statement, pieces)
        if warnings:
            # LOCAL makes a warning of every error: values are cut, and rows are left out.
            for level, number, text in self.rows(Quoted("SHOW WARNINGS")):
                if level != "Note":
                    raise explain(int(number), f"ERROR {number}: {text}")
        sent = len(fields[0][2])
        if taken != sent:
            raise TableStoppedError(
                "MySQL left out rows of a load, which is undone, and does not say why: expected "
                f"that it takes {sent}, found {taken}; look for triggers on the table"
            )
        return taken

    def _insert_values(self, target: Quoted, names: Quoted, fields: Sequence[Field]) -> int:
        """Insert rows by statements with their values in them."""
        columns = [
            [
                Quoted("NULL" if value is None else self.driver.escape(spell_value(type_, value)))
                for value in to_values(column)
            ]
            for _, type_, column in fields
        ]
        rows = [compose("({values})", values=join(", ", row)) for row in zip(*columns, strict=True)]
        [(packet,)] = self.rows(Quoted("SELECT @@max_allowed_packet"))
        for group in group_rows(rows, INSERTED_ROWS, min(INSERTED_BYTES, packet // 2)):
            statement = compose(
                "INSERT INTO {target} ({names}) VALUES {rows}",
                target=target,
                names=names,
                rows=join(", ", group),
            )
            # A longer packet would end the connection, often without an answer that says so.
            if len(group) == 1 and len(statement.encode()) >= packet:
                raise RowRefusedError(ROW_TOO_BIG)
            self.run(statement)
        return len(rows)


def _read_batches(cursor: SSCursor) -> Iterator[ValueBatch]:
    while rows := cursor.fetchmany(STREAMED_ROWS):
        yield [list(map(_with_zone, column)) for column in zip(*rows, strict=True)]


def _with_zone(value: Any) -> Any:
    """Return a value; a DATETIME is in UTC, and says so."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
