"""Copies of the log while it is written, and how a copy goes on as the log."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treadle.errors import OperatorError
from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import (
    LogWriteLock,
    open_log_file,
    open_sqlite,
    read_end_position,
    translate_errors,
    write_transaction,
)
from treadle.sqlite_snapshot import SqliteSnapshot, open_snapshot

RESTORE_GAP: Final = 10**12
"""Positions that are left out when a copy goes on, so that none is given that was given since the
copy was made: a million requests a second for eleven days."""

POSITION_MAX: Final = 1 << 53
"""No position is greater (`recovery.salvage`)."""


@contextmanager
def open_log_snapshot(path: Path) -> Iterator["SqliteLogSnapshot"]:
    """Open a log to copy it; raises like `log_file.open_log_file`."""
    connection, lock, log_id = open_log_file(path, open_sqlite, durable=False)
    try:
        yield SqliteLogSnapshot(connection, lock, log_id)
    finally:
        connection.close()
        lock.close()


class SqliteLogSnapshot:
    """What the log holds at one moment (`protocol.LogSnapshot`)."""

    def __init__(self, connection: sqlite3.Connection, lock: LogWriteLock, log_id: str) -> None:
        self._connection = connection
        self._lock = lock
        self._snapshot = SqliteSnapshot(connection)
        self.log_id = log_id
        self.form = statements.SCHEMA_VERSION
        self.end_position = 0

    def begin(self, alongside: Callable[[], None] = lambda: None) -> None:
        """Fix the moment; see `protocol.LogSnapshot`."""
        with translate_errors(), self._lock:
            self._snapshot.begin()
            alongside()
            self.end_position = read_end_position(self._connection)

    def copy(
        self, path: Path, report: Callable[[int, int], None] = lambda done, all_: None
    ) -> None:
        """Write the log of that moment into a new file; see `protocol.LogSnapshot`."""
        with translate_errors():
            self._snapshot.copy(path, report)


def read_log_form(path: Path) -> int:
    """Return the form of a copy that nobody has open.

    Raises:
        OperatorError: it is no log.
    """
    with translate_errors(), open_snapshot(path) as snapshot:
        if snapshot.read_value("PRAGMA application_id") != statements.APPLICATION_ID:
            raise OperatorError(f"{path} is no log of treadle")
        form = snapshot.read_value("PRAGMA user_version")
    return form if isinstance(form, int) else 0


def continue_log(path: Path) -> int:
    """Let a copy go on as the log, behind all positions that were given since it was made.

    A destination knows how far the log was loaded, also beyond the end of the copy. A new entry at
    such a position would count as loaded and would never become a row.

    Args:
        path: of the copy; no other process has it open.

    Returns:
        The position behind which new entries begin.

    Raises:
        OperatorError: the file is no log, was made by a newer treadle, or has no positions left.
        RetriableError: the disk failed.
    """
    connection, lock, _ = open_log_file(path, open_sqlite, durable=True)
    try:
        with translate_errors(), lock:
            end = read_end_position(connection) + RESTORE_GAP
            if end > POSITION_MAX:
                raise OperatorError(
                    f"the log {path} was restored too often to go on: begin with a new log"
                )
            with write_transaction(connection):
                connection.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
                connection.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('entries', ?)", (end,)
                )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
        lock.close()
    return end
