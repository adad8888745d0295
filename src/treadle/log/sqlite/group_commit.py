"""Group commit: the entries of many requests in one transaction, with one fsync for all."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import chain, count
from typing import Final

from treadle import failpoint
from treadle.log.append_intake import AppendRequest
from treadle.log.codec import PayloadCodec, checksum_entry, encode_payload
from treadle.log.protocol import AppendResult, AppendUnknownError, IdempotencyKey, NewEntry
from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import (
    LogWriteLock,
    cut_write_ahead_log,
    get_result_code,
    read_end_position,
    write_transaction,
)
from treadle.log.sqlite.table_ids import TableCounter, TableIds, split_evenly
from treadle.quotas import QUOTA_RETRY_SECONDS, QuotaReachedError

# Rows of one INSERT: few different statements, so that all of them stay prepared. Each gives the
# interpreter's lock away a few times, and gets it back only when another thread leaves it: 20,000
# entries took up to 2.8 s beside threads that decoded, with 64 rows at most.
_ROWS_PER_INSERT: Final = (1024, 64, 32, 16, 8, 4, 2, 1)
_INSERTS: Final = {rows: statements.make_insert(rows) for rows in _ROWS_PER_INSERT}

PreparedEntry = tuple[NewEntry, bytes, bytes, int]
InsertRow = tuple[int, int, int, int, int, int, bytes]


class GroupWriter:
    """Writes groups of entries. Used by one thread.

    Args:
        connection: durable (`log_file.open_log_file`); not closed here.
        lock: held around each transaction.
        get_tables_max: source id -> how many tables it may have, 0 for any.
        report_commit: called with the microseconds that each commit took, its fsync included.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: LogWriteLock,
        get_tables_max: Callable[[int], int] = lambda source_id: 0,
        report_commit: Callable[[int], None] = lambda microseconds: None,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._get_tables_max = get_tables_max
        self._report_commit = report_commit
        self._codec = PayloadCodec()
        self._table_ids = TableIds(connection)
        self._table_counter = TableCounter(connection)
        self._suspect = False
        self.failed = False
        """A write failed, and the connection is not to be trusted until the log is opened anew."""

    def write(self, requests: Sequence[AppendRequest]) -> list[AppendResult | QuotaReachedError]:
        """Make the entries of all requests durable, or none, but those of a refused request.

        Returns:
            For each request where its entries are, or why they are not there; those of one follow
            each other without a gap.

        Raises:
            sqlite3.Error, OSError: none of them is in the log.
            AppendUnknownError: the commit failed, and what it left could not be written over: after
                a crash it may be taken for a commit.
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
            commits = False
            try:
                following = read_end_position(self._connection) + 1
                stored, prepared = self._assign_positions(requests, prepared, following)
                self._insert_rows([*map(self._make_row, prepared, count(following))])
                failpoint.reach("log.before-commit")
                began = time.perf_counter_ns()
                commits = True
                self._connection.execute(statements.COMMIT)
                took = (time.perf_counter_ns() - began) // 1000
            except BaseException as error:
                is_undone = self._roll_back()
                if commits and not is_undone and _may_leave_commit(error):
                    raise AppendUnknownError(
                        f"the log's disk failed in a commit ({error}), and took nothing that would "
                        f"undo it; nobody knows whether the entries are in the log"
                    ) from error
                raise
        failpoint.reach("log.after-commit")
        self._report_commit(took)
        return stored

    def _assign_positions(
        self, requests: Sequence[AppendRequest], prepared: Sequence[PreparedEntry], following: int
    ) -> tuple[list[AppendResult | QuotaReachedError], list[PreparedEntry]]:
        """Find the position of each request, old or new, and the entries to add.

        A request whose tables are more than its source may have is refused, and leaves nothing.
        """
        stored: list[AppendResult | QuotaReachedError] = []
        new: list[PreparedEntry] = []
        begin = 0
        # Nearly always the tables of a group are known: then no request is asked for its own.
        adds_tables = not self._table_ids.keeps_all(
            [(entry.source_id, entry.table_name) for entry, _, _, _ in prepared]
        )
        for request in requests:
            end = begin + len(request.entries)
            # Its key first: a repetition stores nothing, so it must not add tables either.
            outcome: AppendResult | QuotaReachedError | None = None
            if request.key is not None:
                outcome = self._find_repeated(request.key)
            if outcome is None and adds_tables:
                outcome = self._find_refusal(request.entries)
            if outcome is None:
                outcome = self._add_request(request, following)
                new += prepared[begin:end]
                following += end - begin
            stored.append(outcome)
            begin = end
        return stored, new

    def _find_refusal(self, entries: Sequence[NewEntry]) -> QuotaReachedError | None:
        """Return why a request may not add its tables; None where it may, or adds none.

        All appenders take turns here, so the number of tables is exact over all processes. The
        tables are added at once, so that the next request of the group finds them.
        """
        ids = self._table_ids
        tables = ids.list_unkept([(one.source_id, one.table_name) for one in entries])
        if not tables:
            return None
        names_by_source: dict[int, list[str]] = {}
        for source_id, name in tables:
            names_by_source.setdefault(source_id, []).append(name)
        new = {
            source_id: ids.find_unknown(source_id, names)
            for source_id, names in names_by_source.items()
        }
        for source_id, names in new.items():
            most = self._get_tables_max(source_id)
            if names and most and self._table_counter.count(source_id) + len(names) > most:
                return QuotaReachedError(source_id, "tables", most, QUOTA_RETRY_SECONDS)
        for source_id, names in new.items():
            ids.add_tables(source_id, names)
        return None

    def _find_repeated(self, once: IdempotencyKey) -> AppendResult | None:
        """Return where a request is already; None where its key is new."""
        found = self._connection.execute(statements.COUNT_REPEAT, (once.name,)).fetchone()
        if found is None:
            return None
        digest, first = found
        return AppendResult(int(first), bytes(digest), duplicate=True)

    def _add_request(self, request: AppendRequest, following: int) -> AppendResult:
        """Note that a request will be at `following`, if it has a key; return that."""
        once = request.key
        if once is None:
            return AppendResult(following, b"", duplicate=False)
        at = request.entries[0].received_at
        self._connection.execute(statements.ADD_REQUEST, (once.name, once.digest, following, at))
        return AppendResult(following, once.digest, duplicate=False)

    def _make_row(self, prepared: PreparedEntry, position: int) -> InsertRow:
        entry, table_name, stored, stored_crc = prepared
        source_id, received_at, records = entry.source_id, entry.received_at, entry.records
        size = len(entry.payload)
        crc = checksum_entry(
            stored_crc, position, source_id, table_name, received_at, records, size
        )
        table_id = self._table_ids.find_or_add(source_id, entry.table_name)
        return position, table_id, received_at, records, size, crc, stored

    def _insert_rows(self, rows: Sequence[InsertRow]) -> None:
        # One row is the usual group of a sender that waits for each answer.
        for chunk in split_evenly(rows, _ROWS_PER_INSERT) if len(rows) != 1 else (rows,):
            self._connection.execute(_INSERTS[len(chunk)], [*chain.from_iterable(chunk)])

    def _roll_back(self) -> bool:
        """Undo a transaction that failed; return whether nothing of it can come back."""
        self._table_ids.forget()
        self._table_counter.forget()
        self._suspect = self.failed = True
        try:
            if self._connection.in_transaction:
                self._connection.execute(statements.ROLLBACK)
            self._overwrite_failed_commit()
        except (sqlite3.Error, OSError):
            return False  # the next write begins with it
        return True

    def overwrite_failed_commit(self) -> None:
        """Write a small transaction and have it fsynced: the disk takes data again."""
        with self._lock:
            self._overwrite_failed_commit()

    def _overwrite_failed_commit(self) -> None:
        """Write over what a failed commit may have left in the write-ahead log.

        When the fsync of a commit fails, its frames stand in the file complete, though SQLite and
        the caller know it as undone: after a crash they would be taken for a commit. A small
        transaction takes the place of the first of them, and the others are cut off: a recovery
        would find committed pages in them, and take those instead of what is written after this.
        """
        if self._connection.in_transaction:
            self._connection.execute(statements.ROLLBACK)
        with write_transaction(self._connection):
            self._connection.execute(statements.COUNT_FAILURE)
        cut_write_ahead_log(self._connection)
        self._suspect = False


def _may_leave_commit(error: BaseException) -> bool:
    """Return whether a commit that failed so may stand in the write-ahead log complete.

    Not where the disk was full: SQLite says so of a frame that could not be written, and that with
    the commit mark is the last one. Only the fsync comes after it, whose errors have another code.
    """
    return not isinstance(error, sqlite3.Error) or get_result_code(error) != sqlite3.SQLITE_FULL
