"""A SQLite database as it is at one moment, copied while others go on writing it.

SQLite's write-ahead log lets a transaction that reads see the same content as long as it is open.
The online backup of SQLite copies what the transaction sees, and so never has to begin again.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from treadle.files import make_private_file

COPIED_PAGES: Final = 4096
"""Pages that are copied at once, 16 MB: other threads of the process run between."""

BUSY_SECONDS: Final = 30.0


class SqliteSnapshot:
    """What a database holds at one moment.

    Methods raise `sqlite3.Error` and `OSError`.

    Args:
        connection: to a database with a write-ahead log; transactions are begun by statement.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Fix the moment. It takes no longer with a large database."""
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()

    def read_value(self, statement: str) -> object:
        """Return the first value that a statement finds at that moment; None for no row."""
        row = self._connection.execute(statement).fetchone()
        return None if row is None else row[0]

    def copy(
        self, path: Path, report: Callable[[int, int], None] = lambda done, all_: None
    ) -> None:
        """Write the database into a new file that only its owner may read, and make it durable.

        Args:
            path: of the new file, which must not be there.
            report: called with the pages that were copied so far, and with all.

        Raises:
            FileExistsError: the file is there.
        """
        if not make_private_file(path):
            raise FileExistsError(17, "File exists", str(path))
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            # The file is worth nothing until it is complete.
            target.execute("PRAGMA synchronous = OFF")
            self._connection.backup(
                target, pages=COPIED_PAGES, progress=lambda _, rest, all_: report(all_ - rest, all_)
            )
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def open_snapshot(path: Path) -> Iterator[SqliteSnapshot]:
    """Open a database to copy it. It is not changed."""
    with closing(
        sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_SECONDS
        )
    ) as connection:
        yield SqliteSnapshot(connection)


def find_fault(path: Path) -> str | None:
    """Return what SQLite finds wrong with the whole of a file that nobody else has open."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if said == "ok" else str(said)
