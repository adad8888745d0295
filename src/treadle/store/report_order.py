"""Up to which number the load reports are complete, so that who reads on from there misses none.

A report gets its number when it is inserted, and is seen when its transaction is committed. On
SQLite one transaction writes at a time, so the order is the same, and nothing here asks anything.
On PostgreSQL a long transaction with a low number may be committed after a short one with a higher
number. Who has read the higher one would never look for the lower one again.

So a transaction that records reports says on PostgreSQL when it began, before it inserts the first
one: it takes a shared advisory lock whose key is the newest number that it sees. All of its own
numbers are greater. A reader takes, in this order and in statements of their own,

1. the newest number that it sees,
2. the locks that are held,
3. the reports up to the least of these.

What is missing then below its bound was not committed when 3 began. If it will ever be, its
transaction got its number before 1, so it had its lock before 1, and has it still at 2, for a
server makes a commit seen before it frees the locks. Then the bound is below that number.

- A long transaction delays what is told of the reports beside it, for as long as it lasts. It
  misses none, and keeps no other transaction waiting: all locks are shared. Had the recordings
  taken turns instead, all loaders of an installation together could record no faster than one, a
  commit and the way to the server and back at a time, and would all wait for the slowest one.
- A number that never comes, because its transaction was rolled back or the report was there
  already, delays nothing: the lock ends with the transaction, however that ends. The server ends
  that of a process which was stopped after three seconds (`postgres.SESSION_SETTINGS`).
- A process of an earlier release has no lock. What it records may be missed beside it, as before.
- After a failover the transactions that were open are gone, and their locks with them.

It rests on the isolation that the whole store has, READ COMMITTED, by which each statement sees
what was committed before it, and on a sequence that gives numbers one after another (`CACHE 1`).
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import BigInteger, Integer, cast, column, func, select, table

from treadle.store.database import StoreTransaction
from treadle.store.schema import loads

RECORDING_LOCK: Final = 0x7472_6C6E  # "trln"; the log has others, in the same database perhaps
"""The first of the two keys of the lock; the second one is a number modulo KEYS."""

KEYS: Final = 2**31
"""Keys that PostgreSQL takes: numbers may become greater."""

_NEWEST: Final = select(func.coalesce(func.max(loads.c.number), 0))
_BEGIN: Final = select(
    func.pg_advisory_xact_lock_shared(
        RECORDING_LOCK, cast(func.coalesce(func.max(loads.c.number), 0) % KEYS, Integer)
    )
)
_locks: Final = table(
    "pg_locks", *map(column, ("locktype", "database", "classid", "objid", "objsubid"))
)
_databases: Final = table("pg_database", column("oid"), column("datname"))
_BEGUN: Final = (
    select(cast(_locks.c.objid, BigInteger))
    .distinct()
    .where(
        _locks.c.locktype == "advisory",
        _locks.c.classid == RECORDING_LOCK,
        _locks.c.objsubid == 2,  # a lock with two keys
        _locks.c.database
        == select(_databases.c.oid)
        .where(_databases.c.datname == func.current_database())
        .scalar_subquery(),
    )
)


def begin_recording(tx: StoreTransaction) -> None:
    """Say that a transaction will insert load reports; to be called before the first one."""
    if tx.connection.dialect.name != "sqlite":
        tx.connection.execute(_BEGIN)


def find_complete_number(tx: StoreTransaction) -> int:
    """Return the number up to which the load reports are complete; 0 for none.

    It may be less than an earlier answer was, where a transaction began between 1 and 2. What was
    complete stays so.
    """
    newest: int = tx.connection.execute(_NEWEST).scalar_one()
    if tx.connection.dialect.name == "sqlite":
        return newest
    return choose_complete_number(newest, tx.connection.execute(_BEGUN).scalars())


def choose_complete_number(newest: int, begun: Iterable[int]) -> int:
    """Return the least of a number and those at which recordings began.

    Args:
        newest: the number.
        begun: the numbers of the recordings that are open, modulo KEYS. One in the half of the
            keys after `newest` began later, so it does not matter.
    """
    behind = ((newest - one) % KEYS for one in begun)
    return newest - max((one for one in behind if one < KEYS // 2), default=0)
