"""The rule that a schema of a destination belongs to one source.

Within an account a name is taken by a source that is not deleted; the name of a deleted source may
be used again (connect-api.md 4.1). Between accounts that load into the same database a name is
taken for ever, because the schema and its rows stay when the source is deleted. Accounts without a
destination count as loading into one database, because the server will give them the same.
"""

from sqlalchemy import func, select

from treadle.store.database import StoreTransaction
from treadle.store.errors import NameTakenError
from treadle.store.schema import accounts, destinations, sources

# Every source with the database that it loads into; NULL where it has no destination yet.
_placed = (
    select(
        sources.c.account_id,
        sources.c.name,
        destinations.c.identity,
    )
    .select_from(sources)
    .join(accounts, accounts.c.id == sources.c.account_id)
    .outerjoin(
        destinations,
        destinations.c.id == func.coalesce(sources.c.destination_id, accounts.c.destination_id),
    )
)


def refuse_taken_name(
    tx: StoreTransaction, account_id: int, name: str, destination_id: int | None
) -> None:
    """Check that no other source owns the schema that a new source would fill.

    Args:
        tx: the transaction that creates the source.
        account_id: its account.
        name: of the source and the schema.
        destination_id: of the source; None for the default of the account.

    Raises:
        NameTakenError: another source owns that schema.
    """
    own = tx.connection.execute(
        select(sources.c.id).where(
            sources.c.account_id == account_id,
            sources.c.name == name,
            sources.c.deleted_at.is_(None),
        )
    ).first()
    if own is not None:
        raise NameTakenError(name, elsewhere=False)
    if destination_id is None:
        destination_id = tx.connection.execute(
            select(accounts.c.destination_id).where(accounts.c.id == account_id)
        ).scalar_one_or_none()
    placed = _placed.subquery()
    same = select(destinations.c.identity).where(destinations.c.id == destination_id)
    other = tx.connection.execute(
        select(placed.c.name).where(
            placed.c.identity.is_not_distinct_from(same.scalar_subquery()),
            placed.c.name == name,
            placed.c.account_id != account_id,
        )
    ).first()
    if other is not None:
        raise NameTakenError(name, elsewhere=True)


def refuse_shared_schemas(tx: StoreTransaction, account_id: int) -> None:
    """Check that after a change of destinations no two accounts share a schema.

    It is called after the change in the same transaction, which the error then undoes.

    Raises:
        NameTakenError: with the first schema that would have two owners.
    """
    ours, theirs = _placed.subquery("ours"), _placed.subquery("theirs")
    shared = tx.connection.execute(
        select(ours.c.name)
        .join(theirs, (theirs.c.identity == ours.c.identity) & (theirs.c.name == ours.c.name))
        .where(ours.c.account_id == account_id, theirs.c.account_id != account_id)
        .order_by(ours.c.name)
    ).first()
    if shared is not None:
        raise NameTakenError(shared.name, elsewhere=True)
