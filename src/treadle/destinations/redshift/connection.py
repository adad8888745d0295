"""A connection to Redshift by psycopg 3, with rows copied from an object store."""

from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestampLoader

from treadle.destinations.layout import partition_columns
from treadle.destinations.libpq.connection import LibpqConnection
from treadle.destinations.protocol import DestinationUnavailableError, QueryResult, QueryStream
from treadle.destinations.redshift.dialect import JSON_COMMENT, RedshiftDialect, read_key
from treadle.destinations.redshift.errors import SERVER, server_message, translate_own
from treadle.destinations.redshift.row_files import RowFiles, make_table
from treadle.destinations.sql.catalogue import OFFSETS
from treadle.destinations.sql.connection import Field
from treadle.destinations.sql.text import Quoted, compose, join, number_values
from treadle.destinations.sql.upsert import (
    StagedUpsert,
    insert,
    insert_absent,
    update_replaced,
)
from treadle.errors import TreadleError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import PhysicalRelation, RelationRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

INSERTED_VALUES_MAX: Final = 1_000
"""More values than these are copied from a file: COPY takes seconds to begin, INSERT none."""

STATEMENT_BYTES_MAX: Final = 1_000_000
"""Bytes of the values of one INSERT, about; Redshift takes a statement of 16 MB."""

STATEMENT_VALUES_MAX: Final = 30_000
"""Values of one INSERT; the protocol takes 32,767."""


class _UtcLoader(TimestampLoader):
    """Timestamps without a zone, which are in UTC."""

    def load(self, data: Buffer) -> datetime:
        return super().load(data).replace(tzinfo=UTC)


