"""Limits for the memory that DuckDB uses and keeps.

DuckDB keeps what a load wrote until a checkpoint, and a checkpoint writes a table's last group of
rows anew (30,720 here, 122,880 where another program made it: attach.py), for which it takes what
it can get: a gigabyte where rows of the larger groups have a kilobyte. So checkpoints
are made here, between loads, with a `memory_limit` for as long as they last. A limit while a load
lasts would not do: when a COMMIT meets it, DuckDB may leave in the index of another table the key
of a row that it took back. A checkpoint that meets it is only a checkpoint that failed: the file is
closed, and opening it reads the write-ahead log again.

DuckDB also keeps the blocks that it read, as long as the file is open; it is made to let go of them
where they are many. What it keeps of a table's columns and keys (13 to 20 KB) stays.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

LOGGED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of the write-ahead log, before a checkpoint; DuckDB's own default."""

LIMIT_BYTES: Final = 100_000_000
"""For a checkpoint. With 200 MB it was a third faster than with 120 where rows have a kilobyte."""

LIMIT_BYTES_MAX: Final = 1_000_000_000
"""A checkpoint that needs more than that gets what it takes."""

GATHERED_BYTES_MAX: Final = 40_000_000

LITTLE_MAX: Final = 8
"""Loads that add little, after which it is asked how much is held: a new table of 100 records adds
1.6 MB, and the question takes a tenth as long as such a load."""

LITTLE_BYTES_MAX: Final = 4_000_000
"""Bytes that such loads log before it is asked."""


def measure_log(path: Path) -> int:
    """Return the bytes of a file's write-ahead log; 0 when there is none."""
    try:
        return path.with_name(path.name + ".wal").stat().st_size
    except FileNotFoundError:
        return 0


def raise_limit(limit: int) -> int | None:
    """Return the limit for a checkpoint that met this one; None for no limit."""
    return 2 * limit if limit < LIMIT_BYTES_MAX else None


def checkpoint(connection: duckdb.DuckDBPyConnection, limit: int | None) -> None:
    """Write what was logged into the file, with at most so many bytes of memory where that can be.

    Raises:
        duckdb.FatalException: it met the limit or a fault of the disk; nothing is lost, and the
            file has to be closed and opened.
    """
    if limit is not None and not _hold(connection, limit):
        limit = None  # it holds more than that, and cannot do without
    try:
        connection.execute("CHECKPOINT")
    finally:
        if limit is not None:
            with suppress(duckdb.Error):  # after a fatal error it takes no statement
                connection.execute("RESET memory_limit")


def release_memory(connection: duckdb.DuckDBPyConnection, size: int) -> bool:
    """Make DuckDB hold so many bytes at most now; return whether it could."""
    could = _hold(connection, size)
    connection.execute("RESET memory_limit")
    return could


def _hold(connection: duckdb.DuckDBPyConnection, limit: int) -> bool:
    try:
        connection.execute(f"SET memory_limit = '{limit:d}B'")
    except duckdb.OutOfMemoryException:
        return False
    return True


@dataclass(slots=True)
class MemoryWatch:
    """Watches the memory that one session gathers.

    Attributes:
        bytes_max: from where on it is much; None for never.
    """

    bytes_max: int | None = GATHERED_BYTES_MAX
    _loads: int = 0
    _first: int = 0
    _unasked: int = 0
    _logged: int = 0

    @property
    def kept(self) -> int:
        """Bytes that may stay when it is let go of: half of what is much."""
        return (self.bytes_max or 0) // 2

    def note_load(
        self, connection: duckdb.DuckDBPyConnection, logged: int = 0, *, adds_little: bool = False
    ) -> bool:
        """Count a load, and return whether DuckDB must let go of memory before it.

        What the first load needs, the next ones need again: the index of a large table is not read
        anew for every load.

        Args:
            connection: of the session.
            logged: bytes of the write-ahead log.
            adds_little: the load writes few rows, and reads none.
        """
        if self.bytes_max is None:
            return False
        self._loads += 1
        little = self._unasked < LITTLE_MAX and 0 <= logged - self._logged < LITTLE_BYTES_MAX
        self._unasked = self._unasked + 1 if adds_little else LITTLE_MAX
        if self._loads == 1 or (self._loads > 2 and little):
            return False
        self._unasked = 1 if adds_little else LITTLE_MAX
        self._logged = logged
        held = self.measure_held(connection)
        if self._loads == 2:
            self._first = held
        if held <= max(self.bytes_max, 2 * self._first):
            return False
        self._loads = 1
        return True

    def measure_held(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Return the bytes that DuckDB holds now."""
        [(held,)] = connection.execute(
            "SELECT CAST(sum(memory_usage_bytes) AS BIGINT) FROM duckdb_memory()"
        ).fetchall()
        return int(held)
