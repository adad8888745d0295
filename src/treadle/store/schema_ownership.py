"""The rule that a schema of a destination belongs to one source.

Within an account a name is taken by a source that is not deleted; the name of a deleted source may
be used again, with its schema (connect-api.md 4.1). Between accounts a name is never taken: an
account is not told what names others have. Where a source of another account fills the schema of
that name in the same database, or filled it before it was deleted, the new source fills one that
has a number at its end. Its name is as it was asked for.

Accounts without a destination count as loading into one database, because the server will give
them the same. The destination itself records whose a schema is, and every load compares that
(`destinations.schema_claim`).
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, not_, select, update

from treadle.errors import InternalError
from treadle.store.database import StoreTransaction
from treadle.store.errors import NameTakenError
from treadle.store.schema import accounts, destinations, sources

# Every source with its schema and the database that it loads into; NULL where it has no destination
# yet.
_placed = (
    select(
        sources.c.id,
        sources.c.account_id,
        sources.c.name,
        sources.c.deleted_at,
        func.coalesce(sources.c.schema_name, sources.c.name).label("schema"),
        destinations.c.identity,
    )
    .select_from(sources)
    .join(accounts, accounts.c.id == sources.c.account_id)
    .outerjoin(
        destinations,
        destinations.c.id == func.coalesce(sources.c.destination_id, accounts.c.destination_id),
    )
)


def refuse_taken_name(tx: StoreTransaction, account_id: int, name: str) -> None:
    """Check that no source of the account has a name, but for deleted ones.

    Raises:
        NameTakenError: one has.
    """
    own = tx.connection.execute(
        select(sources.c.id).where(
            sources.c.account_id == account_id,
            sources.c.name == name,
            sources.c.deleted_at.is_(None),
        )
    ).first()
    if own is not None:
        raise NameTakenError(name)


def choose_schema_name(
    tx: StoreTransaction,
    account_id: int,
    name: str,
    destination_id: int | None,
    *,
    present: str | None = None,
    source_id: int | None = None,
) -> str | None:
    """Return the name of the schema that a source fills; None for that of the source.

    Args:
        tx: the transaction that makes the source, or gives it another destination.
        account_id: its account.
        name: of the source.
        destination_id: of the source; None for the default of the account.
        present: the name of the schema that it has.
        source_id: its id; None for a new source.
    """
    if destination_id is None:
        destination_id = tx.connection.execute(
            select(accounts.c.destination_id).where(accounts.c.id == account_id)
        ).scalar_one_or_none()
    placed = _placed.subquery()
    same = select(destinations.c.identity).where(destinations.c.id == destination_id)
    there = placed.c.identity.is_not_distinct_from(same.scalar_subquery())
    predecessor = and_(
        placed.c.account_id == account_id, placed.c.name == name, placed.c.deleted_at.is_not(None)
    )
    others: ColumnElement[bool] = not_(predecessor)
    if source_id is not None:
        others = and_(others, placed.c.id != source_id)
    first = present
    if first is None and source_id is None:
        first = tx.connection.execute(
            select(placed.c.schema).where(there, predecessor).order_by(placed.c.id.desc())
        ).scalar()
    for schema in _list_candidates(name, first):
        taken = tx.connection.execute(
            select(placed.c.id).where(there, others, placed.c.schema == schema)
        ).first()
        if taken is None:
            return None if schema == name else schema
    raise InternalError("the candidates for the name of a schema ended")


def _list_candidates(name: str, first: str | None) -> Iterator[str]:
    """Give names for a schema, without end; no destination keeps one with a number for itself."""
    if first is not None:
        yield first
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


def refuse_shared_schemas(tx: StoreTransaction, account_id: int) -> None:
    """Check that after a change of destinations no two accounts share a schema.

    It is called after the change in the same transaction, which the error then undoes. Only the
    operator makes such a change, so the error may name what it is about.

    Raises:
        NameTakenError: with the first schema that would have two owners.
    """
    ours, theirs = _placed.subquery("ours"), _placed.subquery("theirs")
    shared = tx.connection.execute(
        select(ours.c.schema)
        .join(theirs, (theirs.c.identity == ours.c.identity) & (theirs.c.schema == ours.c.schema))
        .where(ours.c.account_id == account_id, theirs.c.account_id != account_id)
        .order_by(ours.c.schema)
    ).first()
    if shared is not None:
        raise NameTakenError(shared.schema, elsewhere=True)


def select_schemas_at(identity: ColumnElement[str] | ScalarSelect[str]) -> Select[tuple[int, str]]:
    """Return the query for account and schema of each source, in the database of an identity."""
    placed = _placed.subquery()
    return select(placed.c.account_id, placed.c.schema).where(placed.c.identity == identity)


def part_shared_schemas(tx: StoreTransaction, account_id: int) -> None:
    """Give sources of an account other schemas where another account fills theirs.

    It is called after an account named another database for sources of its own, in the same
    transaction. The account is not told why the name has a number.
    """
    ours, theirs = _placed.subquery("ours"), _placed.subquery("theirs")
    shared = (
        select(ours.c.name, ours.c.schema, ours.c.identity)
        .join(theirs, (theirs.c.identity == ours.c.identity) & (theirs.c.schema == ours.c.schema))
        .where(ours.c.account_id == account_id, theirs.c.account_id != account_id)
        .order_by(ours.c.id)
    )
    while (found := tx.connection.execute(shared).first()) is not None:
        placed = _placed.subquery()
        there = placed.c.identity == found.identity
        ids = tx.connection.scalars(
            select(placed.c.id).where(
                there, placed.c.account_id == account_id, placed.c.schema == found.schema
            )
        ).all()
        for schema in _list_candidates(found.name, None):
            taken = select(placed.c.id).where(there, placed.c.schema == schema)
            if tx.connection.execute(taken).first() is None:
                break
        tx.connection.execute(
            update(sources)
            .where(sources.c.id.in_(ids))
            .values(schema_name=None if schema == found.name else schema)
        )
