"""The body of a post-load hook, made from a load report (loading.md 11.1)."""

from typing import Any

from treadle.store.model import LoadReport
from treadle.timestamps import format_milliseconds


def build_hook_body(load: LoadReport, integration_name: str) -> dict[str, Any]:
    """Build the body for one committed load.

    Args:
        load: its report.
        integration_name: the source's name.
    """
    details = load.details
    root, *subtables = details["relations"] or [[load.table_name, load.table_name]]
    extracted = details["extracted_max"]
    all_rejected = load.rows_received > 0 and load.rows_rejected == load.rows_received
    bookmarks = [
        {"key": key, "min_value": least, "max_value": greatest}
        for key, least, greatest in details["bookmarks"]
    ]

    def table(
        names: list[str], rejected: int, marks: list[dict[str, str]] | None
    ) -> dict[str, Any]:
        return {
            "source_table_name": names[0],
            "destination_table_name": names[1],
            "num_rows": load.tables.get(names[1], 0),
            "num_rows_rejected": rejected,
            "bookmark_metadata": marks,
            "max_time_extracted": None if extracted is None else format_milliseconds(extracted),
        }

    return {
        "version": "1.0",
        "minimum_sdc_batched_at": format_milliseconds(details["batched_at"]),
        "integration_name": integration_name,
        "new_version": details["new_version"],
        "source_root_table_name": load.table_name,
        "destination_root_table_name": root[1],
        "table_version": details["table_version"],
        "tables": [
            table(root, load.rows_rejected, None if all_rejected else bookmarks or None),
            *(table(names, 0, None) for names in subtables if load.tables.get(names[1])),
        ],
    }
