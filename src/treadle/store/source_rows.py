"""Rows of sources, for the repositories of sources and of tokens: both change them."""

from typing import Any

from sqlalchemy import select, update

from treadle.store.database import StoreTransaction
from treadle.store.errors import NotFoundError
from treadle.store.model import Source
from treadle.store.schema import sources


def find_source(tx: StoreTransaction, account_id: int | None, source_id: int) -> Source | None:
    """Return a source, deleted or not; None where the account, if one is given, has no such."""
    query = select(sources).where(sources.c.id == source_id)
    if account_id is not None:
        query = query.where(sources.c.account_id == account_id)
    row = tx.connection.execute(query).one_or_none()
    return None if row is None else Source(**row._mapping)


def find_undeleted_source(
    tx: StoreTransaction, account_id: int | None, source_id: int
) -> Source | None:
    """Return a source; None for an unknown or deleted one."""
    source = find_source(tx, account_id, source_id)
    return None if source is None or source.deleted_at is not None else source


def require_source(tx: StoreTransaction, account_id: int | None, source_id: int) -> Source:
    """Return a source that is not deleted.

    Raises:
        NotFoundError: the source is unknown or deleted.
    """
    source = find_undeleted_source(tx, account_id, source_id)
    if source is None:
        raise NotFoundError(f"source not found ({source_id})")
    return source


def change_source(tx: StoreTransaction, source: Source, **values: Any) -> Source:
    """Change columns of a source and its `updated_at`; return it as it is then.

    Without a column only `updated_at` changes, as it does when a token changes (connect-api.md
    3.1). It never goes back, also when the clock does.
    """
    row = tx.connection.execute(
        update(sources)
        .where(sources.c.id == source.id)
        .values(updated_at=max(tx.now, source.updated_at), **values)
        .returning(sources)
    ).one()
    return Source(**row._mapping)
