"""Counts by hour, times, idempotency keys and space of the log, read from its file."""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from treadle.log.protocol import EntryNote, HourlyRecords
from treadle.log.quota import LogLook, LogSpace
from treadle.log.sqlite import statements
from treadle.log.sqlite.backlog import sum_range
from treadle.log.sqlite.log_file import (
    LogWriteLock,
    read_end_position,
    translate_errors,
    write_transaction,
)
from treadle.log.sqlite.table_ids import TableIds

DELETE_ROWS_MAX: Final = 1000
"""Rows removed in one transaction: some milliseconds, in which appends wait."""

FORGOTTEN_PORTION: Final = 10_000
"""Names forgotten in one call."""

POSITION_MAX: Final = 2**63 - 1

DELETE_PAUSE_S: Final = 0.002
"""Between two such transactions, so that appends get their turn."""


def measure_space(connection: sqlite3.Connection, path: Path) -> LogSpace:
    """Measure a log and its disk.

    Raises:
        sqlite3.Error, OSError: they cannot be asked.
    """
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (empty,) = connection.execute("PRAGMA freelist_count").fetchone()
    disk = os.statvfs(path.parent)
    # Pages of the file that hold nothing are used before the file grows.
    return LogSpace(page * (pages - empty), disk.f_bavail * disk.f_frsize + page * empty)


def look_at_log(path: Path) -> LogLook | None:
    """Return how full a log is, and how old; None where there is none.

    It takes no lock and writes nothing, and may be asked while the log is used.

    Raises:
        OperatorError, RetriableError: the log cannot be read.
    """
    if not path.exists():
        return None
    with translate_errors():
        uri = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            row = connection.execute(statements.OLDEST_KEPT).fetchone()
            space = measure_space(connection, path)
    return LogLook(space, None if row is None or not isinstance(row[0], int) else row[0])


class SqliteStatistics:
    """The statistics of one reader (`protocol.LogStatistics`).

    Args:
        connection: the reader's.
        path: the log's file.
        lock: held around transactions that write.
        table_ids: the reader's.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, lock: LogWriteLock, table_ids: TableIds
    ) -> None:
        self._connection = connection
        self._path = path
        self._lock = lock
        self._table_ids = table_ids

    def list_tables(self) -> list[tuple[int, str]]:
        """Return every table that ever had an entry; see `protocol.LogStatistics`."""
        with translate_errors():
            return [tuple(row) for row in self._connection.execute(statements.LIST_TABLES)]

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Count records above a position; see `protocol.LogStatistics`."""
        with translate_errors():
            table_id = self._table_ids.find(source_id, table_name)
            if table_id is None:
                return 0
            end = read_end_position(self._connection)
            return sum(one.records for one in sum_range(self._connection, table_id, position, end))

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        """Count records by the hour of their acceptance; see `protocol.LogStatistics`."""
        with translate_errors():
            table_id = self._table_ids.find(source_id, table_name)
            if table_id is None:
                return []
            return [
                HourlyRecords(*row)
                for row in self._connection.execute(statements.COUNT_BY_HOUR, (table_id, loaded))
            ]

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        """Return when entries were accepted; see `protocol.LogStatistics`."""
        found: dict[int, int] = {}
        with translate_errors():
            for position in positions:
                row = self._connection.execute(statements.RECEIVED_AT, (position,)).fetchone()
                if row is not None and isinstance(row[0], int):
                    found[position] = row[0]
        return found

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        """Return the newest entries below a position; see `protocol.LogStatistics`."""
        below = POSITION_MAX if position is None else position
        with translate_errors():
            if table is None:
                rows = self._connection.execute(statements.NOTES_BELOW, (below, limit))
            else:
                table_id = self._table_ids.find(*table)
                if table_id is None:
                    return []
                rows = self._connection.execute(
                    statements.NOTES_OF_TABLE_BELOW, (below, table_id, limit)
                )
            return [EntryNote(*row) for row in rows]

    def find_keys(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """Return where requests of some names are; see `protocol.LogStatistics`."""
        found: dict[bytes, int] = {}
        with translate_errors():
            for name in names:
                row = self._connection.execute(statements.FIRST_OF_REQUEST, (name,)).fetchone()
                if row is not None:
                    found[name] = int(row[0])
        return found

    def forget_keys(self, before: int) -> int:
        """Forget names stored before a time; see `protocol.LogStatistics`."""
        forgotten = 0
        with translate_errors():
            # Without the lock: whoever holds it may hang with its disk.
            has = self._connection.execute(statements.HAS_REQUEST_BEFORE, (before,))
            if has.fetchone() is None:
                return 0
            while True:
                with self._lock, write_transaction(self._connection):
                    gone = self._connection.execute(
                        statements.FORGET_REQUESTS, (before, DELETE_ROWS_MAX)
                    ).rowcount
                forgotten += gone
                if gone < DELETE_ROWS_MAX or forgotten >= FORGOTTEN_PORTION:
                    return forgotten
                time.sleep(DELETE_PAUSE_S)

    def measure_space(self) -> LogSpace:
        """Measure how full the log is; see `protocol.LogStatistics`."""
        with translate_errors():
            return measure_space(self._connection, self._path)
