"""The repository of table schemas: what sources say of the records of their tables."""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, select

from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.errors import TableSchemaLimitError
from treadle.store.model import Source, TableSchema
from treadle.store.schema import table_schemas
from treadle.store.source_rows import require_source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.text import digest_text

TABLE_SCHEMAS_MAX: Final = 1_000
"""Most table schemas of a source."""

TABLE_SCHEMA_BYTES_MAX: Final = 1024 * 1024
"""Most bytes of all table schemas of a source: every worker keeps them in memory."""

_columns = (
    table_schemas.c.source_id,
    table_schemas.c.name,
    table_schemas.c.document,
    table_schemas.c.updated_at,
)


class TableSchemaRepository(StoreRepository):
    """The JSON schemas that sources have for their tables.

    Whoever sets one has checked that it can be used (`records.table_schema.prepare_schema`).
    """

    def list_schemas(self, source_id: int) -> list[TableSchema]:
        """Return the table schemas of a source, by the name of the table."""
        with self._database.read() as tx:
            found = tx.connection.execute(
                select(*_columns).where(table_schemas.c.source_id == source_id)
            )
            # Sorted here: the two databases do not agree on the order of texts.
            return sorted(map(_read_schema, found), key=lambda schema: schema.table_name)

    def find_schema(self, source_id: int, table_name: str) -> TableSchema | None:
        """Return the schema of a table; None where it has none."""
        with self._database.read() as tx:
            return _find_schema(tx, source_id, table_name)

    def set_schema(self, source: Source, table_name: str, document: bytes) -> TableSchema:
        """Set the schema of a table, in the place of the one before.

        Args:
            source: that fills the table.
            table_name: as sent in pushes.
            document: JSON text of an object.

        Raises:
            TableSchemaLimitError: the source has as many as it may.
            NotFoundError: the source was deleted.
        """
        with self._database.change() as tx:
            require_source(tx, source.account_id, source.id)
            replaced = _delete_schema(tx, source.id, table_name)
            _check_limits(tx, source.id, len(document))
            tx.connection.execute(
                tx.insert(table_schemas).values(
                    source_id=source.id,
                    name_sha256=digest_text(table_name),
                    name=table_name,
                    document=document,
                    updated_at=tx.now,
                )
            )
            _record(tx, TrailAction.SET_TABLE_SCHEMA, source, table_name, replaced=replaced)
        return TableSchema(source.id, table_name, document, tx.now)

    def remove_schema(self, source: Source, table_name: str) -> TableSchema | None:
        """Remove the schema of a table and return it; None where it has none."""
        with self._database.change() as tx:
            found = _find_schema(tx, source.id, table_name)
            if found is None:
                return None
            _delete_schema(tx, source.id, table_name)
            _record(tx, TrailAction.REMOVE_TABLE_SCHEMA, source, table_name)
            return found


def _is_schema_of(source_id: int, table_name: str) -> ColumnElement[bool]:
    return and_(
        table_schemas.c.source_id == source_id,
        table_schemas.c.name_sha256 == digest_text(table_name),
    )


def _find_schema(tx: StoreTransaction, source_id: int, table_name: str) -> TableSchema | None:
    row = tx.connection.execute(
        select(*_columns).where(_is_schema_of(source_id, table_name))
    ).one_or_none()
    return None if row is None else _read_schema(row)


def _delete_schema(tx: StoreTransaction, source_id: int, table_name: str) -> bool:
    gone = tx.connection.execute(delete(table_schemas).where(_is_schema_of(source_id, table_name)))
    return gone.rowcount > 0


def _check_limits(tx: StoreTransaction, source_id: int, more: int) -> None:
    """Check that a source may have one more schema, of so many bytes.

    Raises:
        TableSchemaLimitError: it has as many as it may.
    """
    count, size = tx.connection.execute(
        select(
            func.count(), func.coalesce(func.sum(func.length(table_schemas.c.document)), 0)
        ).where(table_schemas.c.source_id == source_id)
    ).one()
    if count >= TABLE_SCHEMAS_MAX or size + more > TABLE_SCHEMA_BYTES_MAX:
        raise TableSchemaLimitError(source_id, TABLE_SCHEMAS_MAX, TABLE_SCHEMA_BYTES_MAX)


def _read_schema(row: Any) -> TableSchema:
    return TableSchema(row.source_id, row.name, bytes(row.document), row.updated_at)


def _record(
    tx: StoreTransaction,
    action: TrailAction,
    source: Source,
    table_name: str,
    *,
    replaced: bool = False,
) -> None:
    target = TrailTarget(TargetKind.TABLE, source.id, table_name)
    detail = {"replaced": True} if replaced else None
    tx.record(action, target, account_id=source.account_id, detail=detail)
