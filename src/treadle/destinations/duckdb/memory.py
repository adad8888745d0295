"""When DuckDB holds so much in memory that its file had better be opened anew.

As long as a file is open, DuckDB keeps of it what it read and wrote: blocks, which it could do
without, and for each table with a key an index of 256 KB at least, which it could not. A thousand
new tables are 300 MB, whatever is in them. Closing the file gives all of it back.

A `memory_limit` alone would not do. What is kept of an index counts in it, so that tables beyond
some number could not be loaded; and when a COMMIT meets the limit, DuckDB may leave in the index of
another table the key of a row that it took back. So there is one only for loads that cannot meet
it, those into tables whose indexes are small. They need it all the same: with every load DuckDB
writes a table's last 122,880 rows anew, for which it takes what it can get.
"""

from dataclasses import dataclass
from typing import Final

import duckdb

GATHERED_BYTES_MAX: Final = 96_000_000

LIMIT_BYTES: Final = 200_000_000
"""For a load into small tables: what is held before it, its rows some times over, and room."""

SMALL_ROWS_MAX: Final = 200_000
"""Most rows of tables that are small; the index of so many takes 8 to 30 MB."""


@dataclass(slots=True)
class Gathered:
    """What one session gathers.

    Attributes:
        bytes_max: from where on it is much; None for never.
        limits: whether DuckDB is held to a limit where it cannot meet it.
    """

    bytes_max: int | None = GATHERED_BYTES_MAX
    limits: bool = True
    _loads: int = 0
    _first: int = 0
    _limited: bool = False

    def is_much(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Whether the file is to be closed and opened before the next load, of which this tells.

        What the first load after an opening needs, the next ones need again: the index of a large
        table is not read anew for every load.
        """
        if self.bytes_max is None:
            return False
        self._loads += 1
        if self._loads == 1:
            return False
        row = connection.execute(
            "SELECT CAST(sum(memory_usage_bytes) AS BIGINT) FROM duckdb_memory()"
        ).fetchone()
        held = int(row[0]) if row else 0
        if self._loads == 2:
            self._first = held
        if held <= max(self.bytes_max, 2 * self._first):
            return False
        self._loads = 1
        self._limited = False
        return True

    def limit(self, connection: duckdb.DuckDBPyConnection, rows: int) -> None:
        """Set the limit for a load into tables that have so many rows together, or take it away."""
        limited = self.limits and rows <= SMALL_ROWS_MAX
        if limited != self._limited:
            connection.execute(
                f"SET memory_limit = '{LIMIT_BYTES:d}B'" if limited else "RESET memory_limit"
            )
            self._limited = limited

    def lift(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Take the limit away until the next load: what the operator asks may read much."""
        self.limit(connection, SMALL_ROWS_MAX + 1)
