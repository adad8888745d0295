"""Answers kept under the key a client gave its request, so that a repetition gets the same one."""

import hashlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select

from treadle.store.database import Transaction
from treadle.store.model import Remembered
from treadle.store.schema import idempotency_keys

KEYS_PER_STATEMENT: Final = 1_000


def remember(tx: Transaction, scope: str, key: str, digest: bytes, answer: bytes, at: int) -> bool:
    """Keep an answer unless there is one; whether it was kept."""
    kept = tx.connection.execute(
        tx.insert(idempotency_keys)
        .values(name=_name(scope, key), digest=digest, answer=answer, at=at)
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.at)
    ).one_or_none()
    return kept is not None


def recall(tx: Transaction, scope: str, key: str) -> Remembered | None:
    """The answer kept under a key."""
    row = tx.connection.execute(
        select(idempotency_keys).where(idempotency_keys.c.name == _name(scope, key))
    ).one_or_none()
    return None if row is None else Remembered(bytes(row.digest), bytes(row.answer), row.at)


def recall_some(tx: Transaction, scope: str, keys: Sequence[str]) -> dict[str, Remembered]:
    """The answers kept under some keys."""
    found: dict[str, Remembered] = {}
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        names = {_name(scope, key): key for key in keys[start : start + KEYS_PER_STATEMENT]}
        rows = tx.connection.execute(
            select(idempotency_keys).where(idempotency_keys.c.name.in_(list(names)))
        )
        for row in rows:
            kept = Remembered(bytes(row.digest), bytes(row.answer), row.at)
            found[names[bytes(row.name)]] = kept
    return found


def delete_before(tx: Transaction, at: int) -> int:
    """Forget answers given before a time; how many."""
    return tx.connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.at < at)
    ).rowcount


def _name(scope: str, key: str) -> bytes:
    first = scope.encode("utf-8", "surrogatepass")
    second = key.encode("utf-8", "surrogatepass")
    # The length keeps ("a", "bc") apart from ("ab", "c").
    return hashlib.sha256(len(first).to_bytes(8, "big") + first + second).digest()
