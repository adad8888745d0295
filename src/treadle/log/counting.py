"""What waits, by table: kept in memory, brought up to date from the file.

A damaged row is counted like the others, and stops nothing.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from treadle.log import sql
from treadle.log.disk import code_of, read_end
from treadle.log.protocol import Backlog
from treadle.log.waiting import Segment, Waiting

Counted = tuple[int, Segment]  # a table's id, and sums of entries of it


@dataclass(slots=True)
class _Table:
    source_id: int
    table_name: str
    loaded: int
    waiting: Waiting = field(default_factory=Waiting)


class Counts:
    """The backlog of one reader.

    Args:
        connection: the reader's, outside any transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._forget()

    def _forget(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._present: dict[int, Backlog] = {}
        self._cursor = 0  # entries up to here are counted
        self._marked = 0  # marks up to this number are known
        self._newest_table = 0

    def refresh(self) -> list[Backlog]:
        """Look at what was appended and marked since the last call; what waits now."""
        self._connection.execute(sql.BEGIN)  # all below sees one state of the file
        try:
            changed = self._look()
        except BaseException:
            self._forget()  # half of the changes were counted: begin anew
            raise
        finally:
            if self._connection.in_transaction:
                self._connection.execute(sql.ROLLBACK)
        for table_id in changed:
            table = self._tables[table_id]
            backlog = table.waiting.backlog(table.source_id, table.table_name, table.loaded)
            if backlog is None:
                self._present.pop(table_id, None)
            else:
                self._present[table_id] = backlog
        return list(self._present.values())

    def _look(self) -> set[int]:
        changed = self._look_at_marks()
        for table_id, source_id, table_name, loaded in self._connection.execute(
            sql.TABLES_NEW, (self._newest_table,)
        ):
            self._tables[table_id] = _Table(source_id, table_name, loaded)
            self._newest_table = table_id
        end = read_end(self._connection)
        if end > self._cursor:
            loaded = {table_id: table.loaded for table_id, table in self._tables.items()}
            for table_id, segment in waiting_above(self._connection, self._cursor, end, loaded):
                table = self._tables.get(table_id)
                if table is not None:  # a damaged row may name a table there never was
                    table.waiting.append(segment)
                    changed.add(table_id)
            self._cursor = end
        return changed

    def _look_at_marks(self) -> set[int]:
        changed: set[int] = set()
        marks = self._connection.execute(sql.TABLES_MARKED, (self._marked,)).fetchall()
        for table_id, loaded, marked in marks:
            self._marked = marked
            table = self._tables.get(table_id)
            if table is None or table.loaded == loaded:
                continue
            if loaded > table.loaded:
                last = table.waiting.drop(loaded)
                if last is not None:
                    table.waiting.prepend(stretch(self._connection, table_id, loaded, last))
            else:
                table.waiting.replace(stretch(self._connection, table_id, loaded, self._cursor))
            table.loaded = loaded
            changed.add(table_id)
        return changed


def waiting_above(
    connection: sqlite3.Connection, cursor: int, end: int, loaded: dict[int, int]
) -> list[Counted]:
    """What waits above a position, by table and in order of position.

    Args:
        connection: inside a transaction.
        cursor: only entries above this position; 0 for all.
        end: only entries up to here, the greatest position given.
        loaded: table id -> position up to which it is loaded, of all tables.
    """
    # At the first look most entries may be loaded, later hardly any: two ways to the same sums.
    statement = sql.SUMS_NEW if cursor else sql.SUMS_ALL
    try:
        return _counted(connection.execute(statement, (cursor, end)))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found = connection.execute(sql.POSITIONS_BETWEEN, (cursor, end)).fetchall()
        return list(
            _one_by_one(
                connection,
                ((table, place) for table, place in found if place > loaded.get(table, 0)),
            )
        )


def stretch(connection: sqlite3.Connection, table_id: int, after: int, last: int) -> list[Segment]:
    """What there is of one table above `after` and up to `last`, in order of position."""
    try:
        rows = connection.execute(sql.SUMS_OF, (table_id, after, last))
        return [segment for _, segment in _counted(rows)]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found = connection.execute(sql.POSITIONS_OF, (table_id, after)).fetchall()
        places = ((table_id, place) for (place,) in found if place <= last)
        return [segment for _, segment in _one_by_one(connection, places)]


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite found something that it never wrote."""
    return code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG)


def _counted(rows: Iterable[tuple[int, int, int, int, int, int]]) -> list[Counted]:
    return [
        (table_id, Segment(last, entries, records, size, oldest))
        for table_id, last, entries, records, size, oldest in rows
    ]


def _one_by_one(
    connection: sqlite3.Connection, places: Iterable[tuple[int, int]]
) -> Iterator[Counted]:
    for table_id, position in places:
        try:
            row = connection.execute(sql.SUMS_ONE, (position,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            row = None
        records, size, received_at = row or (0, 0, 0)
        numbers = (_whole(records), _whole(size), _whole(received_at))
        yield table_id, Segment(position, 1, *numbers)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
