"""The reading side of the log on PostgreSQL, for loaders and commands."""

import heapq
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import psycopg

from treadle import failpoint
from treadle.errors import OperatorError
from treadle.log.postgres import statements
from treadle.log.postgres.backlog import SharedBacklog
from treadle.log.postgres.connection import describe_error
from treadle.log.postgres.entry_rows import (
    EntryDecoder,
    StoredRow,
    decode_name,
    encode_blobs,
    encode_int4s,
    encode_int8s,
    read_anchor,
)
from treadle.log.postgres.keeper import drop_segments
from treadle.log.postgres.outcome import is_damage
from treadle.log.postgres.reading import (
    DamagedRow,
    ReaderConnection,
    SharedConnection,
    connect_shared,
    read_around_damage,
)
from treadle.log.postgres.schema import RESCUE_SEGMENT
from treadle.log.postgres.statistics import PostgresStatistics
from treadle.log.protocol import (
    DamagedEntry,
    LogEntry,
    TableBacklog,
    TrimPoint,
    make_older_log_error,
)

logger = logging.getLogger("treadle.log")

MARK_SECONDS: Final = 1.0
"""How often marks are written: they are hints, and another reader may see them so much later."""

MEASURED_ENTRIES: Final = 4096
"""Entries whose sizes are read before the entries themselves."""

CAREFUL_POSITIONS: Final = 4096
"""Positions that are read at once where some cannot be read."""

POSITION_MAX: Final = 2**63 - 1

TABLES_MAX: Final = 100_000
"""Most tables whose names and ids are kept in memory."""

TableKey = tuple[int, str]


