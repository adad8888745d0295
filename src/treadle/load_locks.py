"""Locks that the processes of one installation have before each other, while one of them loads.

They are for destinations whose database has no lock that outlasts a statement. They are where the
store is, because all processes of an installation have that: in the data folder, or on the server
of the store. A process says once where they are; without that there are none.
"""

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from treadle.errors import RetriableError
from treadle.files import make_private_folder, open_private_file
from treadle.text import digest_text

LOCK_FILES: Final = "load."
"""Beginning of the names of files that are locked."""

_POLL_SECONDS: Final = 0.02


class LockTakenError(RetriableError):
    """Another process has a load lock, and did not leave it in time."""

    def __init__(self) -> None:
        super().__init__("another load of the same table is still running")


class LoadLocks(Protocol):
    """A place of locks."""

    def hold(
        self, names: Collection[str], seconds: float
    ) -> AbstractContextManager[Callable[[], bool]]:
        """Have locks that no other process has. The value returns whether this one has them still.

        A process that ends leaves none.

        Args:
            names: of the locks.
            seconds: how long others are waited for.

        Raises:
            LockTakenError: another process has one for longer.
            RetriableError: the place cannot be used.
        """


@dataclass(frozen=True, slots=True)
class FolderLocks:
    """Locks of files in a folder. The system gives them back when the process ends.

    Attributes:
        folder: made if it is missing.
        clock: seconds.
        sleep: waits.
    """

    folder: Path
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @contextmanager
    def hold(self, names: Collection[str], seconds: float) -> Iterator[Callable[[], bool]]:
        """Have locks; see `LoadLocks.hold`. Nobody takes one away from a process that lives."""
        until = self.clock() + seconds
        with ExitStack() as held:
            for name in sorted(set(names)):  # in one order, so that nobody waits in a circle
                descriptor = self._open(name)
                held.callback(os.close, descriptor)
                while not _try_lock(descriptor):
                    if self.clock() >= until:
                        raise LockTakenError
                    self.sleep(_POLL_SECONDS)
            yield lambda: True

    def _open(self, name: str) -> int:
        try:
            make_private_folder(self.folder)
            return open_private_file(self.folder / f"{LOCK_FILES}{digest_text(name).hex()[:32]}")
        except OSError as error:
            raise RetriableError(f"{self.folder} cannot be used: {error.strerror}") from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_used: LoadLocks | None = None


def use_locks(locks: LoadLocks | None) -> None:
    """Say where the locks of this process's installation are."""
    global _used
    _used = locks


def find_locks() -> LoadLocks | None:
    """Return what `use_locks` was told last; None where a process has no installation."""
    return _used
