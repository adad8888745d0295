"""How much memory DuckDB may take for a load: little, until a load needs more.

Left to itself DuckDB keeps every block that it reads or writes, up to four fifths of the machine's
memory. A load reads little twice, so with a low bound it is as fast. But some things have to fit:
the index of a table, 40 MB for a million rows. A load that meets the bound is tried again with
twice as much, and what was found to be needed holds for all later loads.
"""

from dataclasses import dataclass
from typing import Final

import duckdb

FIRST_BYTES: Final = 128_000_000


@dataclass(slots=True)
class Memory:
    """The bound of one file's loads.

    Attributes:
        bytes_max: what DuckDB may take now; None for what it takes by itself.
    """

    bytes_max: int | None = FIRST_BYTES

    def bound(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Hold a connection's file to the bound."""
        if self.bytes_max is None:
            self.free(connection)
        else:
            connection.execute(f"SET memory_limit = '{self.bytes_max:d}B'")

    @staticmethod
    def free(connection: duckdb.DuckDBPyConnection) -> None:
        """Let a connection's file take what DuckDB takes by itself."""
        connection.execute("RESET memory_limit")

    def grow(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Raise the bound after it was met; returns whether the connection has more to use now.

        It has not when DuckDB took all there is already, nor when it gave the file up because it
        had no room to write it: then the file has to be opened anew.
        """
        if self.bytes_max is None:
            return False
        self.bytes_max *= 2
        try:
            self.free(connection)
            if self.bytes_max >= _own_bound(connection):
                self.bytes_max = None
            self.bound(connection)
        except duckdb.Error:
            return False
        return True


def _own_bound(connection: duckdb.DuckDBPyConnection) -> float:
    """Bytes that DuckDB takes by itself, which it gives as a text like "18.7 GiB"."""
    found = connection.execute("SELECT current_setting('memory_limit')").fetchone()
    number, unit = str(found[0]).split() if found else ("0", "bytes")
    power: int = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB").index(unit)
    return float(number) * float(1024**power)
