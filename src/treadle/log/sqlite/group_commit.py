"""Group commit: the entries of many requests in one transaction, with one fsync for all."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treadle import failpoint
from treadle.log.protocol import AppendResult, IdempotencyKey, NewEntry
from treadle.log.sqlite import statements
from treadle.log.sqlite.codec import PayloadCodec, StoredPayload, checksum_entry, encode_payload
from treadle.log.sqlite.log_file import LogWriteLock, read_end_position, write_transaction
from treadle.log.sqlite.table_ids import TableIds

# Rows of one INSERT: few different statements, so that all of them stay prepared.
_ROWS_PER_INSERT: Final = (64, 32, 16, 8, 4, 2, 1)
_INSERT_STATEMENTS: Final = tuple((rows, statements.make_insert(rows)) for rows in _ROWS_PER_INSERT)

PreparedEntry = tuple[NewEntry, bytes, bytes, int]
InsertRow = tuple[int, int, int, int, int, int, bytes]


@dataclass(slots=True)
class AppendRequest:
    """The entries of one request, which are stored together.

    Attributes:
        entries: at least one.
        key: given where they are only stored if its name is new.
        payloads: theirs in order, where they were encoded beforehand.
    """

    entries: Sequence[NewEntry]
    key: IdempotencyKey | None
    payloads: Sequence[StoredPayload] | None


class GroupWriter:
    """Writes groups of entries. Used by one thread.

    Args:
        connection: durable (`log_file.open_log_file`); not closed here.
        lock: held around each transaction.
    """

    def __init__(self, connection: sqlite3.Connection, lock: LogWriteLock) -> None:
        self._connection = connection
        self._lock = lock
        self._codec = PayloadCodec()
        self._table_ids = TableIds(connection)
        self._suspect = False
        self.failed = False
        """A write failed, and the connection is not to be trusted until the log is opened anew."""

    def write(self, requests: Sequence[AppendRequest]) -> list[AppendResult]:
        """Make the entries of all requests durable, or none.

        Returns:
            For each request where its entries are; those of one follow each other without a gap.

        Raises:
            sqlite3.Error, OSError: none of them is in the log.
        """
        prepared: list[PreparedEntry] = []
        for request in requests:
            if request.payloads is None:
                prepared += [
                    (entry, entry.table_name.encode(), *encode_payload(self._codec, entry.payload))
                    for entry in request.entries
                ]
            else:
                prepared += [
                    (entry, entry.table_name.encode(), *its)
                    for entry, its in zip(request.entries, request.payloads, strict=True)
                ]
        with self._lock:
            if self._suspect:
                self._overwrite_failed_commit()
            self._connection.execute(statements.BEGIN_WRITE)
            try:
                following = read_end_position(self._connection) + 1
                stored, prepared = self._assign_positions(requests, prepared, following)
                self._insert_rows(
                    [self._make_row(n, *one) for n, one in enumerate(prepared, following)]
                )
                failpoint.reach("log.before-commit")
                self._connection.execute(statements.COMMIT)
            except BaseException:
                self._roll_back()
                raise
        failpoint.reach("log.after-commit")
        return stored

    def _assign_positions(
        self, requests: Sequence[AppendRequest], prepared: Sequence[PreparedEntry], following: int
    ) -> tuple[list[AppendResult], list[PreparedEntry]]:
        """Find the position of each request, old or new, and the entries to add."""
        stored: list[AppendResult] = []
        new: list[PreparedEntry] = []
        begin = 0
        for request in requests:
            end = begin + len(request.entries)
            place = AppendResult(following, b"", duplicate=False)
            if request.key is not None:
                place = self._find_or_add_key(
                    request.key, following, request.entries[0].received_at
                )
            stored.append(place)
            if not place.duplicate:
                new += prepared[begin:end]
                following += end - begin
            begin = end
        return stored, new

    def _find_or_add_key(self, once: IdempotencyKey, following: int, at: int) -> AppendResult:
        """Return where a request is already, or note that it will be at `following`."""
        found = self._connection.execute(statements.COUNT_REPEAT, (once.name,)).fetchone()
        if found is not None:
            digest, first = found
            return AppendResult(int(first), bytes(digest), duplicate=True)
        self._connection.execute(statements.ADD_REQUEST, (once.name, once.digest, following, at))
        return AppendResult(following, once.digest, duplicate=False)

    def _make_row(
        self, position: int, entry: NewEntry, table_name: bytes, stored: bytes, stored_crc: int
    ) -> InsertRow:
        size = len(entry.payload)
        crc = checksum_entry(
            stored_crc,
            position,
            entry.source_id,
            table_name,
            entry.received_at,
            entry.records,
            size,
        )
        table_id = self._table_ids.find_or_add(entry.source_id, entry.table_name)
        return position, table_id, entry.received_at, entry.records, size, crc, stored

    def _insert_rows(self, rows: Sequence[InsertRow]) -> None:
        start = 0
        for count, statement in _INSERT_STATEMENTS:
            while len(rows) - start >= count:
                chunk = rows[start : start + count]
                self._connection.execute(statement, [value for row in chunk for value in row])
                start += count

    def _roll_back(self) -> None:
        """Undo a transaction that failed, so that nothing of it can come back."""
        self._table_ids.forget()
        self._suspect = self.failed = True
        try:
            if self._connection.in_transaction:
                self._connection.execute(statements.ROLLBACK)
            self._overwrite_failed_commit()
        except sqlite3.Error:
            return  # the next write begins with it

    def overwrite_failed_commit(self) -> None:
        """Write a small transaction and have it fsynced: the disk takes data again."""
        with self._lock:
            self._overwrite_failed_commit()

    def _overwrite_failed_commit(self) -> None:
        """Write over what a failed commit may have left in the write-ahead log.

        When the fsync of a commit fails, its frames stand in the file complete, though SQLite and
        the caller know it as undone: after a crash they would be taken for a commit. A small
        transaction takes their place.
        """
        if self._connection.in_transaction:
            self._connection.execute(statements.ROLLBACK)
        with write_transaction(self._connection):
            self._connection.execute(statements.COUNT_FAILURE)
        self._suspect = False
