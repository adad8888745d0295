"""Load reports as JSON, for the API and the command line (loading.md 11.2)."""

from typing import Any

from treadle.store.load_folding import count_parts
from treadle.store.model import LoadReport
from treadle.timestamps import format_microseconds
from treadle.tracking.field_notes import render_left_out, render_rounded


def render_load_report(load: LoadReport) -> dict[str, Any]:
    """Return the JSON value of a load report.

    A column of a subtable is named with its relation, `orders__lines.price__do`. After a failed try
    nothing is loaded, and its records wait. `loads` is 1, or how many loads of an hour it sums.
    """
    details = load.details
    root = next((name for _, name in details.get("relations", [])), load.table_name)

    def named(relation: str, column: str) -> str:
        return column if relation == root else f"{relation}.{column}"

    return {
        "load_id": load.id,
        "source_id": load.source_id,
        "table": load.table_name,
        "started_at": format_microseconds(load.started_at),
        "finished_at": format_microseconds(load.finished_at),
        "loads": count_parts(load),
        "rows_received": load.rows_received,
        "rows_loaded": load.rows_loaded,
        "rows_discarded": load.rows_discarded,
        "rows_rejected": load.rows_rejected,
        "waited_max_us": load.waited_max_us,
        "waited_p50_us": load.waited_p50_us,
        "tables": load.tables,
        "fields_left_out": details.get("fields_left_out", []),
        "left_out": render_left_out(details.get("left_out", [])),
        "rounded": render_rounded(details.get("rounded", [])),
        "columns_added": [named(*added) for added in details.get("columns_added", [])],
        "columns_renamed": [
            [named(relation, old), named(relation, new)]
            for relation, old, new in details.get("columns_renamed", [])
        ],
        "nul_characters_removed": details.get("nul_characters_removed", 0),
        "table_version": details.get("table_version", 0),
        "trouble": details.get("trouble"),
        "error": load.error,
    }
