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

from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.errors import TokenLimitError, TokenTakenError
from treadle.store.model import ImportToken, Source, TokenOwner
from treadle.store.schema import sources, tokens
from treadle.store.secrets import hash_token
from treadle.store.source_rows import change_source, require_source

IMPORT_TOKEN_PREFIX: Final = "at_"  # noqa: S105 - how tokens begin (connect-api.md 1.3)

# Two, so that one can be replaced without a gap (connect-api.md 2.6).
ACTIVE_TOKENS_MAX: Final = 2

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


class TokenRepository(StoreRepository):
    """Import API access tokens of sources."""

    def create_token(self, account_id: int | None, source_id: int) -> ImportToken:
        """Make a token, its secret filled in.

        At most two are active. The one made with the source counts only once it was used: unused,
        it is revoked when a third is asked for (connect-api.md 2.6).

        Raises:
            NotFound: the source is unknown or deleted.
            TooManyTokens: it has two already.
        """
        with self._database.change() as tx:
            source = require_source(tx, account_id, source_id)
            return _add_counted_token(tx, source, tx.mint(IMPORT_TOKEN_PREFIX))

    def adopt_token(self, source_id: int, secret: str) -> ImportToken:
        """Adopt a token made elsewhere, for clients that move here with theirs.

        A second time for the same source it answers the token as it is.

        Raises:
            NotFound: the source is unknown or deleted.
            TooManyTokens: it has two already, after the rule of `create_token`.
            TokenTaken: it belongs to another source, or was revoked.
        """
        with self._database.change() as tx:
            source = require_source(tx, None, source_id)
            row = tx.connection.execute(
                select(tokens).where(tokens.c.sha256 == hash_token(secret))
            ).one_or_none()
            if row is None:
                return _add_counted_token(tx, source, secret)
            if row.revoked_at is not None:
                raise TokenTakenError(
                    "this token was revoked here and cannot be taken back: use another one"
                )
            if row.source_id != source.id:
                raise TokenTakenError(
                    f"this token belongs to source {row.source_id} already: revoke it there"
                )
            return _token(tx, row)

    def list_tokens(self, source_id: int) -> list[ImportToken]:
        """The active tokens of a source, ascending id, with their secrets."""
        return self.list_tokens_by_source([source_id])[source_id]

    def list_tokens_by_source(self, source_ids: Sequence[int]) -> dict[int, list[ImportToken]]:
        """The active tokens of several sources; every id asked for is in the answer."""
        found: dict[int, list[ImportToken]] = {source_id: [] for source_id in source_ids}
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(tokens)
                .where(tokens.c.source_id.in_(source_ids), tokens.c.revoked_at.is_(None))
                .order_by(tokens.c.id)
            )
            for row in rows:
                found[row.source_id].append(_token(tx, row))
        return found

    def revoke_token(self, account_id: int | None, source_id: int, token_id: int) -> Source | None:
        """Revoke a token of a source.

        Returns:
            The source, its `updated_at` moved; None when it has no such active token.

        Raises:
            NotFound: the source is unknown or deleted.
        """
        with self._database.change() as tx:
            source = require_source(tx, account_id, source_id)
            revoked = tx.connection.execute(
                update(tokens)
                .where(tokens.c.id == token_id, _active(source.id))
                .values(revoked_at=tx.now)
            )
            return None if revoked.rowcount == 0 else change_source(tx, source)

    def find_owner(self, sha256: bytes) -> TokenOwner | None:
        """Whom the token with this SHA-256 belongs to; None when it is unknown or revoked.

        A token of a paused or deleted source is still recognised: `active` is False then
        (connect-api.md 4.3).
        """
        with self._database.read() as tx:
            row = tx.connection.execute(_pushers.where(tokens.c.sha256 == sha256)).one_or_none()
        return None if row is None else _pusher(row)

    def list_owners(self) -> dict[bytes, TokenOwner]:
        """All tokens that are not revoked, by their SHA-256."""
        with self._database.read() as tx:
            return {bytes(row.sha256): _pusher(row) for row in tx.connection.execute(_pushers)}

    def record_first_use(self, token_id: int, at: int) -> bool:
        """Note that a token authenticated a push; call it before that push is answered.

        Only the first call for a token writes.

        Returns:
            Whether the token is still valid: False when it was revoked meanwhile, as the token
            made with a source may be just before its first use.
        """
        with self._database.read() as tx:
            unused, revoked = _unused_or_revoked(tx, token_id)
        if revoked or not unused:
            return not revoked
        with self._database.change() as tx:
            noted = tx.connection.execute(
                update(tokens)
                .where(tokens.c.id == token_id, tokens.c.first_used_at.is_(None))
                .where(tokens.c.revoked_at.is_(None))
                .values(first_used_at=at, last_used_at=at)
            )
            return noted.rowcount > 0 or not _unused_or_revoked(tx, token_id)[1]

    def record_uses(self, uses: Mapping[int, tuple[int, int]]) -> None:
        """Add to the counts of uses.

        Args:
            uses: token id -> (requests to add, time of the last one).
        """
        if not uses:
            return
        last = bindparam("at", type_=BigInteger)
        later = case((tokens.c.last_used_at > last, tokens.c.last_used_at), else_=last)
        with self._database.write() as tx:
            tx.connection.execute(
                update(tokens)
                .where(tokens.c.id == bindparam("token"))
                .values(
                    uses=tokens.c.uses + bindparam("count"),
                    first_used_at=func.coalesce(tokens.c.first_used_at, last),
                    last_used_at=later,
                ),
                # In one order everywhere, so that two processes never wait for each other.
                [
                    {"token": id_, "count": count, "at": at}
                    for id_, (count, at) in sorted(uses.items())
                ],
            )


def add_token(tx: StoreTransaction, source_id: int, secret: str, *, bootstrap: bool) -> ImportToken:
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


def _add_counted_token(tx: StoreTransaction, source: Source, secret: str) -> ImportToken:
    _make_room(tx, source.id)
    change_source(tx, source)
    return add_token(tx, source.id, secret, bootstrap=False)


def _make_room(tx: StoreTransaction, source_id: int) -> None:
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


def _unused_or_revoked(tx: StoreTransaction, token_id: int) -> tuple[bool, bool]:
    """Whether a token never authenticated a push, and whether it is revoked or unknown."""
    row = tx.connection.execute(
        select(tokens.c.first_used_at, tokens.c.revoked_at).where(tokens.c.id == token_id)
    ).one_or_none()
    if row is None:
        return True, True
    return row.first_used_at is None, row.revoked_at is not None


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
