"""The repository of moves: sources that were given another destination.

A move is recorded in the transaction that gives a source another destination, and it is open until
the loader has settled it: until the former destination said what it has committed of the source,
and the new one where it stands. Nothing of the source is loaded meanwhile, so that a load that was
committed and not noted is not done again elsewhere (connect-rest.md A.2.2).
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select, update

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.destinations import require_destination
from treadle.store.errors import NotFoundError, SchemaChangedError
from treadle.store.model import Source, SourceMove
from treadle.store.schema import accounts, destinations, source_moves, sources
from treadle.store.schema_ownership import choose_schema_name
from treadle.store.source_rows import change_source, require_source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget


class MoveRepository(StoreRepository):
    """Sources that were given another destination."""

    def find_schema(self, source: Source, destination_id: int) -> str:
        """Return the name of the schema that a source would fill in another destination."""
        with self._database.read() as tx:
            return _choose_schema(tx, source, destination_id) or source.name

    def move_source(
        self,
        source_id: int,
        destination_id: int,
        *,
        schema: str | None = None,
        with_history: bool = False,
    ) -> Source:
        """Have a source load into another destination of its account; return it as it is then.

        Args:
            source_id: of the source.
            destination_id: of its new destination.
            schema: that it has to fill there, because something of it is in it already; None for
                any.
            with_history: for the trail: what the log keeps was copied before.

        Raises:
            NotFoundError: no such source, or its account has no such destination.
            SchemaChangedError: another source fills that schema now.
        """
        with self._database.change() as tx:
            source = require_source(tx, None, source_id)
            former_id = find_destination_id(tx, source.id)
            values = place_source(tx, source, destination_id)
            moved = change_source(tx, source, **values)
            if schema is not None and moved.schema != schema:
                raise SchemaChangedError(schema)
            tx.record(
                TrailAction.MOVE_SOURCE,
                TrailTarget(TargetKind.SOURCE, source.id, source.name),
                account_id=source.account_id,
                detail={"from": former_id, "to": destination_id, "with_history": with_history},
            )
            return moved

    def list_open_moves(self) -> list[SourceMove]:
        """Return the moves that are not settled, by source, also of deleted ones.

        What a deleted source sent before is loaded, too.
        """
        query = (
            select(source_moves)
            .where(source_moves.c.settled_at.is_(None))
            .order_by(source_moves.c.source_id)
        )
        with self._database.read() as tx:
            return [SourceMove(**row._mapping) for row in tx.connection.execute(query)]

    def find_move(self, source_id: int) -> SourceMove | None:
        """Return the last move of a source; None if it was never moved."""
        query = select(source_moves).where(source_moves.c.source_id == source_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
        return None if row is None else SourceMove(**row._mapping)

    def settle_moves(self, moves: Collection[SourceMove]) -> None:
        """Record that moves are settled; a newer move of the same source stays open."""
        with self._database.write() as tx:
            for move in moves:
                tx.connection.execute(
                    update(source_moves)
                    .where(
                        source_moves.c.source_id == move.source_id,
                        source_moves.c.moved_at == move.moved_at,
                        source_moves.c.destination_id == move.destination_id,
                    )
                    .values(settled_at=tx.now)
                    .execution_options(**BOOKKEEPING)
                )


def place_source(
    tx: StoreTransaction, source: Source, destination_id: int | None
) -> dict[str, Any]:
    """Record a move, and return the columns of the source that change with it.

    Args:
        tx: the transaction of the change.
        source: as it is.
        destination_id: its new destination; None for the default of its account.

    Raises:
        NotFoundError: the destination belongs to another account.
    """
    require_destination(tx, source.account_id, destination_id)
    former_id = find_destination_id(tx, source.id)
    values = {
        "destination_id": destination_id,
        "schema_name": _choose_schema(tx, source, destination_id),
    }
    new_id = destination_id
    if new_id is None:
        new_id = tx.connection.execute(
            select(accounts.c.destination_id).where(accounts.c.id == source.account_id)
        ).scalar_one()
    if new_id is None or new_id == former_id:
        return values
    present = tx.connection.execute(
        select(source_moves).where(source_moves.c.source_id == source.id)
    ).one_or_none()
    if present is not None and present.settled_at is None:
        # Nothing was loaded since the move before: the one to be asked is still the same.
        former_id = present.former_id
    moved_at = tx.now if present is None else max(tx.now, present.moved_at + 1)
    row = {
        "former_id": former_id,
        "destination_id": new_id,
        "moved_at": moved_at,
        "settled_at": None,
    }
    tx.connection.execute(
        tx.insert(source_moves)
        .values(source_id=source.id, **row)
        .on_conflict_do_update(index_elements=["source_id"], set_=row)
    )
    return values


def find_destination_id(tx: StoreTransaction, source_id: int) -> int | None:
    """Return the destination of a source, its own or the default one; None where it has none.

    Raises:
        NotFoundError: no such source.
    """
    chosen = func.coalesce(sources.c.destination_id, accounts.c.destination_id)
    row = tx.connection.execute(
        select(destinations.c.id, destinations.c.deleted_at)
        .select_from(sources)
        .join(accounts, accounts.c.id == sources.c.account_id)
        .outerjoin(destinations, destinations.c.id == chosen)
        .where(sources.c.id == source_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no source {source_id}")
    found: int | None = row.id if row.deleted_at is None else None
    return found


def _choose_schema(tx: StoreTransaction, source: Source, destination_id: int | None) -> str | None:
    return choose_schema_name(
        tx,
        source.account_id,
        source.name,
        destination_id,
        present=source.schema,
        source_id=source.id,
    )
