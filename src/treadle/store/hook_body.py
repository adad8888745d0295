"""The body of a post-load hook, made from a load report (loading.md 11.1)."""

import json
from typing import Any

from treadle.store.model import LoadReport
from treadle.timestamps import format_milliseconds


def is_worth_a_delivery(load: LoadReport) -> bool:
    """Return whether hooks are told of a committed load (connect-rest.md A.2.6).

    They are when rows were loaded or rejected. A load that only activates a table version changes
    the rows of the table, too.
    """
    return bool(
        load.rows_loaded
        or load.rows_rejected
        or any(load.tables.values())
        or load.details.get("new_version")
    )


def build_hook_body(load: LoadReport, integration_name: str) -> dict[str, Any]:
    """Build the body for one committed load.

    Args:
        load: its report. A loader of an earlier release may have left a part of its details out.
        integration_name: the source's name.
    """
    details = load.details
    root, *subtables = details.get("relations") or [[load.table_name, load.table_name]]
    extracted = _format_time(details.get("extracted_max"))
    all_rejected = load.rows_received > 0 and load.rows_rejected == load.rows_received
    bookmarks = [
        {"key": key, "min_value": least, "max_value": greatest}
        for key, least, greatest in details.get("bookmarks", ())
    ]

    objects = details.get("objects")  # of a destination that writes some
    keys = details.get("primary_keys", {})

    def table(
        names: list[str], rejected: int, marks: list[dict[str, str]] | None
    ) -> dict[str, Any]:
        written = {}
        if objects is not None:
            written["s3_objects"] = objects.get(names[1], [])
            written["primary_keys"] = keys.get(names[1], [])
        return {
            "source_table_name": names[0],
            "destination_table_name": names[1],
            "num_rows": load.tables.get(names[1], 0),
            "num_rows_rejected": rejected,
            **written,
            "bookmark_metadata": marks,
            "max_time_extracted": extracted,
        }

    return {
        "version": "1.0",
        "minimum_sdc_batched_at": _format_time(details.get("batched_at", load.started_at)),
        "integration_name": integration_name,
        "new_version": details.get("new_version", False),
        "source_root_table_name": load.table_name,
        "destination_root_table_name": root[1],
        "table_version": details.get("table_version", 0),
        "tables": [
            table(root, load.rows_rejected, None if all_rejected else bookmarks or None),
            *(table(names, 0, None) for names in subtables if load.tables.get(names[1])),
        ],
    }


def encode_hook_body(load: LoadReport, integration_name: str) -> str:
    """Return the body as JSON in ASCII: names may hold what UTF-8 and databases have no form for.

    Args:
        load: its report.
        integration_name: the source's name.
    """
    return json.dumps(build_hook_body(load, integration_name), separators=(",", ":"))


def _format_time(instant: int | None) -> str | None:
    """Return a time; None for one that has no such text, as a client may have sent."""
    try:
        return None if instant is None else format_milliseconds(instant)
    except OverflowError:
        return None
