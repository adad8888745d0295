"""The repository of destinations, and of the choice of one for each source."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import NotFoundError
from treadle.store.model import Account, ConfiguredDestination
from treadle.store.schema import accounts, connections, destinations, sources
from treadle.store.schema_ownership import refuse_shared_schemas
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

# The destination of each source: its own, or the default one of its account. Deleted ones are left
# out.
_by_source = (
    select(destinations)
    .select_from(sources)
    .join(accounts, accounts.c.id == sources.c.account_id)
    .join(
        destinations,
        destinations.c.id == func.coalesce(sources.c.destination_id, accounts.c.destination_id),
    )
    .where(destinations.c.deleted_at.is_(None))
)


class DestinationRepository(StoreRepository):
    """Destinations, and the choice of one for each source."""

    def set_default_destination(
        self,
        account_id: int,
        type: str,  # noqa: A002 - the word of the wire
        url: str,
        identity: str,
    ) -> ConfiguredDestination:
        """Set the default destination of an account; the same one again changes nothing.

        Args:
            account_id: the account.
            type: name in the registry of destinations, for example "postgres".
            url: with credentials; kept encrypted.
            identity: the database as the destination itself names it (`Destination.identity`).

        Raises:
            NotFoundError: no such account.
            NameTakenError: sources of two accounts would share a schema.
        """
        with self._database.read() as tx:
            row = tx.connection.execute(
                select(destinations)
                .join(accounts, accounts.c.destination_id == destinations.c.id)
                .where(accounts.c.id == account_id, destinations.c.deleted_at.is_(None))
            ).one_or_none()
            if row is not None and row.identity == identity:
                present = _read_destination(tx, row)
                if (present.type, present.url) == (type, url):
                    return present
        with self._database.change() as tx:
            account = tx.connection.execute(
                select(accounts.c.destination_id).where(accounts.c.id == account_id)
            ).one_or_none()
            if account is None:
                raise NotFoundError(f"there is no account {account_id}")
            if account.destination_id is None:
                changed = _insert_destination(tx, account_id, type, url, identity)
            else:
                changed = _update_destination(tx, account.destination_id, type, url, identity)
            refuse_shared_schemas(tx, account_id)
            tx.record(
                TrailAction.SET_DESTINATION,
                # Without the URL and the place that it names: only the operator may know them.
                TrailTarget(TargetKind.DESTINATION, changed.id, changed.name),
                account_id=account_id,
            )
            return changed

    def list_destinations(self, account_id: int | None = None) -> list[ConfiguredDestination]:
        """Return the destinations of one account or of all, by id, deleted ones too."""
        query = select(destinations).order_by(destinations.c.id)
        if account_id is not None:
            query = query.where(destinations.c.account_id == account_id)
        with self._database.read() as tx:
            return [_read_destination(tx, row) for row in tx.connection.execute(query)]

    def find_destination_of_source(self, source_id: int) -> ConfiguredDestination | None:
        """Return the destination of a source: its own, or the default one of its account."""
        with self._database.read() as tx:
            row = tx.connection.execute(_by_source.where(sources.c.id == source_id)).one_or_none()
            return None if row is None else _read_destination(tx, row)

    def list_identities(self, account_id: int, destination_id: int | None) -> list[str]:
        """Return the identity of the destination of a new source; nothing where there is none.

        Args:
            account_id: of the source.
            destination_id: of the source; None for the default of the account.
        """
        chosen = select(accounts.c.destination_id).where(accounts.c.id == account_id)
        query = select(destinations.c.identity).where(
            destinations.c.account_id == account_id,
            destinations.c.id
            == (chosen.scalar_subquery() if destination_id is None else destination_id),
        )
        with self._database.read() as tx:
            return list(tx.connection.execute(query).scalars())

    def list_ids_by_source(self) -> dict[int, int]:
        """Return source id -> destination id, for all sources that have a destination."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                _by_source.with_only_columns(sources.c.id.label("source_id"), destinations.c.id)
            )
            return {row.source_id: row.id for row in rows}

    def set_trouble(
        self, destination_id: int, trouble: str | None, *, denied: bool = False
    ) -> None:
        """Record why a destination cannot be used, or with None that it can again.

        `trouble_since` stays the time of the first failure while failures go on, also when their
        text changes.

        Args:
            destination_id: the destination.
            trouble: for the operator.
            denied: somebody has to act: a right is missing, or the URL is wrong.
        """
        kind = None if trouble is None else "denied" if denied else "unavailable"
        with self._database.write() as tx:
            since = None if trouble is None else func.coalesce(destinations.c.trouble_since, tx.now)
            tx.connection.execute(
                update(destinations)
                .where(destinations.c.id == destination_id)
                .where(
                    or_(
                        destinations.c.trouble.is_distinct_from(trouble),
                        destinations.c.trouble_kind.is_distinct_from(kind),
                    )
                )
                .values(trouble=trouble, trouble_since=since, trouble_kind=kind)
                .execution_options(**BOOKKEEPING)
            )


