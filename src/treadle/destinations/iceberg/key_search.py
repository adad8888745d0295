"""Finds rows of a table by keys, with DuckDB in memory as the engine of the join.

Columns are called by names of ours in the statements: k0, k1, ... for the key, x0, x1, ... for what
is asked of the row that is found. No name of a client takes part.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import duckdb
import pyarrow as pa

from treadle.destinations.iceberg.errors import translate_engine
from treadle.destinations.iceberg.live_rows import LiveRows
from treadle.destinations.iceberg.row_format import fit_types

SETTINGS: Final = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    # The rows of a load are the side of a join that is kept in memory; those of a table, of which
    # Arrow does not tell how many they are, pass by.
    "SET disabled_optimizers = 'join_order,build_side_probe_side'",
)

FOUND: Final = ("row", "file", "pos")


class KeySearch:
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

    def find_rows(
        self,
        live: LiveRows,
        key: Sequence[str],
        wanted: "pa.Table",
        extra: Sequence[str] = (),
    ) -> "pa.Table":
        """Find the rows of a table that have a wanted key.

        Args:
            live: the rows to search.
            key: names of columns of the table.
            wanted: as many columns, in the order of `key`, of the keys that are looked for.
            extra: names of columns of the table that are wanted of the rows that are found.

        Returns:
            `row` in `wanted`, `file` and `pos` of the row that was found, and its x0, x1, ...
        """
        keys = [f"k{at}" for at in range(len(key))]
        types = {name: live.get_type(column) for name, column in zip(keys, key, strict=True)}
        asked = fit_types(wanted.rename_columns(keys), types)
        asked = asked.append_column("row", make_numbers(asked.num_rows))
        given = [f"t.c{len(key) + at} AS x{at}" for at in range(len(extra))]
        same = " AND ".join(f"t.c{at} = s.k{at}" for at in range(len(key)))
        statement = (
            f"SELECT {', '.join(['s.row', 't.file', 't.pos', *given])}"  # noqa: S608 - names of ours
            f" FROM stored t JOIN asked s ON {same}"
        )
        tables: dict[str, Any] = {"stored": live.read_places([*key, *extra]), "asked": asked}
        if live.gone.num_rows:
            statement += " ANTI JOIN gone g ON g.file = t.file AND g.pos = t.pos"
            tables["gone"] = live.gone
        return self.run(statement, **tables)


def make_numbers(size: int) -> "pa.Array[Any]":
    """Return the numbers of rows, from 0."""
    numbers: pa.Array[Any] = pa.arange(0, size)  # type: ignore[attr-defined]
    return numbers
