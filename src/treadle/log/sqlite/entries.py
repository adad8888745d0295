"""Reads entries back from the file, verifies them, and finds them in spite of damage.

One flipped byte can do more than spoil its own row: it can stop a statement, or mislead the search
for the other rows of its page. The quick ways are tried first; what they do not find, or find
damaged, is sought row by row.
"""

import sqlite3
import struct
import zlib
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

from treadle.log.codec import PayloadCodec, checksum_entry
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import integer_or_zero, is_damage, read_end_position

# A row of `READ_TABLE` and `FIND_ENTRIES`. A damaged file may hold anything in a column.
StoredRow = tuple[int, Any, Any, Any, Any, Any, Any, Any]

# Rows to each side of a damaged one, among which an entry is sought that it hides: more than a page
# holds, so that the scan begins on a sound one.
NEIGHBOURS_MAX: Final = 500


class EntryReader:
    """Reads entries by table or by position.

    Args:
        connection: the reader's.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        # A damaged row may hold text that is none, which must not end the statement.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        self._connection = connection
        self._codec = PayloadCodec()

    def read_table(
        self, table_id: int, source_id: int, table_name: str, after: int
    ) -> Generator[StoredRow | DamagedEntry, None, None]:
        """Read a table's rows in order; an unreadable one is a `DamagedEntry` in its place."""
        try:
            found = self._connection.execute(statements.READ_TABLE, (table_id, after))
            with closing(found) as rows:
                for row in rows:
                    after = row[0]
                    yield row
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        else:
            return
        places = self._connection.execute(
            statements.POSITIONS_OF_TABLE, (table_id, after)
        ).fetchall()
        for (position,) in places:
            one = self._read_row(position)
            if one is None or isinstance(one, str):
                why = "its row is gone" if one is None else one
                yield DamagedEntry(position, source_id, table_name, 0, 0, why)
            else:
                # Asked for by position, the row is what names its table: take the index's word.
                yield (one[0], source_id, table_name, *one[3:])

    def restore_entry(self, row: StoredRow | DamagedEntry) -> LogEntry | DamagedEntry:
        """Return a row as an entry, or the sound entry that a damaged row hides."""
        found = row if isinstance(row, DamagedEntry) else self._decode_row(row)
        if isinstance(found, DamagedEntry):
            for other in self._scan(found.position - NEIGHBOURS_MAX, 2 * NEIGHBOURS_MAX):
                if other[0] == found.position:
                    entry = self._decode_row(other)
                    if isinstance(entry, LogEntry):
                        return entry
        return found

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        """Return the entries at positions first .. first + count - 1 that are still kept."""
        try:
            rows = self._connection.execute(
                statements.FIND_ENTRIES, (first, first + count)
            ).fetchall()
            found = [self._decode_row(row) for row in rows]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            found = []
        if len(found) == count and not any(isinstance(one, DamagedEntry) for one in found):
            return found
        return self._find_by_scan(
            first, min(first + count, read_end_position(self._connection) + 1)
        )

    def _find_by_scan(self, first: int, end: int) -> list[LogEntry | DamagedEntry]:
        found: dict[int, LogEntry | DamagedEntry] = {}
        for row in self._scan(first - NEIGHBOURS_MAX, end - first + 2 * NEIGHBOURS_MAX):
            position = row[0]
            if first <= position < end and not isinstance(found.get(position), LogEntry):
                found[position] = self._decode_row(row)
        for position in range(first, end):
            if position not in found:
                one = self._read_row(position)
                if isinstance(one, str):
                    found[position] = DamagedEntry(position, 0, "", 0, 0, one)
                elif one is not None:
                    found[position] = self._decode_row(one)
        return [found[position] for position in sorted(found)]

    def _scan(self, first: int, count: int) -> Generator[StoredRow, None, None]:
        """Read rows one after the other, up to one that SQLite cannot pass."""
        try:
            with closing(self._connection.execute(statements.SCAN_FROM, (first, count))) as rows:
                yield from rows
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise

    def _read_row(self, position: int) -> StoredRow | str | None:
        """Read one row; return SQLite's message when it cannot, None when there is no row."""
        try:
            row: StoredRow | None = self._connection.execute(
                statements.FIND_ENTRIES, (position, position + 1)
            ).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return str(error)
        return row

    def _decode_row(self, row: StoredRow) -> LogEntry | DamagedEntry:
        """Return a row as an entry, or as a damaged one when its checksum is wrong."""
        position, source_id, table_name, received_at, records, size, _, stored = row
        try:
            self._check_row(row)
            payload = self._codec.restore(stored, size)
        except (ValueError, TypeError, AttributeError, struct.error) as error:
            # A flipped byte can change the type of a column too: then nothing fits.
            return DamagedEntry(
                position=position,
                source_id=integer_or_zero(source_id),
                table_name=table_name if isinstance(table_name, str) else "",
                received_at=integer_or_zero(received_at),
                records=integer_or_zero(records),
                why=str(error),
            )
        return LogEntry(position, source_id, table_name, received_at, records, payload)

    @staticmethod
    def _check_row(row: StoredRow) -> None:
        position, source_id, table_name, received_at, records, size, crc, stored = row
        found = checksum_entry(
            zlib.crc32(stored), position, source_id, table_name.encode(), received_at, records, size
        )
        if found != crc:
            raise ValueError(f"its checksum is {found}, expected {crc}")
