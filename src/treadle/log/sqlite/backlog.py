"""The backlog by table: kept in memory, and brought up to date from the file.

Only tables of which something waits are kept: a worker has several readers, and of 10,000 tables
hardly any waits. A damaged row is counted like the others, and stops nothing.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from treadle.clock import read_monotonic
from treadle.log.backlog_segments import BacklogSegment, SegmentQueue, add_sight, drop_sights
from treadle.log.protocol import BacklogSight, TableBacklog
from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import integer_or_zero, is_damage, read_end_position

TableSegment = tuple[int, BacklogSegment]  # a table's id, and sums of entries of it


@dataclass(slots=True)
class _CountedTable:
    source_id: int
    table_name: str
    loaded_position: int
    segments: SegmentQueue = field(default_factory=SegmentQueue)
    sights: tuple[BacklogSight, ...] = ()


class BacklogCounter:
    """The backlog of one reader.

    Args:
        connection: the reader's, outside any transaction.
        monotonic: microseconds of this machine's monotonic clock.
    """

    def __init__(
        self, connection: sqlite3.Connection, monotonic: Callable[[], int] = read_monotonic
    ) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._reset()

    def _reset(self) -> None:
        # What is found by the next look counts as old: nobody knows since when it is there.
        self._tables: dict[int, _CountedTable] = {}  # by id
        self._backlogs: dict[int, TableBacklog] = {}
        self._counted_position = 0  # entries up to here are counted
        self._last_mark = 0  # marks up to this number are known
        self._has_looked = False

    def refresh(self) -> list[TableBacklog]:
        """Count what changed since the last call; return the backlogs of all tables."""
        self._connection.execute(statements.BEGIN)  # all below sees one state of the file
        try:
            changed = self._count_changes()
        except BaseException:
            self._reset()  # half of the changes were counted: begin anew
            raise
        finally:
            if self._connection.in_transaction:
                self._connection.execute(statements.ROLLBACK)
        for table_id in changed:
            table = self._tables[table_id]
            backlog = table.segments.sum_backlog(
                table.source_id, table.table_name, table.loaded_position, table.sights
            )
            if backlog is None:
                del self._tables[table_id]
                self._backlogs.pop(table_id, None)
            else:
                self._backlogs[table_id] = backlog
        return list(self._backlogs.values())

    def _count_changes(self) -> set[int]:
        """Count what is new; return the tables of which the segments are others now."""
        changed = self._apply_marks()
        end = read_end_position(self._connection)
        if end > self._counted_position:
            seen = self._monotonic() if self._has_looked else 0
            for table_id, segment in sum_waiting_above(
                self._connection, self._counted_position, end
            ):
                table = self._tables.get(table_id) or self._find_table(table_id)
                if table is not None:  # a damaged row may name a table there never was
                    self._tables[table_id] = table
                    table.segments.append(segment)
                    table.sights = add_sight(table.sights, segment.last, seen)
                    changed.add(table_id)
            self._counted_position = end
        self._has_looked = True
        return changed

    def _find_table(self, table_id: int) -> _CountedTable | None:
        row = self._connection.execute(statements.TABLE_OF_ID, (table_id,)).fetchone()
        return None if row is None else _CountedTable(*row)

    def _apply_marks(self) -> set[int]:
        changed: set[int] = set()
        if not self._counted_position:  # nothing is kept that a mark could change
            [self._last_mark] = self._connection.execute(statements.LAST_MARK).fetchone()
            return changed
        marks = self._connection.execute(statements.MARKED_TABLES, (self._last_mark,)).fetchall()
        for table_id, loaded, marked in marks:
            self._last_mark = marked
            table = self._tables.get(table_id)
            if table is None:
                # Nothing of it waited. Something does again when its mark was moved back.
                segments = sum_range(self._connection, table_id, loaded, self._counted_position)
                table = self._find_table(table_id) if segments else None
                if table is None:
                    continue
                table.segments.replace(segments)
                table.sights = (BacklogSight(self._counted_position, 0),)
                self._tables[table_id] = table
            elif loaded > table.loaded_position:
                last = table.segments.drop_through(loaded)
                if last is not None:
                    table.segments.prepend(sum_range(self._connection, table_id, loaded, last))
                table.sights = drop_sights(table.sights, loaded)
            elif loaded < table.loaded_position:
                table.segments.replace(
                    sum_range(self._connection, table_id, loaded, self._counted_position)
                )
                table.sights = (BacklogSight(self._counted_position, 0),)
            else:
                continue
            table.loaded_position = loaded
            changed.add(table_id)
        return changed


def sum_waiting_above(connection: sqlite3.Connection, cursor: int, end: int) -> list[TableSegment]:
    """Sum up the entries above a position that are not loaded, by table and in order of position.

    Args:
        connection: inside a transaction.
        cursor: only entries above this position; 0 for all.
        end: only entries up to here, the greatest position given.
    """
    # At the first look most entries may be loaded, later hardly any: two ways to the same sums.
    statement = statements.SUM_NEW if cursor else statements.SUM_ALL_WAITING
    try:
        return _to_segments(connection.execute(statement, (cursor, end)))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        loaded = dict(connection.execute(statements.LOADED_POSITIONS).fetchall())
        found = connection.execute(statements.POSITIONS_BETWEEN, (cursor, end)).fetchall()
        waiting = ((table, place) for table, place in found if place > loaded.get(table, 0))
        return list(_sum_one_by_one(connection, waiting))


def sum_range(
    connection: sqlite3.Connection, table_id: int, after: int, last: int
) -> list[BacklogSegment]:
    """Sum up the entries of one table above `after` and up to `last`, in order of position."""
    try:
        rows = connection.execute(statements.SUM_RANGE, (table_id, after, last))
        return [segment for _, segment in _to_segments(rows)]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found = connection.execute(statements.POSITIONS_OF_TABLE, (table_id, after)).fetchall()
        places = ((table_id, place) for (place,) in found if place <= last)
        return [segment for _, segment in _sum_one_by_one(connection, places)]


def _to_segments(rows: Iterable[tuple[int, int, int, int, int, int]]) -> list[TableSegment]:
    return [
        (table_id, BacklogSegment(last, entries, records, size, oldest))
        for table_id, last, entries, records, size, oldest in rows
    ]


def _sum_one_by_one(
    connection: sqlite3.Connection, places: Iterable[tuple[int, int]]
) -> Iterator[TableSegment]:
    for table_id, position in places:
        try:
            row = connection.execute(statements.READ_SUMS_OF_ENTRY, (position,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            row = None
        records, size, received_at = row or (0, 0, 0)
        numbers = (integer_or_zero(records), integer_or_zero(size), integer_or_zero(received_at))
        yield table_id, BacklogSegment(position, 1, *numbers)
