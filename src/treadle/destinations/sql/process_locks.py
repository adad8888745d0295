"""Locks for databases that have none that outlast a transaction: those of the installation.

In one process sessions wait for each other by locks of memory, and processes by `load_locks`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from treadle.destinations.protocol import DestinationUnavailableError, TableHeldError
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.stepped_session import SteppedTransactions
from treadle.errors import RetriableError
from treadle.load_locks import LockTakenError, find_locks

LOCK_SECONDS_MAX: Final = 15

_LOCKS: Final[dict[tuple[str, str], threading.Lock]] = {}
"""(identity, name of a lock) -> lock."""


class LocalTransactions(SteppedTransactions):
    """Locks of this process and of the installation.

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
        self._kept: list[Callable[[], bool]] = []
        """Each returns whether this process has some of the locks still."""

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Have locks that no other session of the installation has; see `SteppedTransactions`.

        Raises:
            TableHeldError: another session has one of them for too long; other tables go on.
        """
        wanted = sorted(set(names))
        with ExitStack() as held:
            for name in wanted:
                lock = _LOCKS.setdefault((self._identity, name), threading.Lock())
                if not lock.acquire(timeout=LOCK_SECONDS_MAX):
                    raise TableHeldError(str(LockTakenError()))
                held.callback(lock.release)
            locks = find_locks()
            if locks is not None:
                named = [f"{self._identity}\n{name}" for name in wanted]
                try:
                    kept = held.enter_context(locks.hold(named, LOCK_SECONDS_MAX))
                except LockTakenError as error:
                    raise TableHeldError(str(error)) from error
                except RetriableError as error:
                    raise DestinationUnavailableError(str(error)) from error
                self._kept.append(kept)
                held.callback(self._kept.remove, kept)
            yield

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Run a statement while the locks of this session are its own."""
        self.require_locks()
        yield

    def require_locks(self) -> None:
        """Check that the locks of this session are its own still.

        Raises:
            DestinationUnavailableError: they may be another's by now.
        """
        if not all(kept() for kept in self._kept):
            raise DestinationUnavailableError(
                "the lock of the load was lost, because the store's server ended the session that "
                "had it; the load is done again"
            )
