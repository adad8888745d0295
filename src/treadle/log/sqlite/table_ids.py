"""The ids of tables in the log's file, kept in memory."""

import sqlite3
from typing import Final

from treadle.log.sqlite import statements

TABLE_IDS_MAX: Final = 100_000
"""Most ids that are kept; one is about 200 bytes."""


class TableIds:
    """The ids that one connection knows.

    Args:
        connection: of the one who uses the ids.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[tuple[int, str], int] = {}

    def find(self, source_id: int, table_name: str) -> int | None:
        """Return a table's id, or None when the log does not know the table."""
        key = (source_id, table_name)
        known = self._ids.get(key)
        if known is None:
            row = self._connection.execute(statements.TABLE_ID, key).fetchone()
            return None if row is None else self._keep(key, row[0])
        return known

    def find_or_add(self, source_id: int, table_name: str) -> int:
        """Return a table's id, made where the log does not know the table."""
        key = (source_id, table_name)
        known = self._ids.get(key)
        if known is None:
            row = self._connection.execute(statements.TABLE_ID, key).fetchone()
            if row is None:
                row = self._connection.execute(statements.ADD_TABLE, key).fetchone()
            return self._keep(key, row[0])
        return known

    def forget(self) -> None:
        """Forget all ids, because an undone transaction may have made some of them."""
        self._ids.clear()

    def _keep(self, key: tuple[int, str], table_id: int) -> int:
        if len(self._ids) >= TABLE_IDS_MAX:
            self._ids.clear()
        self._ids[key] = table_id
        return table_id


class TableCounter:
    """Counts the tables of each source; what was counted is kept in memory.

    Args:
        connection: of the one who counts, in a transaction that keeps others from adding tables.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counts: dict[int, tuple[int, int]] = {}
        """By source: its tables among those up to an id, and that id."""

    def count(self, source_id: int) -> int:
        """Return how many tables of a source the log knows."""
        known = self._counts.get(source_id)
        if known is None:
            row = self._connection.execute(statements.COUNT_TABLES, (source_id,)).fetchone()
            counted, last = row
        else:
            row = self._connection.execute(
                statements.COUNT_NEW_TABLES, (source_id, known[1])
            ).fetchone()
            counted, last = known[0] + row[0], row[1]
        if len(self._counts) >= TABLE_IDS_MAX:
            self._counts.clear()
        self._counts[source_id] = counted, last
        return int(counted)

    def forget(self) -> None:
        """Forget all counts, because an undone transaction may have made some of the tables."""
        self._counts.clear()