class PostgresReader:
    """The reading side of the log (`protocol.LogReader`).

    Marks are collected, and written at most every `mark_seconds`, and at `trim` and `close`. Any
    number of readers may be open. Where the connection is lost the next call opens another one, to
    whichever server takes writes then, and counts anew.

    Args:
        url: of the database; see `connection.make_parameters`.
        number: the log's.
        member: who connects, as the database shows it; by default the machine and the process.
        mark_seconds: 0 to write marks at each `list_backlogs`.
        clock: the monotonic clock, in seconds.
        log_id: the name that the log has to have; None for any.
        shared: the connection, where readers of other logs of the database use it too, in the same
            thread; None for one of its own.

    Raises:
        OperatorError: there is no such log, or the database refuses.
        RetriableError: the database is not available now.
    """

    def __init__(
        self,
        url: str,
        number: int,
        *,
        member: str | None = None,
        mark_seconds: float = MARK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        log_id: str | None = None,
        shared: SharedConnection | None = None,
    ) -> None:
        self._connection = ReaderConnection(
            shared or connect_shared(url, member), number, self._forget, log_id
        )
        self._backlog = SharedBacklog(self._connection)
        self._decoder = EntryDecoder()
        self._tables: dict[int, TableKey] = {}
        self._ids: dict[TableKey, int] = {}
        self._marks: dict[TableKey, int] = {}
        self._mark_seconds = mark_seconds
        self._clock = clock
        self._marked_at = clock()
        self._marks_refusal = ""
        self._end = 0
        self.statistics = PostgresStatistics(self._connection, self._find_table)
        try:
            self.log_id = self._connection.run(self._connection.fetch_log_id)
        except BaseException:
            self._connection.close()
            raise

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Say which tables are counted; see `protocol.LogReader.share_tables`."""
        self._backlog.share(slots, loaded)

    def list_backlogs(self) -> list[TableBacklog]:
        """Return the backlog of each table; see `protocol.LogReader.list_backlogs`."""

        def look() -> list[TableBacklog]:
            if self._marks and self._clock() - self._marked_at >= self._mark_seconds:
                self._offer_marks()
            found = self._backlog.refresh(self._marks)
            for key, position in self._backlog.late_marks.items():
                self._marks.setdefault(key, position)
            self._backlog.late_marks.clear()
            return found

        return self._connection.run(look)

    def sense_append(self) -> bool:
        """Return False: a look is one statement, and nothing cheaper tells of an append."""
        return False

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[LogEntry | DamagedEntry]:
        """Read entries of one table above a position; see `protocol.LogReader.read`.

        Bytes are those of the payloads, uncompressed, as in `TableBacklog.size`.
        """

        def read() -> list[LogEntry | DamagedEntry]:
            found: list[LogEntry | DamagedEntry] = []
            table_id = self._find_table(source_id, table_name)
            if table_id is None:
                return found
            key = (source_id, table_name)
            records = size = 0
            for row in self._read_rows(table_id, after, records_max, bytes_max):
                if isinstance(row, DamagedRow):
                    entry: LogEntry | DamagedEntry = DamagedEntry(row.position, *key, 0, 0, row.why)
                else:
                    entry = self._decoder.decode(row, key)
                if isinstance(entry, LogEntry):  # numbers of a damaged one mean nothing
                    records += entry.records
                    size += len(entry.payload)
                    if found and (records > records_max or size > bytes_max):
                        break
                found.append(entry)
            return found

        return self._connection.run(read)

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        """Return the entries at some positions; see `protocol.LogReader.find_entries`."""

        def find() -> list[LogEntry | DamagedEntry]:
            found: list[LogEntry | DamagedEntry] = []
            log = self._connection.log
            for segment in self._connection.list_segments(first - 1):
                statement = statements.make_find_entries(log, segment)

                def read(above: int, upto: int, statement: str = statement) -> list[StoredRow]:
                    return [
                        _as_stored(row) for row in self._connection.execute(statement, above, upto)
                    ]

                for row in read_around_damage(read, first - 1, first - 1 + count):
                    if isinstance(row, DamagedRow):
                        found.append(DamagedEntry(row.position, 0, "", 0, 0, row.why))
                    else:
                        found.append(self._decoder.decode(row, self._name_table(row[1])))
            return sorted(found, key=lambda one: one.position)

        return self._connection.run(find)

    def get_anchor(self, position: int) -> bytes | None:
        """Return the uid of an entry, or what tells it in the log that it came from."""

        def find() -> bytes | None:
            log = self._connection.log
            for segment in self._connection.list_segments(position - 1):
                statement = statements.make_read_anchor(log, segment)
                for (uid,) in self._connection.execute(statement, position):
                    return read_anchor(uid.bytes)
            return None

        try:
            return self._connection.run(find)
        except OperatorError as error:
            if isinstance(error.__cause__, psycopg.Error) and is_damage(error.__cause__.sqlstate):
                return None
            raise

    def mark_loaded(self, source_id: int, table_name: str, position: int) -> None:
        """Note that everything up to a position was loaded; see `protocol.LogReader.mark_loaded`.

        Raises:
            OperatorError: the log never gave that position: it is an older copy of the log that
                was loaded, and what it accepts now would be taken for loaded.
        """
        if position > self._end:
            self._end = self._connection.run(self._fetch_end)
            if position > self._end:
                raise make_older_log_error(
                    (source_id, table_name),
                    position,
                    self._end,
                    "an older copy of its database was brought back; bring the newer one back, or "
                    "add a new log",
                )
        self._marks[source_id, table_name] = position

    def trim(self, points: Sequence[TrimPoint]) -> int:
        """Remove entries at or below positions; see `protocol.LogReader.trim`.

        Whole segments go, as soon as all of their tables may be trimmed so far. Their tables
        remember the positions, so each is told once. What is not marked as loaded stays.
        """

        def trim() -> int:
            self._write_marks()
            ids = {
                table_id: point.position
                for point in points
                if (table_id := self._find_table(point.source_id, point.table_name)) is not None
            }
            if ids:
                self._connection.run_in_transaction(lambda: self._write_trimmed(ids))
                failpoint.reach("log.trim")
            removed = self._connection.run_with(
                lambda connection: drop_segments(connection, self._connection.log)
            )
            return removed + self._connection.change(
                statements.make_trim_rescued(self._connection.log)
            )

        return self._connection.run(trim)

    def close(self) -> None:
        """Write the marks, then close."""
        try:
            self._connection.run(self._write_marks)
        finally:
            self._connection.close()

    # --- helpers ----------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Forget what another server may not have."""
        self._backlog.reset()
        self._tables.clear()
        self._ids.clear()
        self._end = 0

    def _fetch_end(self) -> int:
        [(_, _, _, last, _)] = self._connection.execute(statements.READ_LOG, self._connection.log)
        return int(last)

    def _find_table(self, source_id: int, table_name: str) -> int | None:
        """Return the id of a table; None where the log does not know it."""
        key = (source_id, table_name)
        if key not in self._ids:
            rows = self._connection.execute(
                statements.FIND_TABLES,
                self._connection.log,
                encode_int8s([source_id]),
                encode_blobs([table_name.encode()]),
            )
            for table_id, _, _ in rows:
                self._keep(int(table_id), key)
        return self._ids.get(key)

    def _name_table(self, table_id: int) -> TableKey | None:
        """Return the source and name of a table; None where the log does not know it."""
        if table_id not in self._tables:
            rows = self._connection.execute(statements.NAME_TABLE, table_id)
            for source_id, name in rows:
                self._keep(table_id, (int(source_id), decode_name(name)))
        return self._tables.get(table_id)

    def _keep(self, table_id: int, key: TableKey) -> None:
        if len(self._tables) >= TABLES_MAX:
            self._tables.clear()
            self._ids.clear()
        self._tables[table_id] = key
        self._ids[key] = table_id

    def _read_rows(
        self, table_id: int, after: int, records_max: int, bytes_max: int
    ) -> Iterator[StoredRow | DamagedRow]:
        """Read a table's rows above a position in order, not many more at once than are wanted."""
        read = partial(self._read_segment, table_id, after, records_max, bytes_max)
        numbers = self._connection.list_segments(after)
        # What was rescued lies between what other segments hold.
        others = chain.from_iterable(read(one) for one in numbers if one != RESCUE_SEGMENT)
        if RESCUE_SEGMENT not in numbers:
            return others
        return heapq.merge(read(RESCUE_SEGMENT), others, key=itemgetter(0))

    def _read_segment(
        self, table_id: int, after: int, records_max: int, bytes_max: int, segment: int
    ) -> Iterator[StoredRow | DamagedRow]:
        log = self._connection.log
        measuring = statements.make_measure_table(log, segment)
        reading = statements.make_read_table(log, segment)
        try:
            while True:
                measured = self._connection.execute(
                    measuring, table_id, after, POSITION_MAX, MEASURED_ENTRIES
                )
                is_last = len(measured) < MEASURED_ENTRIES
                while measured:
                    count = count_fitting(measured, records_max, bytes_max)
                    upto = int(measured[count - 1][0])
                    for row in self._connection.execute(reading, table_id, after, upto):
                        after = int(row[0])
                        yield _as_stored(row)
                    after = upto
                    measured = measured[count:]
                if is_last:
                    return
        except psycopg.Error as error:
            if not is_damage(error.sqlstate):
                raise
        yield from self._read_carefully(table_id, after, segment)

    def _read_carefully(
        self, table_id: int, after: int, segment: int
    ) -> Iterator[StoredRow | DamagedRow]:
        """Read a table's rows of a segment in spite of some that cannot be read."""
        reading = statements.make_read_table(self._connection.log, segment)

        def read(above: int, upto: int) -> list[StoredRow]:
            return [
                _as_stored(row) for row in self._connection.execute(reading, table_id, above, upto)
            ]

        end = self._fetch_end()
        for above in range(after, end, CAREFUL_POSITIONS):
            yield from read_around_damage(read, above, min(above + CAREFUL_POSITIONS, end))

    def _offer_marks(self) -> None:
        """Write the marks where that can be done at once; they are kept until then.

        They are hints, and this reader counts by them in any case.

        Raises:
            psycopg.Error: the connection is lost.
        """
        try:
            self._write_marks(waits=False)
        except psycopg.Error as error:
            if self._connection.is_lost(error):
                raise
            self._marked_at = self._clock()
            said = describe_error(error)
            if said != self._marks_refusal:
                logger.warning(
                    "log %d does not take how far tables are loaded, and is told again: %s",
                    self._connection.log,
                    said,
                )
            self._marks_refusal = said
        else:
            self._marks_refusal = ""

    def _write_marks(self, *, waits: bool = True) -> None:
        """Write the marks.

        Args:
            waits: also while others write theirs; otherwise they are kept until the next time.
        """
        if not self._marks:
            return
        failpoint.reach("log.before-marks")
        ids = {
            table_id: position
            for key, position in self._marks.items()
            if (table_id := self._find_table(*key)) is not None
        }
        if not self._write_numbered(statements.MARK, ids, waits=waits):
            return
        failpoint.reach("log.after-marks")
        self._marks.clear()
        self._marked_at = self._clock()

    def _write_trimmed(self, positions: Mapping[int, int]) -> None:
        """Note how far tables may be trimmed; nobody marks one of them meanwhile."""
        self._connection.execute(statements.LOCK_MARKS, self._connection.log)
        self._connection.change(
            statements.TRIM, encode_int4s(list(positions)), encode_int8s(list(positions.values()))
        )

    def _write_numbered(
        self, statement: str, positions: Mapping[int, int], *, waits: bool = True
    ) -> bool:
        """Write positions of tables, with a number that grows from one such write to the next.

        Writers take turns, so that a reader that knows a number knows all below it.

        Args:
            statement: takes the number, the ids of tables and their positions.
            positions: by the ids of tables.
            waits: for its turn.

        Returns:
            Whether it was its turn, and they are written.
        """

        def write() -> bool:
            log = self._connection.log
            if waits:
                self._connection.execute(statements.LOCK_MARKS, log)
            elif not self._connection.execute(statements.TRY_MARKS, log)[0][0]:
                return False
            [(number,)] = self._connection.execute(statements.NEXT_MARK, log)
            self._connection.change(
                statement,
                number,
                encode_int4s(list(positions)),
                encode_int8s(list(positions.values())),
            )
            return True

        return not positions or self._connection.run_in_transaction(write)


def count_fitting(measured: Sequence[tuple[Any, ...]], records_max: int, bytes_max: int) -> int:
    """Return how many entries are read at once: as many as fit and one more, which ends the read.

    Args:
        measured: position, records and size of each, and what else was read.
        records_max: so many records fit.
        bytes_max: so many payload bytes fit.
    """
    records = size = 0
    for count, (_, its_records, its_size, *_) in enumerate(measured, start=1):
        records += its_records
        size += its_size
        if records > records_max or size > bytes_max:
            return count
    return len(measured)


def _as_stored(row: Sequence[Any]) -> StoredRow:
    position, table_id, received_at, records, size, crc, payload = row
    return position, table_id, received_at, records, size, crc, bytes(payload)
