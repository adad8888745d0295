"""Rows of access tokens, for the repositories of tokens, accounts and sources."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, and_, insert, or_, select, update

from treadle.store.database import StoreTransaction
from treadle.store.errors import TokenLimitError
from treadle.store.model import AccessToken, SenderSignature
from treadle.store.schema import access_tokens
from treadle.store.secrets import hash_token
from treadle.store.source_rows import find_source
from treadle.store.token_rules import (
    ACCOUNT,
    ACTIVE_TOKENS_MAX,
    IMPORT,
    METRICS,
    WEBHOOK,
    TokenRequest,
)
from treadle.store.trail_event import StoreActor, TargetKind, TrailAction, TrailTarget

_NOT_SHOWN: Final = ("sha256", "sealed", "last_four", "tables", "signature")

_TARGETS: Final = {
    ACCOUNT: TargetKind.ACCOUNT_TOKEN,
    IMPORT: TargetKind.IMPORT_TOKEN,
    WEBHOOK: TargetKind.WEBHOOK_TOKEN,
    METRICS: TargetKind.METRICS_TOKEN,
}


def is_active(now: int) -> ColumnElement[bool]:
    """Return the condition that a token is neither revoked nor expired nor disabled."""
    return and_(is_kept(now), access_tokens.c.disabled_at.is_(None))


def is_kept(now: int) -> ColumnElement[bool]:
    """Return the condition that a token is neither revoked nor expired; it may be disabled."""
    expires_at = access_tokens.c.expires_at
    return and_(access_tokens.c.revoked_at.is_(None), or_(expires_at.is_(None), expires_at > now))


def is_of(kind: str, account_id: int | None, source_id: int | None) -> ColumnElement[bool]:
    """Return the condition that a token is among those that share a limit."""
    if kind == METRICS:
        return access_tokens.c.kind == kind
    if kind == ACCOUNT:
        return and_(access_tokens.c.kind == kind, access_tokens.c.account_id == account_id)
    return and_(access_tokens.c.kind == kind, access_tokens.c.source_id == source_id)


def add_token(
    tx: StoreTransaction,
    asked: TokenRequest,
    secret: str,
    *,
    account_id: int | None,
    source_id: int | None = None,
    bootstrap: bool = False,
) -> AccessToken:
    """Insert a token and return it with its secret.

    Its hash is kept for look-ups. An import token is also kept encrypted, to be shown again.
    """
    sha256 = hash_token(secret)
    kept = tx.seal(secret, make_token_context(sha256)) if asked.kind == IMPORT else None
    row = tx.connection.execute(
        insert(access_tokens)
        .values(
            kind=asked.kind,
            account_id=account_id,
            source_id=source_id,
            sha256=sha256,
            sealed=kept,
            last_four=secret[-4:],
            description=asked.description,
            tables=list(asked.tables),
            signature=seal_signature(tx, asked.signature, sha256),
            bootstrap=bootstrap,
            created_at=tx.now,
            created_by=_describe_actor(tx.actor),
            uses=0,
            expires_at=asked.expires_at,
        )
        .returning(access_tokens)
    ).one()
    return read_token(tx, row, secret)


def make_room(
    tx: StoreTransaction, kind: str, account_id: int | None, source_id: int | None
) -> list[int]:
    """Check that there may be one more token; an unused bootstrap token is revoked for it.

    Otherwise a client that never saw the bootstrap token could have only one token of its own
    (connect-api.md 2.6, "the bootstrap-token trap").

    Returns:
        The ids of the tokens that were revoked.

    Raises:
        TokenLimitError: there are as many as there may be.
    """
    rows = tx.connection.execute(
        select(access_tokens.c.id, access_tokens.c.bootstrap, access_tokens.c.first_used_at).where(
            is_of(kind, account_id, source_id), is_kept(tx.now)
        )
    ).all()
    limit = ACTIVE_TOKENS_MAX[kind]
    if len(rows) < limit:
        return []
    spare = [row.id for row in rows if row.bootstrap and row.first_used_at is None]
    if not spare:
        raise TokenLimitError(_name_owner(kind, account_id, source_id), limit)
    tx.connection.execute(
        update(access_tokens).where(access_tokens.c.id.in_(spare)).values(revoked_at=tx.now)
    )
    return spare


def record_token(
    tx: StoreTransaction, action: TrailAction, token: AccessToken, more: Mapping[str, Any]
) -> None:
    """Add an event about a token to the trail.

    Args:
        tx: the transaction of the change.
        action: what was done.
        token: as it is after that.
        more: further detail; no secrets.
    """
    detail: dict[str, Any] = {}
    if token.source_id is not None:
        source = find_source(tx, None, token.source_id)
        detail |= {"source_id": token.source_id, "source": None if source is None else source.name}
    target = TrailTarget(_TARGETS[token.kind], token.id, token.description or None)
    tx.record(action, target, account_id=token.account_id, detail=detail | dict(more))


def read_token(tx: StoreTransaction, row: Row[Any], secret: str | None = None) -> AccessToken:
    """Return a token as it is listed.

    Args:
        tx: the transaction.
        row: of the token.
        secret: the token itself, where it is to be shown.
    """
    values = {name: value for name, value in row._mapping.items() if name not in _NOT_SHOWN}
    last_four = row.last_four
    if last_four is None:  # of a token that is older than this column
        last_four = (open_secret(tx, row) or "")[-4:]
    return AccessToken(
        **values,
        secret=secret,
        last_four=last_four,
        tables=tuple(row.tables),
        signature=open_signature(tx, row),
    )


def open_secret(tx: StoreTransaction, row: Row[Any]) -> str | None:
    """Return the token itself; None where only its hash is kept."""
    if row.sealed is None:
        return None
    return tx.cipher.open(bytes(row.sealed), make_token_context(bytes(row.sha256)))


def open_signature(tx: StoreTransaction, row: Row[Any]) -> SenderSignature | None:
    """Return how the sender of a webhook signs; None where it does not."""
    if row.signature is None:
        return None
    written = tx.cipher.open(bytes(row.signature), make_signature_context(bytes(row.sha256)))
    return msgspec.json.decode(written, type=SenderSignature)


def seal_rows_anew(tx: StoreTransaction, rows: Iterable[Row[Any]]) -> int:
    """Encrypt again what is kept of tokens; return the number of secrets."""
    count = 0
    for row in rows:
        sha256 = bytes(row.sha256)
        values: dict[str, Any] = {}
        secret = open_secret(tx, row)
        if secret is not None:
            values["sealed"] = tx.seal(secret, make_token_context(sha256))
            values["last_four"] = secret[-4:]
        signature = open_signature(tx, row)
        if signature is not None:
            values["signature"] = seal_signature(tx, signature, sha256)
        if values:
            tx.connection.execute(
                update(access_tokens).where(access_tokens.c.id == row.id).values(**values)
            )
        count += (secret is not None) + (signature is not None)
    return count


def make_token_context(sha256: bytes) -> str:
    """Return the context in which a token is encrypted."""
    return f"token {sha256.hex()}"


def make_signature_context(sha256: bytes) -> str:
    """Return the context in which the signature of a webhook token is encrypted."""
    return f"signature of token {sha256.hex()}"


def seal_signature(
    tx: StoreTransaction, signature: SenderSignature | None, sha256: bytes
) -> bytes | None:
    """Encrypt how the sender of a webhook signs; None where it does not."""
    if signature is None:
        return None
    return tx.seal(msgspec.json.encode(signature).decode(), make_signature_context(sha256))


def _describe_actor(actor: StoreActor | None) -> str:
    """Return who makes a token, as the list of tokens shows it: "account_token 7"."""
    if actor is None:
        return ""
    return actor.kind.value if actor.id is None else f"{actor.kind.value} {actor.id}"


def _name_owner(kind: str, account_id: int | None, source_id: int | None) -> str:
    if kind == METRICS:
        return "the server"
    return f"account {account_id}" if kind == ACCOUNT else f"source {source_id}"