class RedshiftConnection(LibpqConnection):
    """One connection.

    Args:
        driver: see `LibpqConnection`.
        files: of rows that are copied; None to send all rows by INSERT.
        role: the value of IAM_ROLE with which Redshift reads them.
        read_only: the session was opened so.

    Attributes:
        copies_all: rows are copied however few they are, if there is a place for files.
    """

    server = SERVER
    dialect: RedshiftDialect
    message = staticmethod(server_message)

    def __init__(
        self,
        driver: psycopg.Connection[tuple[Any, ...]],
        files: RowFiles | None,
        role: str,
        *,
        read_only: bool = False,
    ) -> None:
        super().__init__(RedshiftDialect(), driver, read_only=read_only)
        self._files = files
        self._role = role
        self._stages: list[Quoted] = []
        self._inserts = 0
        self.copies_all = False

    def translate(self, error: Exception) -> TreadleError:
        """Return the meaning of an error of a statement."""
        if isinstance(error, psycopg.errors.InternalError_ | psycopg.errors.UniqueViolation):
            return translate_own(error)
        return super().translate(error)

    # --- transactions -----------------------------------------------------------------------------

    def lock_loads(self) -> None:
        """Lock the offsets: Redshift locks whole tables, and no rows.

        It has to be the first statement of a transaction, which sees what was committed before it.

        Raises:
            DestinationUnavailableError: another session has them, so that no table can be loaded.
        """
        try:
            self.run(compose("LOCK TABLE {offsets}", offsets=self.dialect.own(OFFSETS.name)))
        except psycopg.errors.QueryCanceled as error:
            raise DestinationUnavailableError(
                f"another session has the offsets of all tables: {self.message(error)}"
            ) from error

    def lock_schemas(self) -> None:
        """Lock the offsets, where they are there."""
        if self.holds_own_table(OFFSETS.name):
            self.lock_loads()

    def commit(self) -> None:
        """Drop the stages, which would stay as long as the session, and commit."""
        if self._stages:
            self.run(compose("DROP TABLE {stages}", stages=join(", ", self._stages)))
        self._stages.clear()
        super().commit()

    def rollback(self) -> None:
        """Undo the transaction, and the stages with it."""
        self._stages.clear()
        super().rollback()

    def release(self) -> None:
        """Remove the files that were copied."""
        if self._files is not None:
            self._files.remove()

    # --- rows -------------------------------------------------------------------------------------

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Copy values into a new temporary table."""
        table = make_table(fields)
        place = self.dialect.quote(title)
        types = self.dialect.types
        columns = (
            compose("{name} {type}", name=name, type=types[type_]) for name, type_, _ in fields
        )
        self.define(
            compose(
                "CREATE TEMPORARY TABLE {place} ({columns})",
                place=place,
                columns=join(", ", columns),
            )
        )
        self._stages.append(place)
        if self._files is None or self._is_small(table):
            self._insert_values(place, table)
        else:
            self.run(
                compose(
                    "COPY {place} FROM {file} IAM_ROLE {role} FORMAT AS PARQUET",
                    place=place,
                    file=self.dialect.literal(self._files.write(table)),
                    role=(
                        Quoted("default")
                        if self._role == "default"
                        else self.dialect.literal(self._role)
                    ),
                )
            )
        return place

    def _is_small(self, table: "pa.Table") -> bool:
        values = table.num_rows * table.num_columns
        is_small = values <= INSERTED_VALUES_MAX and table.nbytes <= STATEMENT_BYTES_MAX
        return is_small and not self.copies_all

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Insert rows into a relation, or copy them to a stage and insert from there.

        COPY fills the columns of a table in their order, and a relation has others as well.
        """
        given, _ = partition_columns(rows)
        quote = self.dialect.quote
        table = make_table(
            [(quote(each.name), each.type, rows.columns[each.name]) for each in given]
        )
        if self._files is None or self._is_small(table):
            return self._insert_values(target, table)
        self._inserts += 1
        stage = self.stage(rows, f"treadle_rows_{self._inserts}")
        return self.run(insert(self.dialect, StagedUpsert(target, rows, stage)))

    def upsert(self, upsert: StagedUpsert) -> int:
        """Update the rows that give way, and insert those whose key is not there.

        To delete the former would lose what is in columns of the user's.
        """
        if not upsert.rows.relation.key:  # the user may have dropped it
            return self.run(insert(self.dialect, upsert))
        updated = self.run(update_replaced(self.dialect, upsert))
        return updated + self.run(insert_absent(self.dialect, upsert))

    def _insert_values(self, place: Quoted, table: "pa.Table") -> int:
        """Insert the rows of a table whose columns are named as SQL names them."""
        columns = join(", ", map(Quoted, table.column_names))
        size = max(STATEMENT_VALUES_MAX // table.num_columns, 1)
        if table.nbytes > STATEMENT_BYTES_MAX:
            size = max(min(size, table.num_rows * STATEMENT_BYTES_MAX // table.nbytes), 1)
        for start in range(0, table.num_rows, size):
            rows = list(zip(*table.slice(start, size).to_pydict().values(), strict=True))
            marks = (
                compose("({marks})", marks=number_values(1 + at * len(row), len(row)))
                for at, row in enumerate(rows)
            )
            self.run(
                compose(
                    "INSERT INTO {place} ({columns}) VALUES {rows}",
                    place=place,
                    columns=columns,
                    rows=join(", ", marks),
                ),
                *(value for row in rows for value in row),
            )
        return table.num_rows

    # --- questions --------------------------------------------------------------------------------

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        """Return those of some relations that exist; comments tell keys and JSON texts."""
        statement = compose(self.dialect.list_columns, names=number_values(2, len(names)))
        columns: dict[str, dict[str, ColumnType | None]] = {}
        keys: dict[str, frozenset[str]] = {}
        for relation, column, oid, comment, note in self.rows(statement, schema, *names):
            held = columns.setdefault(relation, {})
            keys[relation] = read_key(comment)
            if column is not None:
                type_ = self.dialect.logical_types.get(oid)
                is_json = type_ is ColumnType.TEXT and note == JSON_COMMENT
                held[column] = ColumnType.JSON if is_json else type_
        return {
            name: PhysicalRelation(held, keys[name] & set(held)) for name, held in columns.items()
        }

    def _make_cursor(self) -> psycopg.Cursor[tuple[Any, ...]]:
        cursor = super()._make_cursor()
        cursor.adapters.register_loader("timestamp", _UtcLoader)
        return cursor

    def query(self, statement: str) -> QueryResult:
        """Run one statement of the operator's."""
        with self.stream_query(statement) as found:
            batches = list(found.batches)
        return QueryResult(
            found.columns, [row for batch in batches for row in zip(*batch, strict=True)]
        )

    @contextmanager
    def stream_query(self, statement: str) -> "Iterator[QueryStream]":
        """Run one statement of the operator's; where the session reads only, in a transaction."""
        if not self._read_only:
            with super().stream_query(statement) as found:
                yield found
            return
        self.run(Quoted("BEGIN READ ONLY"))
        try:
            with super().stream_query(statement) as found:
                yield found
        finally:
            self.rollback()
