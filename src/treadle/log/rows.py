"""Entries as they are read back from the file: verified, and found in spite of damage.

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

from treadle.log import sql
from treadle.log.codec import Codec, checksum
from treadle.log.counting import is_damage
from treadle.log.disk import read_end
from treadle.log.protocol import Damaged, Entry

# A row of `sql.READ` and `sql.FIND`. What a damaged file holds in a column may be anything.
Row = tuple[int, Any, Any, Any, Any, Any, Any, Any]

# Rows to each side of a damaged one, among which an entry is sought that it hides: more than a page
# holds, so that the walk begins on a sound one.
NEIGHBOURS: Final = 500


class Rows:
    """Reads entries.

    Args:
        connection: the reader's.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        # A damaged row may hold text that is none, which must not end the statement.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        self._connection = connection
        self._codec = Codec()

    def of_table(
        self, table_id: int, source_id: int, table_name: str, after: int
    ) -> Generator[Row | Damaged, None, None]:
        """Rows of a table in order; one that cannot be read is `Damaged` in its place."""
        try:
            with closing(self._connection.execute(sql.READ, (table_id, after))) as rows:
                for row in rows:
                    after = row[0]
                    yield row
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        else:
            return
        places = self._connection.execute(sql.POSITIONS_OF, (table_id, after)).fetchall()
        for (position,) in places:
            found = self._row_at(position)
            if isinstance(found, str):
                yield Damaged(position, source_id, table_name, 0, 0, found)
            elif found is None:
                yield Damaged(position, source_id, table_name, 0, 0, "its row is gone")
            else:
                # Asked for by position, the row is what names its table: take the index's word.
                yield (found[0], source_id, table_name, *found[3:])

    def entry(self, row: Row | Damaged) -> Entry | Damaged:
        """A row as an entry, if it is what was appended; or the sound one it hides."""
        found = row if isinstance(row, Damaged) else self._verified(row)
        if isinstance(found, Damaged):
            for other in self._walk(found.position - NEIGHBOURS, 2 * NEIGHBOURS):
                if other[0] == found.position:
                    entry = self._verified(other)
                    if isinstance(entry, Entry):
                        return entry
        return found

    def find(self, first: int, count: int) -> list[Entry | Damaged]:
        """The entries at positions first .. first + count - 1 that are still kept."""
        try:
            rows = self._connection.execute(sql.FIND, (first, first + count)).fetchall()
            found = [self._verified(row) for row in rows]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            found = []
        if len(found) == count and not any(isinstance(one, Damaged) for one in found):
            return found
        return self._find_walking(first, min(first + count, read_end(self._connection) + 1))

    def _find_walking(self, first: int, end: int) -> list[Entry | Damaged]:
        found: dict[int, Entry | Damaged] = {}
        for row in self._walk(first - NEIGHBOURS, end - first + 2 * NEIGHBOURS):
            position = row[0]
            if first <= position < end and not isinstance(found.get(position), Entry):
                found[position] = self._verified(row)
        for position in range(first, end):
            if position not in found:
                one = self._row_at(position)
                if isinstance(one, str):
                    found[position] = Damaged(position, 0, "", 0, 0, one)
                elif one is not None:
                    found[position] = self._verified(one)
        return [found[position] for position in sorted(found)]

    def _walk(self, first: int, count: int) -> Generator[Row, None, None]:
        """Rows one after the other, whatever positions they have, up to one that stops it."""
        try:
            with closing(self._connection.execute(sql.NEIGHBOURS, (first, count))) as rows:
                yield from rows
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise

    def _row_at(self, position: int) -> Row | str | None:
        """A row; what SQLite says when it cannot be read; None when there is none."""
        try:
            row: Row | None = self._connection.execute(
                sql.FIND, (position, position + 1)
            ).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return str(error)
        return row

    def _verified(self, row: Row) -> Entry | Damaged:
        """A row as an entry, if it is what was appended."""
        position, source_id, table_name, received_at, records, size, _, stored = row
        try:
            self._verify(row)
            payload = self._codec.restore(stored, size)
        except (ValueError, TypeError, AttributeError, struct.error) as error:
            # A flipped byte can change the type of a column too: then nothing fits.
            return Damaged(
                position=position,
                source_id=_whole(source_id),
                table_name=table_name if isinstance(table_name, str) else "",
                received_at=_whole(received_at),
                records=_whole(records),
                why=str(error),
            )
        return Entry(position, source_id, table_name, received_at, records, payload)

    @staticmethod
    def _verify(row: Row) -> None:
        position, source_id, table_name, received_at, records, size, crc, stored = row
        found = checksum(
            zlib.crc32(stored), position, source_id, table_name.encode(), received_at, records, size
        )
        if found != crc:
            raise ValueError(f"its checksum is {found}, expected {crc}")


def _whole(value: object) -> int:
    """A number, or 0 for what damage made of it."""
    return value if isinstance(value, int) else 0
