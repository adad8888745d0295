"""Locks of this process, for databases that have none that outlast a transaction."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from treadle.destinations.protocol import TableHeldError
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.stepped_session import SteppedTransactions

LOCK_SECONDS_MAX: Final = 15

_LOCKS: Final[dict[tuple[str, str], threading.Lock]] = {}
"""(identity, name of a lock) -> lock."""


class LocalTransactions(SteppedTransactions):
    """Locks of this process: that no other one loads the same table is for the loader's fence.

    Args:
        connection: to the database.
        identity: of the destination.
        read_only: what is left of an earlier load stays so.
    """

    def __init__(
        self, connection: SqlConnection, identity: str, *, read_only: bool = False
    ) -> None:
        super().__init__(connection, read_only=read_only)
        self._identity = identity

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Have locks that no other session of this process has; see `SteppedTransactions`."""
        with ExitStack() as held:
            for name in sorted(set(names)):
                lock = _LOCKS.setdefault((self._identity, name), threading.Lock())
                if not lock.acquire(timeout=LOCK_SECONDS_MAX):
                    raise TableHeldError("another load of the same table is still running")
                held.callback(lock.release)
            yield
