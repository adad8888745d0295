"""Finds rows of a table by keys, with DuckDB in memory as the engine of the join.

Columns are called by names of ours in the statements: k0, k1, ... for the key, x0, x1, ... for what
is asked of the row that is found. No name of a client takes part.
"""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from treadle.destinations.arrow_engine import ArrowEngine
from treadle.destinations.iceberg.live_rows import GONE_SCHEMA, LiveRows
from treadle.destinations.iceberg.row_format import fit_types
from treadle.errors import TreadleError

FOUND: Final[tuple[Any, ...]] = (("row", pa.int64()), *GONE_SCHEMA)
"""The row of the load, and the place of the one that was found."""


class KeySearch(ArrowEngine):
    """The engine of joins of a session."""

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

        Raises:
            Exception: that of reading a file, or a TreadleError of the engine.
        """
        if not live.files:  # as when all keys are beyond those of the table
            asked_for = [(f"x{at}", live.get_type(name)) for at, name in enumerate(extra)]
            return pa.schema([*FOUND, *asked_for]).empty_table()
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
        try:
            return self.run(statement, **tables)
        except TreadleError:
            failure, live.failure = live.failure, None
            if failure is not None:  # the engine tells of it as of a fault of its own
                raise failure from None
            raise


def make_numbers(size: int) -> "pa.Array[Any]":
    """Return the numbers of rows, from 0."""
    numbers: pa.Array[Any] = pa.arange(0, size)  # type: ignore[attr-defined]
    return numbers
