"""Group commit: many requests' entries in one transaction, one fsync for all."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treadle import crash
from treadle.log import sql
from treadle.log.codec import Codec, Packed, checksum, packed
from treadle.log.disk import WriteLock, read_end, transaction
from treadle.log.protocol import NewEntry, Once, Stored

# Rows of one INSERT: few different statements, so that all of them stay prepared.
_ROWS: Final = (64, 32, 16, 8, 4, 2, 1)
_INSERTS: Final = tuple((rows, sql.add_entries(rows)) for rows in _ROWS)

# Table ids kept in memory; one is about 200 bytes.
TABLES_KEPT_MAX: Final = 100_000

Prepared = tuple[NewEntry, bytes, bytes, int]
Row = tuple[int, int, int, int, int, int, bytes]


@dataclass(slots=True)
class Request:
    """Entries that are stored together.

    Attributes:
        entries: at least one.
        once: given where they are only stored if its name is new.
        packed: their payloads in order, where they were packed beforehand.
    """

    entries: Sequence[NewEntry]
    once: Once | None
    packed: Sequence[Packed] | None


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

    def write(self, requests: Sequence[Request]) -> list[Stored]:
        """Make the entries of all requests durable, or none.

        Returns:
            For each request where its entries are; those of one follow each other without a gap.

        Raises:
            sqlite3.Error, OSError: none of them is in the log.
        """
        prepared: list[Prepared] = []
        for request in requests:
            if request.packed is None:
                prepared += [
                    (entry, entry.table_name.encode(), *packed(self._codec, entry.payload))
                    for entry in request.entries
                ]
            else:
                prepared += [
                    (entry, entry.table_name.encode(), *its)
                    for entry, its in zip(request.entries, request.packed, strict=True)
                ]
        with self._lock:
            if self._suspect:
                self._overwrite()
            self._connection.execute(sql.BEGIN_WRITE)
            try:
                following = read_end(self._connection) + 1
                stored, prepared = self._places(requests, prepared, following)
                self._insert([self._row(n, *one) for n, one in enumerate(prepared, following)])
                crash.point("log.before-commit")
                self._connection.execute(sql.COMMIT)
            except BaseException:
                self._undo()
                raise
        crash.point("log.after-commit")
        return stored

    def _places(
        self, requests: Sequence[Request], prepared: Sequence[Prepared], following: int
    ) -> tuple[list[Stored], list[Prepared]]:
        """Where each request is already, or will be; and the entries that are to be added."""
        stored: list[Stored] = []
        new: list[Prepared] = []
        begin = 0
        for request in requests:
            end = begin + len(request.entries)
            place = Stored(following, b"", before=False)
            if request.once is not None:
                place = self._place(request.once, following, request.entries[0].received_at)
            stored.append(place)
            if not place.before:
                new += prepared[begin:end]
                following += end - begin
            begin = end
        return stored, new

    def _place(self, once: Once, following: int, at: int) -> Stored:
        """Where a request is already; or `following`, which is noted."""
        found = self._connection.execute(sql.REPEATED, (once.name,)).fetchone()
        if found is not None:
            digest, first = found
            return Stored(int(first), bytes(digest), before=True)
        self._connection.execute(sql.ADD_REQUEST, (once.name, once.digest, following, at))
        return Stored(following, once.digest, before=False)

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
