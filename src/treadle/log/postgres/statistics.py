"""Counts, times, idempotency keys and space of the log on PostgreSQL."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from treadle.log.postgres import statements
from treadle.log.postgres.entry_rows import decode_name, encode_blobs, encode_int8s
from treadle.log.postgres.reading import ReaderConnection, connect_shared
from treadle.log.protocol import EntryNote, HourlyRecords
from treadle.log.quota import LogLook, LogSpace

FORGOTTEN_KEYS_MAX: Final = 1000
"""Names forgotten in one transaction, so that no append under one of them waits for long."""

FORGOTTEN_PORTION: Final = 10_000
"""Names forgotten in one call."""

POSITION_MAX: Final = 2**63 - 1


def look_at_log(url: str, number: int) -> LogLook:
    """Return how full a log is, and when the oldest entry that is kept was accepted.

    Raises:
        OperatorError: there is no such log, or the database refuses.
        RetriableError: the database is not available now.
    """
    connection = ReaderConnection(connect_shared(url), number)

    def look() -> LogLook:
        [(used,)] = connection.execute(statements.MEASURE_SPACE, number)
        times = [
            int(at)
            for segment in connection.list_segments()
            for (at,) in connection.execute(statements.make_oldest(number, segment))
        ]
        return LogLook(LogSpace(int(used), None), min(times, default=None))

    with closing(connection):
        return connection.run(look)


class PostgresStatistics:
    """The statistics of one reader (`protocol.LogStatistics`).

    Args:
        connection: the reader's.
        find_table: returns the id of a table; None where the log does not know it.
    """

    def __init__(
        self, connection: ReaderConnection, find_table: Callable[[int, str], int | None]
    ) -> None:
        self._connection = connection
        self._find_table = find_table

    def list_tables(self) -> list[tuple[int, str]]:
        """Return every table that ever had an entry; see `protocol.LogStatistics`."""
        rows = self._connection.run(
            lambda: self._connection.execute(statements.LIST_TABLES, self._connection.log)
        )
        return [(int(source_id), decode_name(name)) for source_id, name in rows]

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Count records above a position; see `protocol.LogStatistics`."""

        def count() -> int:
            table_id = self._find_table(source_id, table_name)
            if table_id is None:
                return 0
            return sum(
                int(records)
                for segment in self._connection.list_segments(position)
                for (records,) in self._connection.execute(
                    statements.make_count_above(self._connection.log, segment), table_id, position
                )
            )

        return self._connection.run(count)

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        """Count records by the hour of their acceptance; see `protocol.LogStatistics`."""

        def count() -> list[HourlyRecords]:
            table_id = self._find_table(source_id, table_name)
            if table_id is None:
                return []
            sums: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
            for segment in self._connection.list_segments():
                statement = statements.make_count_by_hour(self._connection.log, segment)
                for hour, records, waiting in self._connection.execute(statement, table_id, loaded):
                    before = sums[int(hour)]
                    sums[int(hour)] = before[0] + int(records), before[1] + int(waiting)
            return [HourlyRecords(hour, *its) for hour, its in sorted(sums.items())]

        return self._connection.run(count)

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        """Return when entries were accepted; see `protocol.LogStatistics`."""

        def find() -> dict[int, int]:
            if not positions:
                return {}
            wanted = encode_int8s(positions)
            return {
                int(position): int(at)
                for segment in self._connection.list_segments(min(positions) - 1)
                for position, at in self._connection.execute(
                    statements.make_received_times(self._connection.log, segment), wanted
                )
            }

        return self._connection.run(find)

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        """Return the newest entries below a position; see `protocol.LogStatistics`."""

        def find() -> list[EntryNote]:
            table_id = None if table is None else self._find_table(*table)
            if table is not None and table_id is None:
                return []
            below = POSITION_MAX if position is None else position
            found: list[EntryNote] = []
            numbers = self._connection.list_segments()
            # The rescue segment lies between the others; newer ones end the search early.
            for segment in [*(one for one in numbers if not one), *filter(None, numbers[::-1])]:
                statement = statements.make_list_below(self._connection.log, segment)
                for place, source_id, name, *rest in self._connection.execute(
                    statement, below, limit, table_id
                ):
                    found.append(EntryNote(place, source_id, decode_name(name), *rest))
                if segment and len(found) >= limit:
                    break
            return sorted(found, reverse=True)[:limit]

        return self._connection.run(find)

    def find_keys(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """Return where requests of some names are; see `protocol.LogStatistics`."""
        if not names:
            return {}
        rows = self._connection.run(
            lambda: self._connection.execute(
                statements.FIND_KEYS, self._connection.log, encode_blobs(names)
            )
        )
        found = {bytes(name): int(first) for name, first in rows}
        return {name: found[name] for name in names if name in found}

    def forget_keys(self, before: int) -> int:
        """Forget names stored before a time; see `protocol.LogStatistics`."""
        forgotten = 0
        while True:
            gone = self._connection.run(
                lambda: self._connection.change(
                    statements.FORGET_KEYS, self._connection.log, before, FORGOTTEN_KEYS_MAX
                )
            )
            forgotten += gone
            if gone < FORGOTTEN_KEYS_MAX or forgotten >= FORGOTTEN_PORTION:
                return forgotten

    def measure_space(self) -> LogSpace:
        """Measure how full the log is; see `protocol.LogStatistics`.

        How much room the server's disk has is not known here.
        """
        [(used,)] = self._connection.run(
            lambda: self._connection.execute(statements.MEASURE_SPACE, self._connection.log)
        )
        return LogSpace(int(used), None)
