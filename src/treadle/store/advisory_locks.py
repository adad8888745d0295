"""Locks of loads for an installation whose store is on PostgreSQL, as that of a cluster is.

Each is an advisory lock of a session of its own. When a process ends, its connections do, and so
its locks. A process that was stopped lives on: so a thread of each holder says every few seconds
that it is there, and the server ends a session that is silent for longer, with its locks. Who goes
on after that finds out when it asks.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import RetriableError
from treadle.load_locks import FolderLocks, LoadLocks, LockTakenError
from treadle.postgres_place import is_server_url
from treadle.text import digest_text

if TYPE_CHECKING:
    import psycopg

SILENT_SECONDS_MAX: Final = 10
"""After which the locks of a holder that says nothing are another's for the taking."""

PING_SECONDS: Final = 2.0

_POLL_SECONDS: Final = 0.05


def choose_locks(store_url: str, folder: Path) -> LoadLocks:
    """Return the locks of an installation.

    Args:
        store_url: of its store.
        folder: of the locks where the store is a file.
    """
    return AdvisoryLocks(store_url) if is_server_url(store_url) else FolderLocks(folder)


class AdvisoryLocks:
    """Advisory locks on the server of a store; see `LoadLocks`.

    Args:
        url: of the store.
        silent_seconds: see `SILENT_SECONDS_MAX`.
        ping_seconds: time between two words of a holder.
    """

    def __init__(
        self,
        url: str,
        silent_seconds: int = SILENT_SECONDS_MAX,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._url = url
        self._silent_seconds = silent_seconds
        self._ping_seconds = ping_seconds

    @contextmanager
    def hold(self, names: Collection[str], seconds: float) -> Iterator[Callable[[], bool]]:
        """Have locks; see `LoadLocks.hold`."""
        import psycopg

        until = time.monotonic() + seconds
        done = threading.Event()
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise RetriableError(
                "the store's server cannot be asked for the lock of a load"
            ) from error
        try:
            for name in sorted(set(names)):  # in one order, so that nobody waits in a circle
                self._take(connection, name, until)
            pinging = threading.Thread(
                target=self._ping, args=(connection, done), name="load lock", daemon=True
            )
            pinging.start()
            try:
                yield lambda: _is_there(connection)
            finally:
                done.set()
                pinging.join()
        finally:
            with suppress(psycopg.Error):
                connection.close()

    def _connect(self) -> "psycopg.Connection[Any]":
        import psycopg

        from treadle.store.postgres import read_parameters

        connection = psycopg.connect(autocommit=True, **read_parameters(self._url))
        with suppress(psycopg.errors.UndefinedObject):  # before PostgreSQL 14
            connection.execute(
                "SELECT set_config('idle_session_timeout', %s, false)",
                (f"{self._silent_seconds:d}s",),
            )
        return connection

    def _take(self, connection: "psycopg.Connection[Any]", name: str, until: float) -> None:
        import psycopg

        key = int.from_bytes(digest_text(name)[:8], signed=True)
        try:
            while True:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
                if row is not None and row[0]:
                    return
                if time.monotonic() >= until:
                    raise LockTakenError
                time.sleep(_POLL_SECONDS)
        except psycopg.Error as error:
            raise RetriableError(
                "the store's server cannot be asked for the lock of a load"
            ) from error

    def _ping(self, connection: "psycopg.Connection[Any]", done: threading.Event) -> None:
        while not done.wait(self._ping_seconds) and _is_there(connection):
            pass


def _is_there(connection: "psycopg.Connection[Any]") -> bool:
    """Return whether a session, and so its locks, are there."""
    import psycopg

    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
