"""Whether there is room for more: refused early, so that what is accepted can always be loaded.

Loading writes too: notes in the log and the store, and rows where the destination is a file beside
them. So a part of the disk is not given to new requests.
"""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LogSpace:
    """How full a log is.

    Attributes:
        used: bytes of the file that hold something.
        free: bytes it can grow: free ones of the disk, and those of the file that hold nothing.
    """

    used_bytes: int
    free_bytes: int


def space(connection: sqlite3.Connection, path: Path) -> LogSpace:
    """Look at a log and its disk.

    Raises:
        sqlite3.Error, OSError: they cannot be asked.
    """
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (empty,) = connection.execute("PRAGMA freelist_count").fetchone()
    disk = os.statvfs(path.parent)
    return LogSpace(page * (pages - empty), disk.f_bavail * disk.f_frsize + page * empty)


@dataclass(frozen=True, slots=True)
class LogQuota:
    """The bounds of a log.

    Attributes:
        bytes_max: it takes no more while it holds this much; 0 for no bound.
        reserve: bytes of the disk that are left for loading.
        look: how full it is; another one in tests.
    """

    bytes_max: int = 0
    disk_reserve_bytes: int = 0
    look: Callable[[sqlite3.Connection, Path], LogSpace] = space

    def find_shortage(self, found: LogSpace) -> str | None:
        """Why there is no room for more; None when there is."""
        if self.bytes_max and found.used_bytes >= self.bytes_max:
            return (
                f"the log holds {found.used_bytes} bytes, and log_bytes allows "
                f"{self.bytes_max}; it "
                f"takes more once some are loaded and removed"
            )
        if found.free_bytes < self.disk_reserve_bytes:
            return (
                f"the disk of the log has {found.free_bytes} bytes left, and disk_reserve_bytes "
                f"keeps "
                f"{self.disk_reserve_bytes} for loading; it takes more once there is room"
            )
        return None