def with_shared_destination(tx: StoreTransaction, account: Account) -> Account:
    """Give a new account the destination that all others share; none where they differ.

    The server gives each account its destination when it starts. An account that is made beside a
    running server would have none until the next start, and its records would wait for it.
    """
    rows = tx.connection.execute(
        select(destinations)
        .join(accounts, accounts.c.destination_id == destinations.c.id)
        .where(destinations.c.deleted_at.is_(None))
        .order_by(destinations.c.id)
    ).all()
    places = {(row.type, row.identity, _read_destination(tx, row).url) for row in rows}
    if len(places) != 1:
        return account
    [(type_, identity, url)] = places
    return replace(
        account, destination_id=_insert_destination(tx, account.id, type_, url, identity).id
    )


def require_destination(tx: StoreTransaction, account_id: int, destination_id: int | None) -> None:
    """Check that a destination belongs to an account; None, the default one, always does.

    Raises:
        NotFoundError: unknown, deleted, or of another account.
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


def create_connection_id(tx: StoreTransaction, kind: str) -> int:
    """Return the next id of the sequence that sources and destinations share.

    A client of the Connect API sees both as connections, with one range of ids (connect-api.md
    4.7).
    """
    result = tx.connection.execute(
        insert(connections).values(kind=kind).returning(connections.c.id)
    )
    number: int = result.scalar_one()
    return number


def seal_destinations_anew(tx: StoreTransaction) -> int:
    """Encrypt the URLs of all destinations again, deleted ones too; return their number."""
    rows = tx.connection.execute(select(destinations.c.id, destinations.c.url)).all()
    for row in rows:
        url = tx.cipher.open(bytes(row.url), _make_context(row.id))
        tx.connection.execute(
            update(destinations)
            .where(destinations.c.id == row.id)
            .values(url=tx.seal(url, _make_context(row.id)))
        )
    return len(rows)


def _insert_destination(
    tx: StoreTransaction, account_id: int, type_: str, url: str, identity: str
) -> ConfiguredDestination:
    destination_id = create_connection_id(tx, "destination")
    row = tx.connection.execute(
        insert(destinations)
        .values(
            id=destination_id,
            account_id=account_id,
            type=type_,
            name=type_,
            url=tx.seal(url, _make_context(destination_id)),
            identity=identity,
            created_at=tx.now,
            updated_at=tx.now,
            usable_since=tx.now,  # the operator's choice needs no check
        )
        .returning(destinations)
    ).one()
    tx.connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(destination_id=destination_id)
    )
    return _read_destination(tx, row)


def _update_destination(
    tx: StoreTransaction, destination_id: int, type_: str, url: str, identity: str
) -> ConfiguredDestination:
    row = tx.connection.execute(
        update(destinations)
        .where(destinations.c.id == destination_id)
        .values(
            type=type_,
            name=type_,
            url=tx.seal(url, _make_context(destination_id)),
            identity=identity,
            updated_at=tx.now,
            deleted_at=None,
            trouble=None,
            trouble_since=None,
            trouble_kind=None,
            usable_since=func.coalesce(destinations.c.usable_since, tx.now),
        )
        .returning(destinations)
    ).one()
    return _read_destination(tx, row)


def _read_destination(tx: StoreTransaction, row: Row[Any]) -> ConfiguredDestination:
    url = tx.cipher.open(row.url, _make_context(row.id))
    values = {name: value for name, value in row._mapping.items() if name != "identity"}
    return ConfiguredDestination(**values | {"url": url})


def _make_context(destination_id: int) -> str:
    return f"destination {destination_id}"
