"""The words and the fields of log lines about loads."""

import re
from collections.abc import Callable
from typing import Final

from treadle.loader.load_lines import LoadLine, SourceLines
from treadle.loader.schedule import TableKey
from treadle.store.model import LoadReport

_PLAIN: Final = re.compile(r"[\w$.-]+")
"""A name of a table that needs no quotes."""


def describe_source(source_id: int) -> str:
    """Name a source to the operator whose name is not known."""
    return f"source {source_id}"


def describe_table(key: TableKey, name_source: Callable[[int], str] = describe_source) -> str:
    """Name a table to the operator: "shop.orders"; "'orders' of source 8" without the name.

    Args:
        key: of the table.
        name_source: returns the name of a source.
    """
    source_id, table = key
    name = name_source(source_id)
    if name == describe_source(source_id):
        return f"{table!r} of {name}"
    return f"{name}.{table if _PLAIN.fullmatch(table) else repr(table)}"


def count_things(count: int, one: str, many: str | None = None) -> str:
    """Return a number and what it counts: "1 row", "2,000 rows"."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def describe_load(load: LoadReport, name: str, source: str) -> LoadLine:
    """Return the line of a load that was committed.

    Args:
        load: its report.
        name: of its table, to the operator.
        source: name of its source.
    """
    seconds = (load.finished_at - load.started_at) / 1e6
    rows = load.rows_received - load.rows_discarded - load.rows_rejected
    told = _tell_rows(rows, load.rows_discarded, load.rows_rejected)
    return LoadLine(
        f"loaded {name}: {told}, {seconds:.3f} s",
        {
            "source": source,
            "table": load.table_name,
            "load": load.id,
            "rows": rows,
            "superseded": load.rows_discarded,
            "rejected": load.rows_rejected,
            "seconds": seconds,
        },
        is_warning=load.rows_rejected > 0,
    )


def number_load(load: LoadReport) -> tuple[int, int, int, int]:
    """Return what `sum_loads` sums up: rows, superseded, rejected and microseconds."""
    rows = load.rows_received - load.rows_discarded - load.rows_rejected
    return (
        rows,
        load.rows_discarded,
        load.rows_rejected,
        load.finished_at - load.started_at,
    )


def sum_loads(its: SourceLines, source: str) -> LoadLine:
    """Return the line for several committed loads of one source."""
    rows, superseded, rejected, microseconds = its.sums
    tables, loads = len(its.tables), its.loads
    told = f"{count_things(loads, 'load')}, {_tell_rows(rows, superseded, rejected)}"
    return LoadLine(
        f"loaded {count_things(tables, 'table')} of {source}: {told}",
        {
            "source": source,
            "tables": tables,
            "loads": loads,
            "rows": rows,
            "superseded": superseded,
            "rejected": rejected,
            "seconds": microseconds / 1e6,
        },
        is_warning=rejected > 0,
    )


def describe_failure(
    load: LoadReport, name: str, source: str, error: Exception, pause_us: int
) -> LoadLine:
    """Return the line of a try that changed nothing.

    Args:
        load: its report.
        name: of its table, to the operator.
        source: name of its source.
        error: why.
        pause_us: until the next try, microseconds.
    """
    return LoadLine(
        f"{name} cannot be loaded, its records wait: {error}; retrying in {pause_us / 1e6:.0f} s",
        {
            "source": source,
            "table": load.table_name,
            "reason": str(error),
            "retry_seconds": pause_us / 1e6,
        },
        is_warning=True,
    )


def sum_failures(its: SourceLines, source: str) -> LoadLine:
    """Return the line for several failed tries of one source."""
    first = "" if its.first is None else its.first.text
    tables = count_things(len(its.tables), "table")
    return LoadLine(
        f"{count_things(its.loads, 'load')} of {tables} of {source} failed; the first: {first}",
        {"source": source, "tables": len(its.tables), "loads": its.loads, "first": first},
        is_warning=True,
    )


def _tell_rows(rows: int, superseded: int, rejected: int) -> str:
    told = [count_things(rows, "row")]
    if superseded:
        told.append(f"{superseded:,} superseded")
    if rejected:
        told.append(f"{rejected:,} rejected")
    return ", ".join(told)
