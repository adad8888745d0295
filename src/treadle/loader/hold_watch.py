"""Bounds how long loading waits for a reader that holds the file of a database.

DuckDB lets nobody write to a file while somebody else has it open, if only for reading. After a
while the file is given another inode of the same content: the reader keeps what it has open, and
loading goes on under the name. Somebody who has it open for writing is waited for: what that
process writes would be lost.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from treadle.destinations.protocol import DestinationHeldError
from treadle.errors import TreadleError

logger = logging.getLogger("treadle.loader")


@dataclass(slots=True)
class HoldWatch:
    """Watches the file of one destination.

    Attributes:
        held_us: how long a reader may hold it, microseconds; 0 for as long as it likes.
        release: gives a file another inode; raises what keeps it from that.
        clock: microseconds since 1970.
    """

    held_us: int
    release: Callable[[Path], None]
    clock: Callable[[], int]
    _since: int | None = None

    def note_success(self) -> None:
        """Note that the file could be opened."""
        self._since = None

    def note_failure(self, error: Exception, file: Path | None, *, is_asked: bool = False) -> bool:
        """Note that it could not; return whether the file was released, so that it can now.

        Args:
            error: of the try.
            file: of the destination; None for a server.
            is_asked: a question of the server itself reads it, and ends in bounded time.
        """
        if file is None or not isinstance(error, DestinationHeldError):
            self._since = None
            return False
        now = self.clock()
        if self._since is None or now < self._since:
            self._since = now
        held_us = now - self._since
        if is_asked or not self.held_us or held_us < self.held_us:
            return False
        try:
            self.release(file)
        except TreadleError as refused:
            logger.warning("%s is held and cannot be taken from its reader: %s", file, refused)
            return False
        self._since = None
        logger.warning(
            "%s: loading goes on in a copy under its name after %.0f s; the reader sees new rows "
            "when it opens the file again",
            error,
            held_us / 1e6,
            extra={"fields": {"file": str(file), "held_seconds": held_us / 1e6}},
        )
        return True
