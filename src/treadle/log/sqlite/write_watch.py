"""Tells whether a SQLite file in WAL mode was written, without opening it."""

from pathlib import Path


class WriteWatch:
    """A watch for commits to a file, of any process. A look takes a few microseconds.

    Two commits in one tick of the kernel's clock may look like one, so that it is a hint: whoever
    has to know looks into the file as well, from time to time.

    Args:
        path: of the file; its WAL is beside it.
    """

    def __init__(self, path: Path) -> None:
        self._wal = Path(f"{path}-wal")
        self._seen: tuple[int, int, int] | None = None

    def sense_write(self) -> bool:
        """Return whether something was written since the last call."""
        try:
            its = self._wal.stat()
        except OSError:  # no WAL: nobody has written since the file was opened
            found = None
        else:
            found = its.st_ino, its.st_size, its.st_mtime_ns
        moved = found != self._seen
        self._seen = found
        return moved
