"""The backlog by table: kept in memory, and brought up to date by looks at the database.

A look that finds something new is one `REPEATABLE READ` transaction: it sees the log's last
position, and so every entry up to it (`statements.make_append`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg

from treadle.clock import read_monotonic
from treadle.log.backlog_segments import (
    BacklogSegment,
    SegmentQueue,
    add_sight,
    drop_sights,
)
from treadle.log.postgres import statements
from treadle.log.postgres.connection import Row
from treadle.log.postgres.entry_rows import decode_name, encode_int4s, encode_int8s
from treadle.log.postgres.outcome import is_damage
from treadle.log.postgres.reading import DamagedRow, ReaderConnection, read_around_damage
from treadle.log.protocol import BacklogSight, TableBacklog
from treadle.log.slots import SLOTS

ALL_SLOTS: Final = frozenset(range(SLOTS))

NEW_SHIFT: Final = 12
RANGE_SHIFT: Final = 10
"""Entries are summed up by stretches of 2^12 and of 2^10 positions (`statements.make_sum_new`)."""


@dataclass(slots=True)
class _SharedTable:
    source_id: int
    table_name: str
    loaded_position: int
    segments: SegmentQueue = field(default_factory=SegmentQueue)
    sights: tuple[BacklogSight, ...] = ()


class SharedBacklog:
    """The backlog of one reader.

    Args:
        connection: the reader's.
        monotonic: microseconds of this machine's monotonic clock.
    """

    def __init__(
        self, connection: ReaderConnection, monotonic: Callable[[], int] = read_monotonic
    ) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._slots = ALL_SLOTS
        self._known: Mapping[tuple[int, str], int] = {}
        self.late_marks: dict[tuple[int, str], int] = {}
        """Table -> loaded position that the log does not have: a loader was lost before it wrote
        it. Whoever takes a table over writes it, or other readers count its entries for ever."""
        self.reset()

    def reset(self) -> None:
        """Forget what was counted: the next look begins anew.

        What it finds counts as old: nobody knows since when it is there.
        """
        self._has_looked = False
        self._tables: dict[int, _SharedTable] = {}
        self._backlogs: dict[int, TableBacklog] = {}
        self._counted_position = 0  # entries up to here are counted
        self._last_mark = 0  # marks up to this number are known
        self._last_table_id = 0
        self._seen: Row | None = None

    def share(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Count only the tables of some slots; see `protocol.LogReader.share_tables`."""
        self._slots = slots
        self._known = dict(loaded)
        self.late_marks = {}
        self.reset()

    def refresh(self, marks: Mapping[tuple[int, str], int]) -> list[TableBacklog]:
        """Count what changed since the last call; return the backlogs of all tables.

        Args:
            marks: table -> loaded position, of this reader, that the database may not have yet.
        """
        try:
            changed = self._look(marks)
        except BaseException:
            self.reset()  # half of the changes were counted: begin anew
            raise
        for table_id in changed:
            table = self._tables[table_id]
            backlog = table.segments.sum_backlog(
                table.source_id, table.table_name, table.loaded_position, table.sights
            )
            if backlog is None:
                self._backlogs.pop(table_id, None)
            else:
                self._backlogs[table_id] = backlog
        return list(self._backlogs.values())

    def _look(self, marks: Mapping[tuple[int, str], int]) -> set[int]:
        seen = self._connection.look()
        if seen == self._seen and not marks:
            return set()
        try:
            changed = self._connection.run_in_look(lambda: self._count_changes(marks))
        except psycopg.Error as error:
            if not is_damage(error.sqlstate):
                raise
            # An error ends a transaction, so each statement is one of its own. What is visible up
            # to the position that was read first stays so.
            self.reset()
            changed = self._count_changes(marks, careful=True)
        self._seen = seen
        return changed

    def _count_changes(
        self, marks: Mapping[tuple[int, str], int], *, careful: bool = False
    ) -> set[int]:
        log = self._connection.log
        [(end,)] = self._connection.execute(statements.READ_LAST, log)
        changed = self._apply_marks()
        self._add_tables(int(end))
        if end > self._counted_position:
            seen = self._monotonic() if self._has_looked else 0
            for table_id, segment in self._sum_new(int(end), careful=careful):
                table = self._tables.get(table_id)
                if table is not None:  # it is of this reader's slots
                    table.segments.append(segment)
                    table.sights = add_sight(table.sights, segment.last, seen)
                    changed.add(table_id)
            self._counted_position = int(end)
        self._has_looked = True
        if marks:
            ids = {(one.source_id, one.table_name): key for key, one in self._tables.items()}
            for key, position in marks.items():
                if key in ids:
                    changed |= self._move_mark(ids[key], position)
        return changed

    def _add_tables(self, end: int) -> None:
        """Add the tables that are new, of this reader's slots.

        Args:
            end: the greatest position given: what is known to be loaded beyond it is not of this
                copy of the log.
        """
        rows = self._connection.execute(
            statements.NEW_TABLES, self._connection.log, self._last_table_id
        )
        for table_id, source_id, name, slot, loaded in rows:
            self._last_table_id = int(table_id)
            if slot in self._slots:
                key = (int(source_id), decode_name(name))
                known = self._known.get(key, 0)
                if int(loaded) < known <= end:
                    self.late_marks[key] = known
                self._tables[int(table_id)] = _SharedTable(*key, max(int(loaded), known))

    def _sum_new(self, end: int, *, careful: bool) -> Iterator[tuple[int, BacklogSegment]]:
        """Sum up what was appended since the last look and is not loaded, by table and in order.

        Args:
            end: the greatest position given.
            careful: some entries cannot be read, and stop the quick way.
        """
        log, cursor = self._connection.log, self._counted_position
        numbers = self._connection.list_segments(cursor)
        tables = [(table_id, one.loaded_position) for table_id, one in self._tables.items()]
        if careful:
            for table_id, loaded in tables:
                for one in self._sum_range(table_id, max(loaded, cursor), end):
                    yield table_id, one
            return
        sums: list[tuple[int, BacklogSegment]] = []
        for segment in numbers:
            if cursor:
                rows = self._connection.execute(statements.make_sum_new(log, segment), cursor, end)
            else:
                # At the first look most entries may be loaded: it touches only what waits.
                rows = self._connection.execute(
                    statements.make_sum_waiting(log, segment),
                    encode_int4s([table_id for table_id, _ in tables]),
                    encode_int8s([loaded for _, loaded in tables]),
                    end,
                )
            sums += [(int(table_id), BacklogSegment(*map(int, its))) for table_id, *its in rows]
        yield from merge_sums(sums, NEW_SHIFT)

    def _sum_range(self, table_id: int, after: int, last: int) -> list[BacklogSegment]:
        """Sum up the entries of one table above a position and up to another, in order."""
        found: list[BacklogSegment] = []
        for segment in self._connection.list_segments(after):
            statement = statements.make_sum_range(self._connection.log, segment)

            def read(above: int, upto: int, statement: str = statement) -> list[BacklogSegment]:
                rows = self._connection.execute(statement, table_id, above, upto)
                return [BacklogSegment(*map(int, row)) for row in rows]

            if self._connection.is_in_look:
                found += read(after, last)
                continue
            found += [
                BacklogSegment(one.position, 1, 0, 0, 0) if isinstance(one, DamagedRow) else one
                for one in read_around_damage(read, after, last)
            ]
        return [one for _, one in merge_sums([(table_id, one) for one in found], RANGE_SHIFT)]

    def _apply_marks(self) -> set[int]:
        changed: set[int] = set()
        rows = self._connection.execute(
            statements.MARKED_TABLES, self._connection.log, self._last_mark
        )
        for table_id, loaded, marked in rows:
            self._last_mark = int(marked)
            if table_id in self._tables:
                changed |= self._move_mark(int(table_id), int(loaded))
        return changed

    def _move_mark(self, table_id: int, loaded: int) -> set[int]:
        """Count a table above another position; return its id where that is a change."""
        table = self._tables[table_id]
        if table.loaded_position == loaded:
            return set()
        if loaded > table.loaded_position:
            last = table.segments.drop_through(loaded)
            if last is not None:
                table.segments.prepend(self._sum_range(table_id, loaded, last))
            table.sights = drop_sights(table.sights, loaded)
        else:
            table.segments.replace(self._sum_range(table_id, loaded, self._counted_position))
            table.sights = (BacklogSight(self._counted_position, 0),)
        table.loaded_position = loaded
        return {table_id}


def merge_sums(
    sums: Sequence[tuple[int, BacklogSegment]], shift: int
) -> list[tuple[int, BacklogSegment]]:
    """Return sums by table and in order of position, each of a stretch of its own.

    Log segments can reach into each other: what was rescued from one lies between what is in
    others.

    Args:
        sums: each with its table, and of positions of one stretch.
        shift: a stretch has 2^shift positions.
    """
    merged: dict[tuple[int, int], BacklogSegment] = {}
    for table_id, one in sums:
        key = (table_id, one.last >> shift)
        known = merged.get(key)
        merged[key] = one if known is None else known + one
    return [
        (table_id, one) for (table_id, _), one in sorted(merged.items(), key=lambda its: its[0])
    ]
