"""DuckDB in memory as the engine of joins of Arrow tables."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import duckdb
import pyarrow as pa

from treadle.destinations.protocol import DestinationUnavailableError
from treadle.errors import TableStoppedError, TreadleError

SETTINGS: Final = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    # The rows of a load are the side of a join that is kept in memory; those of a table, of which
    # Arrow does not tell how many they are, pass by.
    "SET disabled_optimizers = 'join_order,build_side_probe_side'",
)

_NO_MEMORY: Final = ("Out of Memory Error", "could not allocate", "failed to allocate")

Run = Callable[..., "pa.Table"]
"""Runs a statement over Arrow tables, as `ArrowEngine.run`."""


class ArrowEngine:
    """An engine in memory; it is made at the first question and closed with the session."""

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None

    def close(self) -> None:
        """Let go of the engine."""
        if self._connection is not None:
            with suppress(duckdb.Error):
                self._connection.close()
            self._connection = None

    def run(self, statement: str, **tables: Any) -> "pa.Table":
        """Run a statement over Arrow tables, or readers of them, by name.

        Raises:
            TreadleError: see `translate_engine`.
        """
        if self._connection is None:
            self._connection = duckdb.connect(":memory:")
            for setting in SETTINGS:
                self._connection.execute(setting)
        connection = self._connection
        try:
            for name, table in tables.items():
                connection.register(name, table)
            found: pa.Table = connection.sql(statement).to_arrow_table()
        except duckdb.Error as error:
            raise translate_engine(error) from error
        finally:
            for name in tables:
                with suppress(duckdb.Error):
                    connection.unregister(name)
        return found


def translate_engine(error: Exception) -> TreadleError:
    """Return the meaning of an error of DuckDB, in which rows are joined."""
    text = " ".join(str(error).split("\n\n")[0].split())
    if any(mark in text for mark in _NO_MEMORY) or isinstance(
        error, duckdb.IOException | duckdb.InterruptException
    ):
        return DestinationUnavailableError(f"the rows cannot be compared now: {text}")
    return TableStoppedError(f"the rows of the table cannot be compared: {text}")
