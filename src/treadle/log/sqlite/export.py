"""Reads a whole log out of its file, to be written into another back-end."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from treadle.errors import OperatorError
from treadle.log.codec import checksum_entry
from treadle.log.protocol import FIRST_LOG
from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import (
    open_log_file,
    open_sqlite,
    read_end_position,
    translate_errors,
)
from treadle.log.transfer import ExportedEntry, ExportedKey, ExportedTable

INT4_MAX: Final = (1 << 31) - 1
INT8_MAX: Final = (1 << 63) - 1

KEY_BYTES: Final = 32
"""Of the name of a request and of its digest."""


@contextmanager
def open_log_export(path: Path, number: int = FIRST_LOG) -> Iterator["SqliteLogExport"]:
    """Open a log that nobody writes; raises like `log_file.open_log_file`."""
    connection, lock, log_id = open_log_file(path, open_sqlite, durable=False)
    try:
        yield SqliteLogExport(connection, log_id, number)
    finally:
        connection.close()
        lock.close()


class SqliteLogExport:
    """All that a log in a file holds (`transfer.LogExport`).

    Args:
        connection: to the file.
        log_id: the log's name.
        number: of the log, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, log_id: str, number: int) -> None:
        # A damaged row may hold text that is none, which must not end the statement.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        self._connection = connection
        self._number = number
        self.log_id = log_id
        with translate_errors():
            self.end_position = read_end_position(connection)
            self._tables = {
                row[0]: (row[1], row[2].encode())
                for row in connection.execute(statements.EXPORT_TABLES)
                if isinstance(row[1], int) and isinstance(row[2], str)
            }

    def count_entries(self) -> int:
        """Return how many entries there are; see `transfer.LogExport`."""
        with translate_errors():
            (count,) = self._connection.execute(statements.COUNT_ENTRIES).fetchone()
        return int(count)

    def list_tables(self) -> list[ExportedTable]:
        """Return all tables; see `transfer.LogExport`."""
        with translate_errors():
            rows = self._connection.execute(statements.EXPORT_TABLES).fetchall()
        for row in rows:
            if not _has_types(row, int, int, str, int):
                raise self._make_damage_error()
        return [ExportedTable(*row) for row in rows]

    def read_entries(self, after: int, upto: int) -> Iterator[ExportedEntry]:
        """Read entries in order; see `transfer.LogExport`.

        Raises:
            OperatorError: the file is damaged so that rows cannot be read.
        """
        with translate_errors():
            for row in self._connection.execute(statements.EXPORT_ENTRIES, (after, upto)):
                yield self._judge_row(row)

    def read_keys(self) -> Iterator[ExportedKey]:
        """Read the names of requests; see `transfer.LogExport`."""
        with translate_errors():
            for row in self._connection.execute(statements.EXPORT_KEYS):
                fits = _has_types(row, bytes, bytes, int, int, int)
                if not fits or (len(row[0]), len(row[1])) != (KEY_BYTES, KEY_BYTES):
                    raise self._make_damage_error()
                yield ExportedKey(*row)

    def _judge_row(self, row: tuple[Any, ...]) -> ExportedEntry:
        """Return a row as an entry. A flipped byte can change the type of a column, too."""
        position, table_id, received_at, records, size, crc, stored = row
        its = self._tables.get(table_id)
        sound = False
        if its is not None and _has_types(row, int, int, int, int, int, int, bytes):
            source_id, name = its
            numbers = (position, source_id, name, received_at, records, size)
            sound = checksum_entry(zlib.crc32(stored), *numbers) == crc
        return ExportedEntry(
            position,
            table_id if its is not None else 0,
            _bound(received_at, INT8_MAX),
            _bound(records, INT4_MAX),
            _bound(size, INT4_MAX),
            crc.to_bytes(4, "big") if isinstance(crc, int) and 0 <= crc < 2**32 else None,
            sound,
            stored if isinstance(stored, bytes) else str(stored).encode("utf-8", "replace"),
        )

    def _make_damage_error(self) -> OperatorError:
        return OperatorError(
            f"log {self._number} is damaged: run `treadle log salvage`, and try again"
        )


def _has_types(row: tuple[Any, ...], *types: type) -> bool:
    return all(isinstance(value, one) for value, one in zip(row, types, strict=True))


def _bound(value: object, most: int) -> int:
    """Return a number that its column takes, and 0 for anything that damage made of it."""
    return value if isinstance(value, int) and 0 <= value <= most else 0
