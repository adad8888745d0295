"""The order of the processes at a destination that only one process can open at a time.

The loader goes first. It claims the destination before it opens it, and keeps the claim for the
round. Dry runs of all workers, and checks, open it one at a time. A dry run looks after each table
whether the loader has claimed the destination, a check after each schema, and then closes it.
Questions only read, so several of them have it at once; each is ended after a bounded time.

A claim is a lock of a file, so a process that dies leaves none. A claim does not prevent other
processes from opening the destination; the destination itself does that. It only says who waits.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.errors import RetriableError
from treadle.files import make_private_folder, open_private_file
from treadle.text import digest_text

WAIT_SECONDS_MAX: Final = 20.0
"""Longest wait of a dry run or a check for others: more than three rounds of the loader."""

_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class LoaderPriority:
    """The claims of one server.

    Attributes:
        folder: of the files; made if it is missing.
        clock: seconds.
        sleep: waits.
    """

    folder: Path
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @contextmanager
    def claim(self, identity: str) -> Iterator[None]:
        """Claim a destination for the loader; where that is not possible, go on without.

        Args:
            identity: of the destination.
        """
        descriptor = None
        with suppress(OSError):
            descriptor = self._open("loader", identity)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # others have it for microseconds
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def is_taken(self, identity: str) -> bool:
        """Return whether a dry run, a check or a question has a destination now.

        Each of them ends in bounded time, and while the loader claims it no other one begins.
        """
        try:
            descriptor = self._open("dry-run", identity)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor, shared=False)
        finally:
            os.close(descriptor)

    @contextmanager
    def take_turn(self, identity: str, *, shared: bool = False) -> Iterator[Callable[[], bool]]:
        """Wait until no dry run or check has the destination, and the loader does not claim it.

        The value returns whether the loader claims it by now.

        Args:
            identity: of the destination.
            shared: others that say so may have it as well.

        Raises:
            RetriableError: it was not free for `WAIT_SECONDS_MAX`, or a file cannot be used.
        """
        try:
            ours, theirs = self._open("dry-run", identity), self._open("loader", identity)
        except OSError as error:
            raise RetriableError(f"{self.folder} cannot be used: {error.strerror}") from error
        try:
            until = self.clock() + WAIT_SECONDS_MAX
            while not _try_lock(ours, shared=shared) or not _is_free(theirs):
                if self.clock() >= until:
                    raise RetriableError(f"{identity} is used by the loader, dry runs or checks")
                self.sleep(_POLL_SECONDS)
            yield lambda: not _is_free(theirs)
        finally:
            os.close(ours)
            os.close(theirs)

    def _open(self, who: str, identity: str) -> int:
        make_private_folder(self.folder)
        return open_private_file(self.folder / f"{who}.{digest_text(identity).hex()[:16]}")


def _try_lock(descriptor: int, *, shared: bool) -> bool:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
