"""The repository of schema events: the history of tables.

An event is added in the transaction that records the load, or whatever else it tells of.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Row, bindparam, delete, insert, select

from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.schema import schema_events, sources, tables
from treadle.store.schema_event import (
    CHANGES_MAX,
    EVENTS_MAX,
    SchemaChangeKind,
    SchemaChanges,
    SchemaEvent,
    SchemaEventKind,
)
from treadle.text import digest_text

_events = select(
    schema_events,
    tables.c.source_id,
    tables.c.name.label("table_name"),
).join(tables, tables.c.id == schema_events.c.table_id)

# Made once: SQLAlchemy takes as long to build a statement as SQLite takes to run it.
_ADDED: Final = insert(schema_events).values(
    account_id=select(sources.c.account_id)
    .where(sources.c.id == bindparam("at_source_id", type_=BigInteger))
    .scalar_subquery()
)
_AT_TABLE: Final = schema_events.c.table_id == bindparam("at_table_id", type_=BigInteger)
_FORGOTTEN: Final = delete(schema_events).where(
    _AT_TABLE,
    schema_events.c.id
    <= select(schema_events.c.id)
    .where(_AT_TABLE)
    .order_by(schema_events.c.id.desc())
    .offset(EVENTS_MAX)
    .limit(1)
    .scalar_subquery(),
)


class SchemaEventRepository(StoreRepository):
    """The history of tables, newest first."""

    def list_events(
        self,
        *,
        account_id: int | None = None,
        source_id: int | None = None,
        table_name: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[SchemaEvent]:
        """Return events, newest first.

        Args:
            account_id: only of tables of this account.
            source_id: only of a table of this source; with `table_name`.
            table_name: as sent; with `source_id`.
            before: only events older than the one with this id: the last one of the page before.
            limit: how many at most.
        """
        query = _events.order_by(schema_events.c.id.desc()).limit(limit)
        if account_id is not None:
            query = query.where(schema_events.c.account_id == account_id)
        if source_id is not None and table_name is not None:
            query = query.where(
                tables.c.source_id == source_id, tables.c.name_sha256 == digest_text(table_name)
            )
        if before is not None:
            query = query.where(schema_events.c.id < before)
        with self._database.read() as tx:
            return [_read_event(row) for row in tx.connection.execute(query)]


def _read_event(row: Row[Any]) -> SchemaEvent:
    return SchemaEvent(
        id=row.id,
        source_id=row.source_id,
        table_name=row.table_name,
        at=row.at,
        load_id=row.load_id,
        kind=row.kind,
        reason=row.reason,
        changes=tuple(row.changes),
    )


def choose_event_kind(changes: SchemaChanges) -> SchemaEventKind:
    """Return the kind of the event that tells of some changes: a new table is one of its own."""
    if any(change["kind"] == SchemaChangeKind.TABLE_ADDED for change in changes):
        return SchemaEventKind.TABLE_ADDED
    return SchemaEventKind.SCHEMA_CHANGED


def add_event(
    tx: StoreTransaction,
    table: Row[Any],
    kind: SchemaEventKind,
    at: int,
    *,
    load_id: str | None = None,
    reason: str | None = None,
    changes: SchemaChanges = (),
) -> None:
    """Add an event of a table, and forget the oldest ones beyond EVENTS_MAX.

    Args:
        tx: of what it tells of.
        table: its row, with `id` and `source_id`.
        kind: of the event.
        at: microseconds since 1970, UTC.
        load_id: of the load that changed the table.
        reason: why the table stopped.
        changes: all of one load.
    """
    tx.connection.execute(
        _ADDED,
        {
            "at_source_id": table.source_id,
            "table_id": table.id,
            "at": at,
            "load_id": load_id,
            "kind": kind.value,
            "reason": reason,
            "changes": list(changes[:CHANGES_MAX]),
        },
    )
    if kind is not SchemaEventKind.TABLE_ADDED:  # mostly the first one of its table
        tx.connection.execute(_FORGOTTEN, {"at_table_id": table.id})
