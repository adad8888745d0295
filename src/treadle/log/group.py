"""Group commit: many requests' entries in one transaction, one fsync for all."""

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Final

from treadle import crash
from treadle.log import sql
from treadle.log.codec import Codec, checksum
from treadle.log.disk import WriteLock, read_end, transaction
from treadle.log.protocol import NewEntry

# Rows of one INSERT: few different statements, so that all of them stay prepared.
_ROWS: Final = (64, 8, 1)
_INSERTS: Final = tuple((rows, sql.add_entries(rows)) for rows in _ROWS)

# Table ids kept in memory; one is about 200 bytes.
TABLES_KEPT_MAX: Final = 100_000

Prepared = tuple[NewEntry, bytes, bytes, int]
Row = tuple[int, int, int, int, int, int, bytes]


class GroupWriter:
    """Writes groups of entries. Used by one thread.

    Args:
        connection: durable (`disk.open_log`); not closed here.
        lock: held around each transaction.
    """

    def __init__(self, connection: sqlite3.Connection, lock: WriteLock) -> None:
        self._connection = connection
        self._lock = lock
        self._codec = Codec()
        self._table_ids: dict[tuple[int, str], int] = {}
        self._suspect = False
        self.failed = False
        """A write failed, and the connection is not to be trusted until the log is opened anew."""

    def write(self, entries: Sequence[NewEntry]) -> int:
        """Make all entries durable, or none.

        Returns:
            The position of the first; the others follow without a gap.

        Raises:
            sqlite3.Error, OSError: none of them is in the log.
        """
        prepared = [self._prepare(entry) for entry in entries]
        with self._lock:
            if self._suspect:
                self._overwrite()
            self._connection.execute(sql.BEGIN_WRITE)
            try:
                end = read_end(self._connection)
                self._insert([self._row(end + n, *one) for n, one in enumerate(prepared, start=1)])
                crash.point("log.before-commit")
                self._connection.execute(sql.COMMIT)
            except BaseException:
                self._undo()
                raise
        crash.point("log.after-commit")
        return end + 1

    def _prepare(self, entry: NewEntry) -> Prepared:
        stored = self._codec.compress(entry.payload)
        return entry, entry.table_name.encode(), stored, zlib.crc32(stored)

    def _row(
        self, position: int, entry: NewEntry, table_name: bytes, stored: bytes, stored_crc: int
    ) -> Row:
        size = len(entry.payload)
        crc = checksum(
            stored_crc,
            position,
            entry.source_id,
            table_name,
            entry.received_at,
            entry.records,
            size,
        )
        table_id = self._table_id(entry.source_id, entry.table_name)
        return position, table_id, entry.received_at, entry.records, size, crc, stored

    def _insert(self, rows: Sequence[Row]) -> None:
        start = 0
        for count, statement in _INSERTS:
            while len(rows) - start >= count:
                chunk = rows[start : start + count]
                self._connection.execute(statement, [value for row in chunk for value in row])
                start += count

    def _table_id(self, source_id: int, table_name: str) -> int:
        key = (source_id, table_name)
        known = self._table_ids.get(key)
        if known is not None:
            return known
        found = self._connection.execute(sql.TABLE_ID, key).fetchone()
        if found is None:
            found = self._connection.execute(sql.ADD_TABLE, key).fetchone()
        if len(self._table_ids) >= TABLES_KEPT_MAX:
            self._table_ids.clear()
        table_id: int = found[0]
        self._table_ids[key] = table_id
        return table_id

    def _undo(self) -> None:
        """Take back a transaction that failed, so that nothing of it can come back."""
        self._table_ids.clear()  # ids of tables that were made in it are not theirs
        self._suspect = self.failed = True
        try:
            if self._connection.in_transaction:
                self._connection.execute(sql.ROLLBACK)
            self._overwrite()
        except sqlite3.Error:
            return  # the next write begins with it

    def overwrite(self) -> None:
        """Write a small transaction and have it fsynced: the disk takes data again."""
        with self._lock:
            self._overwrite()

    def _overwrite(self) -> None:
        """Write over what a failed commit may have left in the write-ahead log.

        When the fsync of a commit fails, its frames stand in the file complete, though SQLite and
        the caller know it as undone: after a crash they would be taken for a commit. A small
        transaction takes their place.
        """
        if self._connection.in_transaction:
            self._connection.execute(sql.ROLLBACK)
        with transaction(self._connection):
            self._connection.execute(sql.COUNT_FAILURE)
        self._suspect = False
