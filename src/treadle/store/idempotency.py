"""Requests with an idempotency key that an earlier treadle noted in the store.

The log notes them now, with their entries. What is here is carried over once, so that a client that
repeats a request across the upgrade is not stored twice.
"""

from typing import Final

import msgspec
from sqlalchemy import delete, select

from treadle.store.database import StoreTransaction
from treadle.store.model import Remembered
from treadle.store.schema import idempotency_keys


class _Note(msgspec.Struct):
    """What was noted: `first` once the entries were in the log."""

    first: int | None = None


_note: Final = msgspec.msgpack.Decoder(_Note).decode


def some(tx: StoreTransaction, limit: int) -> list[Remembered]:
    """Those with the smallest names, in order."""
    rows = tx.connection.execute(
        select(idempotency_keys).order_by(idempotency_keys.c.name).limit(limit)
    )
    return [
        Remembered(bytes(row.name), bytes(row.digest), _note(row.answer).first, row.at)
        for row in rows
    ]


def delete_up_to(tx: StoreTransaction, name: bytes) -> None:
    """Forget those up to a name."""
    tx.connection.execute(delete(idempotency_keys).where(idempotency_keys.c.name <= name))
