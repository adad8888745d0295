"""The reading side of a session on any SQL database: questions of people and of repairs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import ClassVar

from treadle.destinations.layout import REJECTED
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    MissingRelationError,
    QueryResult,
    QueryStream,
    RelationPair,
    RowCounts,
    RowDiff,
    SchemaStatus,
    ValueBatch,
)
from treadle.destinations.sql import adoption, catalogue, inspection
from treadle.destinations.sql.schema_changes import SchemaStatements
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.errors import OperatorError, TreadleError
from treadle.tables.model import LoadPlan, PhysicalRelation, Relation


class SqlInspection:
    """One connection as far as it is only read; see `Inspection`.

    Args:
        transactions: on its connection.

    Attributes:
        schema_statements: makes the statements of schema changes.
    """

    schema_statements: ClassVar[type[SchemaStatements]] = SchemaStatements

    def __init__(self, transactions: SqlTransactions) -> None:
        self._transactions = transactions

    def schema_status(self, schema: str) -> SchemaStatus:
        """Return whether a schema is there and whose it is."""
        with self._transactions.translated() as connection:
            return catalogue.read_status(connection, schema)

    def unknown_relations(self, schema: str) -> Mapping[str, PhysicalRelation]:
        """Return the relations that no catalogue entry names; see `Adoption`."""
        with self._transactions.translated() as connection:
            return adoption.find_unknown_relations(connection, schema)

    def list_log_ids(self, prefix: str) -> list[str]:
        """Return the logs that there are offsets of, of those whose names begin so."""
        with self._transactions.translated() as connection:
            return catalogue.read_log_ids(connection, prefix)

    def relations(self, schema: str) -> list[str]:
        """Return the tables, views and sequences in a schema; see `Inspection.relations`."""
        with self._transactions.translated() as connection:
            found = inspection.list_relations(connection, schema)
            if REJECTED in found and inspection.is_unused_rejections(connection, schema):
                found.remove(REJECTED)
            return sorted(found)

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation; see `Inspection.counts`."""
        with self._transactions.transaction("snapshot") as connection:
            with connection.unhurried():
                found = inspection.count_rows(connection, schema, relation, since)
            connection.rollback()
            return found

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of two relations; see `Inspection.compare`."""
        with self._transactions.translated() as connection, connection.unhurried():
            return inspection.compare_rows(connection, schema, other, pair)

    def ddl(self, plan: LoadPlan, shown_as: str | None = None) -> list[str]:
        """Return the statements by which a load would change the schema; see `Inspection.ddl`."""
        with self._transactions.translated() as connection:
            statements = [
                *catalogue.prepare_schema(connection, plan.schema),
                *self.schema_statements(connection, plan).generate(),
            ]
            if plan.rejections and connection.holds_table(plan.schema, REJECTED):
                statements += catalogue.complete_rejections(connection, plan.schema)
        if shown_as is None or shown_as == plan.schema:
            return list(statements)
        held, shown = map(connection.dialect.schema, (plan.schema, shown_as))
        word = connection.dialect.schema_word
        return [
            statement.replace(f"{held}.", f"{shown}.").replace(
                f"CREATE {word} {held}", f"CREATE {word} {shown}"
            )
            for statement in statements
        ]

    def list_schemas(self) -> list[str]:
        """Return the names of all schemas of the database."""
        with self._transactions.translated() as connection:
            return connection.list_schemas()

    def quote(self, *parts: str) -> str:
        """Return a name, qualified by those before it, as statements for `query` spell it."""
        return self._transactions.connection.dialect.quote(*parts)

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's; see `Inspection.query`."""
        try:
            return self._transactions.connection.query(sql)
        except self._transactions.connection.errors as error:
            raise self._judge_query(error) from error

    @contextmanager
    def stream_query(self, sql: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, row by row; see `Inspection.stream_query`."""
        errors = self._transactions.connection.errors
        streaming = self._transactions.connection.stream_query(sql)
        try:
            found = streaming.__enter__()
        except errors as error:
            raise self._judge_query(error) from error
        try:
            # Not around the block: what is wrong there is no fault of the database.
            yield QueryStream(found.columns, self._take_batches(found.batches))
        finally:
            with suppress(*errors):
                streaming.__exit__(None, None, None)

    def _take_batches(self, batches: Iterator[ValueBatch]) -> Iterator[ValueBatch]:
        try:
            yield from batches
        except self._transactions.connection.errors as error:
            raise self._judge_query(error) from error

    def _judge_query(self, error: Exception) -> TreadleError:
        """Return what an error of a statement of the operator's means."""
        connection = self._transactions.connection
        fault = connection.translate(error)
        if isinstance(fault, DestinationUnavailableError | AccessDeniedError):
            return fault
        kind = MissingRelationError if connection.is_missing(error) else OperatorError
        return kind(connection.message(error))

    def count_query(self, sql: str, seconds: float) -> int | None:
        """Count the rows of a statement of the operator's; see `Inspection.count_query`."""
        connection = self._transactions.connection
        # A line break, since the statement may end with a comment.
        text = sql.rstrip("; \t\r\n\f\v")
        counting = f"SELECT count(*) FROM ({text}\n) AS q"  # noqa: S608 - the operator's own
        try:
            [(count,)] = connection.run_within(counting, seconds)
        except connection.errors:
            return None
        return int(count)

    def clock(self) -> int | None:
        """Return the server's time; see `Inspection.clock`."""
        with self._transactions.translated() as connection:
            if not connection.dialect.clock:
                return None
            [(now,)] = connection.rows(connection.dialect.clock)
            return int(now)
