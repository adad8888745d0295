"""Import API access tokens (connect-api.md 2.6)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)

from treadle.store import sources as sources_of
from treadle.store.database import StoreTransaction
from treadle.store.errors import TokenLimitError, TokenTakenError
from treadle.store.model import ImportToken, Source, TokenOwner
from treadle.store.schema import sources, tokens
from treadle.store.secrets import hash_token

IMPORT_TOKEN_PREFIX: Final = "at_"  # noqa: S105 - how tokens begin (connect-api.md 1.3)

# Two, so that one can be replaced without a gap (connect-api.md 2.6).
ACTIVE_TOKENS_MAX: Final = 2


def create(tx: StoreTransaction, source: Source) -> ImportToken:
    """Make a token; see `Store.create_token`."""
    make_room(tx, source.id)
    sources_of.touch(tx, source)
    return add(tx, source.id, tx.mint(IMPORT_TOKEN_PREFIX), bootstrap=False)


def adopt(tx: StoreTransaction, source: Source, secret: str) -> ImportToken:
    """Take a token made elsewhere; see `Store.import_token`."""
    row = tx.connection.execute(
        select(tokens).where(tokens.c.sha256 == hash_token(secret))
    ).one_or_none()
    if row is None:
        make_room(tx, source.id)
        sources_of.touch(tx, source)
        return add(tx, source.id, secret, bootstrap=False)
    if row.revoked_at is not None:
        raise TokenTakenError(
            "this token was revoked here and cannot be taken back: use another one"
        )
    if row.source_id != source.id:
        raise TokenTakenError(
            f"this token belongs to source {row.source_id} already: revoke it there"
        )
    return _token(tx, row)


def make_room(tx: StoreTransaction, source_id: int) -> None:
    """Make sure that one more token may be active.

    The token made with the source counts only once it has authenticated a push; unused, it gives
    way (connect-api.md 2.6, "the bootstrap-token trap").

    Raises:
        TooManyTokens: the source has its two already.
    """
    rows = tx.connection.execute(
        select(tokens.c.id, tokens.c.bootstrap, tokens.c.first_used_at).where(_active(source_id))
    ).all()
    if len(rows) < ACTIVE_TOKENS_MAX:
        return
    spare = [row.id for row in rows if row.bootstrap and row.first_used_at is None]
    if not spare:
        raise TokenLimitError(source_id, ACTIVE_TOKENS_MAX)
    tx.connection.execute(update(tokens).where(tokens.c.id.in_(spare)).values(revoked_at=tx.now))


def add(tx: StoreTransaction, source_id: int, secret: str, *, bootstrap: bool) -> ImportToken:
    """Keep a token: its hash to look it up, itself sealed to show it again."""
    sha256 = hash_token(secret)
    row = tx.connection.execute(
        insert(tokens)
        .values(
            source_id=source_id,
            sha256=sha256,
            sealed=tx.cipher.seal(secret, _context(sha256)),
            bootstrap=bootstrap,
            created_at=tx.now,
            uses=0,
        )
        .returning(tokens)
    ).one()
    return _token(tx, row)


def of_sources(tx: StoreTransaction, source_ids: Sequence[int]) -> dict[int, list[ImportToken]]:
    """Active tokens by source, ascending id; a source without tokens has an empty list."""
    found: dict[int, list[ImportToken]] = {source_id: [] for source_id in source_ids}
    rows = tx.connection.execute(
        select(tokens)
        .where(tokens.c.source_id.in_(source_ids), tokens.c.revoked_at.is_(None))
        .order_by(tokens.c.id)
    )
    for row in rows:
        found[row.source_id].append(_token(tx, row))
    return found


def revoke(tx: StoreTransaction, source: Source, token_id: int) -> Source | None:
    """Revoke a token; see `Store.revoke_token`."""
    revoked = tx.connection.execute(
        update(tokens).where(tokens.c.id == token_id, _active(source.id)).values(revoked_at=tx.now)
    )
    return None if revoked.rowcount == 0 else sources_of.touch(tx, source)


_pushers = (
    select(
        tokens.c.sha256,
        tokens.c.id,
        tokens.c.source_id,
        tokens.c.first_used_at,
        sources.c.account_id,
        sources.c.paused_at,
        sources.c.system_paused_at,
        sources.c.deleted_at,
    )
    .join(sources, sources.c.id == tokens.c.source_id)
    .where(tokens.c.revoked_at.is_(None))
)


def pusher(tx: StoreTransaction, sha256: bytes) -> TokenOwner | None:
    """Whom a token belongs to; see `Store.pusher`."""
    row = tx.connection.execute(_pushers.where(tokens.c.sha256 == sha256)).one_or_none()
    return None if row is None else _pusher(row)


def pushers(tx: StoreTransaction) -> dict[bytes, TokenOwner]:
    """All tokens that are not revoked, by SHA-256."""
    return {bytes(row.sha256): _pusher(row) for row in tx.connection.execute(_pushers)}


def record_first_use(tx: StoreTransaction, token_id: int, at: int) -> bool:
    """Note a first use; whether this was it."""
    noted = tx.connection.execute(
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.first_used_at.is_(None))
        .where(tokens.c.revoked_at.is_(None))
        .values(first_used_at=at, last_used_at=at)
    )
    return noted.rowcount > 0


def unused_or_revoked(tx: StoreTransaction, token_id: int) -> tuple[bool, bool]:
    """Whether a token never authenticated a push, and whether it is revoked or unknown."""
    row = tx.connection.execute(
        select(tokens.c.first_used_at, tokens.c.revoked_at).where(tokens.c.id == token_id)
    ).one_or_none()
    if row is None:
        return True, True
    return row.first_used_at is None, row.revoked_at is not None


def record_uses(tx: StoreTransaction, uses: Mapping[int, tuple[int, int]]) -> None:
    """Add counts of uses; see `Store.record_uses`."""
    if not uses:
        return
    last = bindparam("at", type_=BigInteger)
    tx.connection.execute(
        update(tokens)
        .where(tokens.c.id == bindparam("token"))
        .values(
            uses=tokens.c.uses + bindparam("count"),
            first_used_at=func.coalesce(tokens.c.first_used_at, last),
            last_used_at=_later(tokens.c.last_used_at, last),
        ),
        # In one order everywhere, so that two processes never wait for each other.
        [{"token": id_, "count": count, "at": at} for id_, (count, at) in sorted(uses.items())],
    )


def _later(column: ColumnElement[int | None], value: ColumnElement[int]) -> ColumnElement[int]:
    return case((column > value, column), else_=value)


def _active(source_id: int) -> ColumnElement[bool]:
    return and_(tokens.c.source_id == source_id, tokens.c.revoked_at.is_(None))


def _token(tx: StoreTransaction, row: Row[Any]) -> ImportToken:
    secret = None
    if row.sealed is not None:
        secret = tx.cipher.open(bytes(row.sealed), _context(bytes(row.sha256)))
    return ImportToken(
        id=row.id,
        source_id=row.source_id,
        secret=secret,
        bootstrap=row.bootstrap,
        created_at=row.created_at,
        first_used_at=row.first_used_at,
        last_used_at=row.last_used_at,
        uses=row.uses,
        revoked_at=row.revoked_at,
    )


def _pusher(row: Any) -> TokenOwner:
    inactive = (row.paused_at, row.system_paused_at, row.deleted_at)
    return TokenOwner(
        token_id=row.id,
        source_id=row.source_id,
        account_id=row.account_id,
        active=inactive == (None, None, None),
        unused=row.first_used_at is None,
    )


def _context(sha256: bytes) -> str:
    return f"token {sha256.hex()}"
