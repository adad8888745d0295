"""Sources: who may push, and which schema they fill."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, insert, select, update

from treadle.store import accounts as accounts_of
from treadle.store import destinations as destinations_of
from treadle.store.database import StoreTransaction
from treadle.store.errors import NotFoundError
from treadle.store.merge_patch import apply_merge_patch
from treadle.store.model import Source
from treadle.store.schema import sources
from treadle.store.schema_ownership import refuse_shared_schemas, refuse_taken_name


class Unset:
    """The type of `UNSET`: an argument that was not given, where None means something."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


def create(
    tx: StoreTransaction,
    account_id: int,
    *,
    type_: str,
    display_name: str,
    name: str,
    destination_id: int | None,
) -> Source:
    """Make a source; see `Store.create_source`."""
    if accounts_of.find(tx, account_id) is None:
        raise NotFoundError(f"there is no account {account_id}")
    destinations_of.require(tx, account_id, destination_id)
    refuse_taken_name(tx, account_id, name, destination_id)
    source = Source(
        id=destinations_of.new_connection(tx, "source"),
        account_id=account_id,
        type=type_,
        display_name=display_name,
        name=name,
        destination_id=destination_id,
        created_at=tx.now,
        updated_at=tx.now,
        paused_at=None,
        system_paused_at=None,
        deleted_at=None,
        settings={},
    )
    tx.connection.execute(
        insert(sources).values(
            id=source.id,
            account_id=account_id,
            type=type_,
            display_name=display_name,
            name=name,
            destination_id=destination_id,
            created_at=tx.now,
            updated_at=tx.now,
            settings={},
        )
    )
    return source


def every(tx: StoreTransaction, account_id: int | None) -> list[Source]:
    """Sources of one account or of all, ascending id, deleted ones too."""
    query = select(sources).order_by(sources.c.id)
    if account_id is not None:
        query = query.where(sources.c.account_id == account_id)
    return [_source(row) for row in tx.connection.execute(query)]


def find(tx: StoreTransaction, account_id: int | None, source_id: int) -> Source | None:
    """One source, deleted or not, inside the account when one is given."""
    query = select(sources).where(sources.c.id == source_id)
    if account_id is not None:
        query = query.where(sources.c.account_id == account_id)
    row = tx.connection.execute(query).one_or_none()
    return None if row is None else _source(row)


def present(tx: StoreTransaction, account_id: int | None, source_id: int) -> Source | None:
    """One source that is not deleted."""
    source = find(tx, account_id, source_id)
    return None if source is None or source.deleted_at is not None else source


def update_one(
    tx: StoreTransaction,
    source: Source,
    *,
    display_name: str | Unset,
    paused_at: int | Unset | None,
    destination_id: int | Unset | None,
    settings: Mapping[str, Any] | Unset,
) -> Source:
    """Change what is given; see `Store.update_source`."""
    values: dict[str, Any] = {"updated_at": max(tx.now, source.updated_at)}
    if not isinstance(display_name, Unset):
        values["display_name"] = display_name
    if not isinstance(paused_at, Unset):
        values["paused_at"] = paused_at
    if not isinstance(settings, Unset):
        values["settings"] = apply_merge_patch(source.settings, settings)
    if not isinstance(destination_id, Unset):
        destinations_of.require(tx, source.account_id, destination_id)
        values["destination_id"] = destination_id
    _set(tx, source.id, values)
    if "destination_id" in values:
        refuse_shared_schemas(tx, source.account_id)
    return _again(tx, source.id)


def delete(tx: StoreTransaction, source: Source) -> Source:
    """Mark as deleted; tokens stay attached (connect-api.md 4.3)."""
    _set(tx, source.id, {"deleted_at": tx.now, "updated_at": max(tx.now, source.updated_at)})
    return _again(tx, source.id)


def touch(tx: StoreTransaction, source: Source) -> Source:
    """Move `updated_at`: the source's tokens changed (connect-api.md 3.1)."""
    _set(tx, source.id, {"updated_at": max(tx.now, source.updated_at)})
    return _again(tx, source.id)


def _set(tx: StoreTransaction, source_id: int, values: Mapping[str, Any]) -> None:
    tx.connection.execute(update(sources).where(sources.c.id == source_id).values(**values))


def _again(tx: StoreTransaction, source_id: int) -> Source:
    return _source(tx.connection.execute(select(sources).where(sources.c.id == source_id)).one())


def _source(row: Row[Any]) -> Source:
    return Source(
        id=row.id,
        account_id=row.account_id,
        type=row.type,
        display_name=row.display_name,
        name=row.name,
        destination_id=row.destination_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        paused_at=row.paused_at,
        system_paused_at=row.system_paused_at,
        deleted_at=row.deleted_at,
        settings=row.settings,
    )
