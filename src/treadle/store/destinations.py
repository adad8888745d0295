"""Destinations and which one a source loads into."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update

from treadle.store import accounts as accounts_of
from treadle.store.database import StoreTransaction
from treadle.store.errors import NotFoundError
from treadle.store.model import Account, ConfiguredDestination
from treadle.store.schema import accounts, connections, destinations, sources
from treadle.store.schema_ownership import refuse_shared_schemas


def set_default(
    tx: StoreTransaction, account_id: int, type_: str, url: str, identity: str
) -> ConfiguredDestination:
    """Create or change the account's default; see `Store.set_default_destination`."""
    account = accounts_of.find(tx, account_id)
    if account is None:
        raise NotFoundError(f"there is no account {account_id}")
    if account.destination_id is None:
        row = _create(tx, account_id, type_, url, identity)
    else:
        row = _change(tx, account.destination_id, type_, url, identity)
    refuse_shared_schemas(tx, account_id)
    return row


def _create(
    tx: StoreTransaction, account_id: int, type_: str, url: str, identity: str
) -> ConfiguredDestination:
    destination_id = new_connection(tx, "destination")
    tx.connection.execute(
        insert(destinations).values(
            id=destination_id,
            account_id=account_id,
            type=type_,
            name=type_,
            url=tx.cipher.seal(url, _context(destination_id)),
            identity=identity,
            created_at=tx.now,
            updated_at=tx.now,
        )
    )
    tx.connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(destination_id=destination_id)
    )
    return _one(tx, destination_id)


def _change(
    tx: StoreTransaction, destination_id: int, type_: str, url: str, identity: str
) -> ConfiguredDestination:
    tx.connection.execute(
        update(destinations)
        .where(destinations.c.id == destination_id)
        .values(
            type=type_,
            name=type_,
            url=tx.cipher.seal(url, _context(destination_id)),
            identity=identity,
            updated_at=tx.now,
            deleted_at=None,
            trouble=None,
            trouble_since=None,
        )
    )
    return _one(tx, destination_id)


def joined(tx: StoreTransaction, account: Account) -> Account:
    """A new account, loading where all that are there load; as it is where that is not one place.

    The server gives each account its destination when it starts. One that is made beside a running
    server would have none until the next start, and its records would wait for it.
    """
    rows = tx.connection.execute(
        select(destinations)
        .join(accounts, accounts.c.destination_id == destinations.c.id)
        .where(destinations.c.deleted_at.is_(None))
        .order_by(destinations.c.id)
    ).all()
    places = {(row.type, row.identity, _destination(tx, row).url) for row in rows}
    if len(places) != 1:
        return account
    [(type_, identity, url)] = places
    return replace(account, destination_id=_create(tx, account.id, type_, url, identity).id)


def unchanged(
    tx: StoreTransaction, account_id: int, type_: str, url: str, identity: str
) -> ConfiguredDestination | None:
    """The account's default when it is exactly this already, so that nothing needs to change."""
    row = tx.connection.execute(
        select(destinations)
        .join(accounts, accounts.c.destination_id == destinations.c.id)
        .where(accounts.c.id == account_id, destinations.c.deleted_at.is_(None))
    ).one_or_none()
    if row is None or row.identity != identity:
        return None
    present = _destination(tx, row)
    return present if (present.type, present.url) == (type_, url) else None


def every(tx: StoreTransaction, account_id: int | None) -> list[ConfiguredDestination]:
    """Destinations of one account or of all, ascending id, deleted ones too."""
    query = select(destinations).order_by(destinations.c.id)
    if account_id is not None:
        query = query.where(destinations.c.account_id == account_id)
    return [_destination(tx, row) for row in tx.connection.execute(query)]


# A source's own destination, or its account's default.
_of_row = destinations.c.id == func.coalesce(sources.c.destination_id, accounts.c.destination_id)


def of_source(tx: StoreTransaction, source_id: int) -> ConfiguredDestination | None:
    """Where a source loads: its own destination, or its account's default."""
    row = tx.connection.execute(_of_source(source_id)).one_or_none()
    return None if row is None else _destination(tx, row)


def _of_source(source_id: int) -> Select[Any]:
    return (
        select(destinations)
        .select_from(sources)
        .join(accounts, accounts.c.id == sources.c.account_id)
        .join(destinations, _of_row)
        .where(sources.c.id == source_id, destinations.c.deleted_at.is_(None))
    )


def by_source(tx: StoreTransaction) -> dict[int, int]:
    """Source id -> id of the destination it loads into; see `Store.destination_ids`."""
    rows = tx.connection.execute(
        select(sources.c.id, destinations.c.id.label("destination_id"))
        .select_from(sources)
        .join(accounts, accounts.c.id == sources.c.account_id)
        .join(destinations, _of_row)
        .where(destinations.c.deleted_at.is_(None))
    )
    return {row.id: row.destination_id for row in rows}


def require(tx: StoreTransaction, account_id: int, destination_id: int | None) -> None:
    """Refuse a destination that is not the account's.

    Raises:
        NotFound: unknown, deleted, or of another account.
    """
    if destination_id is None:
        return
    found = tx.connection.execute(
        select(destinations.c.id).where(
            destinations.c.id == destination_id,
            destinations.c.account_id == account_id,
            destinations.c.deleted_at.is_(None),
        )
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"account {account_id} has no destination {destination_id}")


def set_trouble(tx: StoreTransaction, destination_id: int, trouble: str | None) -> None:
    """Note or clear what is wrong; see `Store.destination_trouble`."""
    since = None if trouble is None else func.coalesce(destinations.c.trouble_since, tx.now)
    tx.connection.execute(
        update(destinations)
        .where(destinations.c.id == destination_id)
        .where(destinations.c.trouble.is_distinct_from(trouble))
        .values(trouble=trouble, trouble_since=since)
    )


def new_connection(tx: StoreTransaction, kind: str) -> int:
    """The next id of the sequence sources and destinations share (connect-api.md 4.7)."""
    result = tx.connection.execute(
        insert(connections).values(kind=kind).returning(connections.c.id)
    )
    number: int = result.scalar_one()
    return number


def _one(tx: StoreTransaction, destination_id: int) -> ConfiguredDestination:
    row = tx.connection.execute(
        select(destinations).where(destinations.c.id == destination_id)
    ).one()
    return _destination(tx, row)


def _destination(tx: StoreTransaction, row: Row[Any]) -> ConfiguredDestination:
    return ConfiguredDestination(
        id=row.id,
        account_id=row.account_id,
        type=row.type,
        name=row.name,
        url=tx.cipher.open(row.url, _context(row.id)),
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
        trouble=row.trouble,
        trouble_since=row.trouble_since,
    )


def _context(destination_id: int) -> str:
    return f"destination {destination_id}"
