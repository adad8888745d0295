"""The repository of import tokens, with which sources push (connect-api.md 2.6)."""

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

from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import TokenLimitError, TokenTakenError
from treadle.store.model import ImportToken, Source, TokenOwner
from treadle.store.schema import sources, tokens
from treadle.store.secrets import hash_token
from treadle.store.source_rows import change_source, require_source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

IMPORT_TOKEN_PREFIX: Final = "at_"  # noqa: S105 - how tokens begin (connect-api.md 1.3)

# Two, so that a client can change from one to the other without a gap (connect-api.md 2.6).
ACTIVE_TOKENS_MAX: Final = 2

_NOT_SHOWN: Final = ("sha256", "sealed")

_owners = (
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
    """Import tokens of sources."""

    def create_token(self, account_id: int | None, source_id: int) -> ImportToken:
        """Create a token and return it with its secret.

        A source has at most two active tokens. The bootstrap token, made with the source, counts
        only after its first use: while unused, it is revoked for a third one (connect-api.md 2.6).

        Raises:
            NotFoundError: the source is unknown or deleted.
            TokenLimitError: it has two tokens already.
        """
        with self._database.change() as tx:
            source = require_source(tx, account_id, source_id)
            return _add_counted_token(
                tx, source, tx.mint(IMPORT_TOKEN_PREFIX), TrailAction.CREATE_IMPORT_TOKEN
            )

    def adopt_token(self, source_id: int, secret: str) -> ImportToken:
        """Add a token that was made elsewhere, for a client that moves here and keeps its token.

        A second call for the same source returns the token as it is.

        Raises:
            NotFoundError: the source is unknown or deleted.
            TokenLimitError: it has two tokens already, by the rule of `create_token`.
            TokenTakenError: the token belongs to another source, or was revoked.
        """
        with self._database.change() as tx:
            source = require_source(tx, None, source_id)
            row = tx.connection.execute(
                select(tokens).where(tokens.c.sha256 == hash_token(secret))
            ).one_or_none()
            if row is None:
                return _add_counted_token(tx, source, secret, TrailAction.TAKE_OVER_IMPORT_TOKEN)
            if row.revoked_at is not None:
                raise TokenTakenError(
                    "this token was revoked here and cannot be taken back: use another one"
                )
            if row.source_id != source.id:
                raise TokenTakenError(
                    f"this token belongs to source {row.source_id} already: revoke it there"
                )
            return _read_token(tx, row)

    def list_tokens(self, source_id: int) -> list[ImportToken]:
        """Return the active tokens of a source by id, with their secrets."""
        return self.list_tokens_by_source([source_id])[source_id]

    def list_tokens_by_source(self, source_ids: Sequence[int]) -> dict[int, list[ImportToken]]:
        """Return the active tokens of several sources: each source id -> its tokens, or none."""
        found: dict[int, list[ImportToken]] = {source_id: [] for source_id in source_ids}
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(tokens)
                .where(tokens.c.source_id.in_(source_ids), tokens.c.revoked_at.is_(None))
                .order_by(tokens.c.id)
            )
            for row in rows:
                found[row.source_id].append(_read_token(tx, row))
        return found

    def revoke_token(self, account_id: int | None, source_id: int, token_id: int) -> Source | None:
        """Revoke a token of a source.

        Returns:
            The source with a new `updated_at`; None when it has no such active token.

        Raises:
            NotFoundError: the source is unknown or deleted.
        """
        with self._database.change() as tx:
            source = require_source(tx, account_id, source_id)
            revoked = tx.connection.execute(
                update(tokens)
                .where(tokens.c.id == token_id, _is_active(source.id))
                .values(revoked_at=tx.now)
            )
            if revoked.rowcount == 0:
                return None
            _record(tx, TrailAction.REVOKE_IMPORT_TOKEN, source, token_id)
            return change_source(tx, source)

    def find_owner(self, sha256: bytes) -> TokenOwner | None:
        """Return the owner of the token with this SHA-256; None for an unknown or revoked token.

        A token of a paused or deleted source has an owner too, with `active` False: such a push is
        answered otherwise than one with an unknown token (connect-api.md 4.3).
        """
        with self._database.read() as tx:
            row = tx.connection.execute(_owners.where(tokens.c.sha256 == sha256)).one_or_none()
        return None if row is None else _read_owner(row)

    def list_owners(self) -> dict[bytes, TokenOwner]:
        """Return SHA-256 of the token -> owner, for all tokens that are not revoked."""
        with self._database.read() as tx:
            return {bytes(row.sha256): _read_owner(row) for row in tx.connection.execute(_owners)}

    def record_first_use(self, token_id: int, at: int) -> bool:
        """Record the first use of a token. It is called before that push is answered.

        Only the first call for a token writes.

        Returns:
            Whether the token is still valid. A bootstrap token may be revoked for another one just
            before its first use.
        """
        with self._database.read() as tx:
            unused, revoked = _read_unused_and_revoked(tx, token_id)
        if revoked or not unused:
            return not revoked
        with self._database.change() as tx:
            noted = tx.connection.execute(
                update(tokens)
                .where(tokens.c.id == token_id, tokens.c.first_used_at.is_(None))
                .where(tokens.c.revoked_at.is_(None))
                .values(first_used_at=at, last_used_at=at)
                .execution_options(**BOOKKEEPING)
            )
            return noted.rowcount > 0 or not _read_unused_and_revoked(tx, token_id)[1]

    def record_uses(self, uses: Mapping[int, tuple[int, int]]) -> None:
        """Add to the numbers of uses.

        Args:
            uses: token id -> (number of new uses, time of the last one).
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
                )
                .execution_options(**BOOKKEEPING),
                # In one order in all processes, so that no two wait for each other in a circle.
                [
                    {"token": id_, "count": count, "at": at}
                    for id_, (count, at) in sorted(uses.items())
                ],
            )


def add_token(tx: StoreTransaction, source_id: int, secret: str, *, bootstrap: bool) -> ImportToken:
    """Insert a token: its hash for look-ups, and itself encrypted to be shown again."""
    sha256 = hash_token(secret)
    row = tx.connection.execute(
        insert(tokens)
        .values(
            source_id=source_id,
            sha256=sha256,
            sealed=tx.cipher.seal(secret, _make_context(sha256)),
            bootstrap=bootstrap,
            created_at=tx.now,
            uses=0,
        )
        .returning(tokens)
    ).one()
    return _read_token(tx, row)


def _add_counted_token(
    tx: StoreTransaction, source: Source, secret: str, action: TrailAction
) -> ImportToken:
    replaced = _replace_spare_tokens(tx, source.id)
    change_source(tx, source)
    token = add_token(tx, source.id, secret, bootstrap=False)
    _record(tx, action, source, token.id, {"replaced": replaced} if replaced else {})
    return token


def _record(
    tx: StoreTransaction,
    action: TrailAction,
    source: Source,
    token_id: int,
    more: Mapping[str, Any] | None = None,
) -> None:
    tx.record(
        action,
        TrailTarget(TargetKind.IMPORT_TOKEN, token_id),
        account_id=source.account_id,
        detail={"source_id": source.id, "source": source.name, **(more or {})},
    )


def _replace_spare_tokens(tx: StoreTransaction, source_id: int) -> list[int]:
    """Check that the source may have one more token; an unused bootstrap token is revoked for it.

    Otherwise a client that never saw the bootstrap token could have only one token of its own
    (connect-api.md 2.6, "the bootstrap-token trap").

    Returns:
        The ids of the tokens that were revoked.

    Raises:
        TokenLimitError: the source has two tokens already.
    """
    rows = tx.connection.execute(
        select(tokens.c.id, tokens.c.bootstrap, tokens.c.first_used_at).where(_is_active(source_id))
    ).all()
    if len(rows) < ACTIVE_TOKENS_MAX:
        return []
    spare = [row.id for row in rows if row.bootstrap and row.first_used_at is None]
    if not spare:
        raise TokenLimitError(source_id, ACTIVE_TOKENS_MAX)
    tx.connection.execute(update(tokens).where(tokens.c.id.in_(spare)).values(revoked_at=tx.now))
    return spare


def _read_unused_and_revoked(tx: StoreTransaction, token_id: int) -> tuple[bool, bool]:
    """Return whether a token was never used, and whether it is revoked or unknown."""
    row = tx.connection.execute(
        select(tokens.c.first_used_at, tokens.c.revoked_at).where(tokens.c.id == token_id)
    ).one_or_none()
    if row is None:
        return True, True
    return row.first_used_at is None, row.revoked_at is not None


def _is_active(source_id: int) -> ColumnElement[bool]:
    return and_(tokens.c.source_id == source_id, tokens.c.revoked_at.is_(None))


def _read_token(tx: StoreTransaction, row: Row[Any]) -> ImportToken:
    secret = None
    if row.sealed is not None:
        secret = tx.cipher.open(bytes(row.sealed), _make_context(bytes(row.sha256)))
    values = {name: value for name, value in row._mapping.items() if name not in _NOT_SHOWN}
    return ImportToken(**values, secret=secret)


def _read_owner(row: Any) -> TokenOwner:
    inactive = (row.paused_at, row.system_paused_at, row.deleted_at)
    return TokenOwner(
        token_id=row.id,
        source_id=row.source_id,
        account_id=row.account_id,
        active=inactive == (None, None, None),
        unused=row.first_used_at is None,
    )


def _make_context(sha256: bytes) -> str:
    return f"token {sha256.hex()}"
