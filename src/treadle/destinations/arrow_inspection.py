"""Counts and compares rows that are read as Arrow tables, with DuckDB in memory.

Columns have names of ours in the statements: k0, k1, ... for keys, v0, v1, ... for others. No name
of a client takes part.
"""

from collections.abc import Callable, Sequence

import pyarrow as pa

from treadle.destinations.arrow_engine import Run
from treadle.destinations.layout import BATCHED_AT
from treadle.destinations.protocol import RelationPair, RowCounts, RowDiff

ReadColumns = Callable[[Sequence[str], Sequence[str]], "pa.Table"]
"""Reads columns of all rows of a table: names of columns, and what to call them. Without any, it
gives a column of some name, so that the rows can be counted."""


def count_batches(run: Run, read: ReadColumns, key: Sequence[str], since: int) -> RowCounts:
    """Count the rows of a table; see `Inspection.counts`.

    Args:
        run: the engine.
        read: of the table.
        key: names of its key columns; without any, nothing is a duplicate.
        since: batches before it are not told; microseconds since 1970.
    """
    keys = [f"k{at}" for at in range(len(key))]
    rows = read([*key, BATCHED_AT], [*keys, "batch"])
    duplicates = 0
    if keys:
        [found] = run(
            "SELECT coalesce(sum(n - 1), 0)::BIGINT AS n FROM"  # noqa: S608 - names of ours
            f" (SELECT count(*) AS n FROM stored GROUP BY {', '.join(keys)})",
            stored=rows,
        ).to_pylist()
        duplicates = found["n"]
    batches = run(
        "SELECT epoch_us(batch) AS at, count(*) AS n FROM stored"  # noqa: S608 - a number
        f" WHERE batch IS NULL OR epoch_us(batch) >= {since:d} GROUP BY batch",
        stored=rows.select(["batch"]),
    ).to_pylist()
    return RowCounts(rows.num_rows, int(duplicates), {row["at"]: row["n"] for row in batches})


def compare_rows(
    run: Run, here: ReadColumns | None, there: ReadColumns | None, pair: RelationPair
) -> RowDiff:
    """Compare the rows of two tables, either of which may be missing; see `Inspection.compare`."""
    left = _read_side(here, [one for one, _ in pair.key], [one for one, _ in pair.columns])
    right = _read_side(there, [two for _, two in pair.key], [two for _, two in pair.columns])
    if here is None or there is None:
        return RowDiff(left.num_rows, right.num_rows, 0)
    values = [f"v{at}" for at in range(len(pair.columns))]
    if not pair.key:
        # Rows as a whole, as often as they are there.
        shown = ", ".join(values)
        only = [
            run(
                f"SELECT count(*) AS n FROM (SELECT {shown} FROM {one}"  # noqa: S608 - ours
                f" EXCEPT ALL SELECT {shown} FROM {two})",
                here=left,
                there=right,
            ).to_pylist()[0]["n"]
            for one, two in (("here", "there"), ("there", "here"))
        ]
        return RowDiff(only[0], only[1], 0)
    same = " AND ".join(f"a.k{at} = b.k{at}" for at in range(len(pair.key)))
    differs = " OR ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in values) or "false"
    [found] = run(
        "SELECT count(*) FILTER (WHERE b.k0 IS NULL) AS here,"  # noqa: S608 - names of ours
        " count(*) FILTER (WHERE a.k0 IS NULL) AS there,"
        " count(*) FILTER (WHERE a.k0 IS NOT NULL AND b.k0 IS NOT NULL"
        f" AND ({differs})) AS other FROM here a FULL JOIN there b ON {same}",
        here=left,
        there=right,
    ).to_pylist()
    return RowDiff(found["here"], found["there"], found["other"])


def _read_side(
    read: ReadColumns | None, keys: Sequence[str], columns: Sequence[str | None]
) -> "pa.Table":
    """Read one side of a comparison: its key as k0, k1, ..., its other columns as v0, v1, ..."""
    if read is None:
        return pa.table({})
    names = [*keys, *(name for name in columns if name is not None)]
    called = [f"k{at}" for at in range(len(keys))]
    called += [f"v{at}" for at, name in enumerate(columns) if name is not None]
    if not names:
        names, called = [BATCHED_AT], ["nothing"]
    rows = read(names, called)
    for at, name in enumerate(columns):
        if name is None:
            rows = rows.append_column(f"v{at}", pa.nulls(rows.num_rows))
    return rows
