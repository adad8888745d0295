"""One connection to a SQL database, as sessions and writers use it."""

import threading
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Final

from treadle.destinations.layout import partition_columns
from treadle.destinations.protocol import QueryResult, QueryStream
from treadle.destinations.sql.relation_lookup import RelationLookup
from treadle.destinations.sql.text import Quoted
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, insert_or_update
from treadle.errors import TreadleError
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import RelationRows

STREAMED_ROWS: Final = 2_000
"""Rows of a query that come together, where it is streamed."""

Field = tuple[Quoted, ColumnType, TypedColumn]
"""Column of a staged table: name, type, values."""


class SqlConnection(RelationLookup):
    """Runs statements, in autocommit mode outside of `begin` and its end.

    Attributes:
        dialect: how statements are spelled.
        driver: the driver's connection.
        errors: what the driver raises when a statement or a value is refused.
    """

    driver: Any
    errors: ClassVar[tuple[type[Exception], ...]]

    @abstractmethod
    def run(self, statement: Quoted, *values: object) -> int:
        """Execute a statement; returns how many rows it wrote."""

    def define(self, statement: Quoted) -> None:
        """Execute a schema change.

        Raises:
            TableStoppedError: the database refused it for a reason that no record can have given,
                where it says that of a row by the same error.
        """
        self.run(statement)

    @abstractmethod
    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's."""

    @abstractmethod
    def stream_query(self, statement: str) -> AbstractContextManager[QueryStream]:
        """Run one statement of the operator's, and give its rows in bounded memory."""

    @abstractmethod
    def interrupt(self) -> None:
        """End the statement that runs; may be called from any thread."""

    def run_within(self, statement: str, seconds: float) -> list[tuple[Any, ...]]:
        """Run a question and fetch all rows, and end it when it takes too long.

        Raises:
            Exception: one of `errors`; also because it took too long.
        """
        timer = threading.Timer(seconds, self.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return self.rows(Quoted(statement))
        finally:
            timer.cancel()

    def unhurried(self) -> AbstractContextManager[object]:
        """Give statements in the block, each about a whole table, the time that they take.

        For databases whose statements are given up after a time otherwise.
        """
        return nullcontext()

    def begin(self, purpose: str = "load") -> None:
        """Begin a transaction; for the purposes see `SqlDialect.begin`."""
        self.run(self.dialect.begin[purpose])

    def check_deferred(self) -> None:
        """Check now what the database would check at COMMIT, for those that check anything then."""
        return

    def lock_schemas(self) -> None:
        """Keep other sessions from making schemas until the transaction that began ends."""
        if self.dialect.before_prepare:
            self.run(self.dialect.before_prepare)

    def lock_loads(self) -> None:
        """Keep other sessions from loading until the transaction that began ends.

        For databases in which no row can be locked.
        """
        return

    def commit(self) -> None:
        """Commit the transaction."""
        self.run(Quoted("COMMIT"))

    def rollback(self) -> None:
        """Undo the transaction."""
        self.run(Quoted("ROLLBACK"))

    def close(self) -> None:
        """Close the connection."""
        self.driver.close()

    def stage(self, rows: RelationRows, title: str) -> StagedRows:
        """Send rows to a table of this transaction that is called `title`."""
        given, _ = partition_columns(rows)
        # No name of a client takes part until it is quoted as a target.
        columns = {column.name: Quoted(f"c{number:d}") for number, column in enumerate(given)}
        fields = [(columns[each.name], each.type, rows.columns[each.name]) for each in given]
        entries = len(rows.entries) == len(rows)
        if entries:
            fields.append((Quoted("entry"), ColumnType.BIGINT, rows.entries))
        return StagedRows(self.send(title, fields), columns, entries)

    @abstractmethod
    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Send values to a new table of this transaction; returns its place."""

    def release(self) -> None:
        """Let go of what was staged, after the transaction ended."""
        return

    @abstractmethod
    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Insert rows into a relation; returns how many were written."""

    def upsert(self, upsert: StagedUpsert) -> int:
        """Insert staged rows, or replace rows of their key; returns how many were written."""
        return self.run(insert_or_update(self.dialect, upsert))

    @abstractmethod
    def translate(self, error: Exception) -> TreadleError:
        """Return what an error of a statement means to a loader (loading.md 10.2, 10.3)."""

    @abstractmethod
    def translate_commit(self, error: Exception) -> TreadleError:
        """Return what an error of COMMIT means; `CommitUnknownError` where it may be done."""

    @abstractmethod
    def is_missing(self, error: Exception) -> bool:
        """Return whether a statement failed because a table or schema is not there."""

    @abstractmethod
    def is_refused_change(self, error: Exception) -> bool:
        """Return whether the database refused a schema change for its content, such as a name.

        Errors of values, rights and the connection are none; see `translate` for those.
        """

    @abstractmethod
    def message(self, error: Exception) -> str:
        """Return the database's own words for an error, on one line."""
