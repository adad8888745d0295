"""The ids of tables in the log's file, kept in memory."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from treadle.log.sqlite import statements

# Tables of one statement: few different statements, so that all of them stay prepared.
_TABLES_AT_ONCE: Final = (512, 32, 1)

T = TypeVar("T")

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

    def keeps_all(self, tables: Iterable[tuple[int, str]]) -> bool:
        """Return whether the ids of all tables are in memory: source ids and names."""
        return all(map(self._ids.__contains__, tables))

    def list_unkept(self, tables: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Return the tables whose ids are not in memory, each once: source ids and names."""
        kept = self._ids
        return [*dict.fromkeys(table for table in tables if table not in kept)]

    def find_unknown(self, source_id: int, table_names: Sequence[str]) -> list[str]:
        """Keep the ids of the tables that the log knows; return the names of the others.

        Many at a time: each statement gives the interpreter's lock away, and gets it back only
        when another thread leaves it.

        Args:
            source_id: whose tables they are.
            table_names: each once.
        """
        unknown = dict.fromkeys(table_names)
        for names in split_evenly(table_names, _TABLES_AT_ONCE):
            lookup = statements.make_id_lookup(len(names))
            for name, table_id in self._connection.execute(lookup, (source_id, *names)):
                self._keep((source_id, name), table_id)
                del unknown[name]
        return [*unknown]

    def add_tables(self, source_id: int, table_names: Sequence[str]) -> None:
        """Add tables that the log does not know, and keep their ids."""
        for names in split_evenly(table_names, _TABLES_AT_ONCE):
            insert = statements.make_table_insert(len(names))
            values = [value for name in names for value in (source_id, name)]
            # All rows are taken before the statement ends: only then is it done.
            for name, table_id in self._connection.execute(insert, values).fetchall():
                self._keep((source_id, name), table_id)

    def forget(self) -> None:
        """Forget all ids, because an undone transaction may have made some of them."""
        self._ids.clear()

    def _keep(self, key: tuple[int, str], table_id: int) -> int:
        if len(self._ids) >= TABLE_IDS_MAX:
            self._ids.clear()
        self._ids[key] = table_id
        return table_id


def split_evenly(values: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    """Split values into parts of a few sizes, the largest first.

    Args:
        values: to be split, in order.
        sizes: falling; the last is 1.
    """
    start = 0
    for size in sizes:
        while len(values) - start >= size:
            yield values[start : start + size]
            start += size


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
