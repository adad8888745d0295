"""Loads: the list, newest first, and one with all of its report (P7)."""

from typing import Any, Final

from treadle.console import view
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    name_table_part,
    quote_part,
)
from treadle.control.lookups import parse_id
from treadle.store.model import LoadReport
from treadle.tracking.load_reports import render_load_report

PAGE_SIZE: Final = 100
FAILED_SCAN_MAX: Final = 1_000
"""Most reports that are looked at for those that failed."""


def list_loads(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show loads, 100 a page."""
    query = request.query
    source_id = parse_id(query.get("source", ""))
    table = query.get("table", "")
    only_failed = query.get("failed") == "1"
    before = query.get("before") or None
    found = services.store.loads.list_loads(
        account_id=request.account.id,
        source_id=source_id,
        table_name=table or None,
        limit=FAILED_SCAN_MAX if only_failed else PAGE_SIZE + 1,
        before=before,
    )
    matching = [one for one in found if one.error is not None] if only_failed else found
    shown = matching[:PAGE_SIZE]
    sources = services.store.sources.list_sources(request.account.id)
    names = {one.id: one.name for one in sources}
    shown_sources = {one.id for one in sources if one.deleted_at is None}
    return PageAnswer(
        "loads.html",
        {
            "title": "Loads",
            "section": "loads",
            "command": f"treadle loads{' --failed' if only_failed else ''}{services.data_flag}",
            "lines": [_describe_line(one, names, shown_sources) for one in shown],
            "older": shown[-1].id if len(matching) > PAGE_SIZE else None,
            "before": before,
            "source_id": source_id,
            "sources_choices": [(one.id, one.name) for one in sources if one.deleted_at is None],
            "table": table,
            "only_failed": only_failed,
            "scanned": len(found) if only_failed else None,
        },
    )


def show_load(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one load."""
    wanted = request.parts["load"]
    found = services.store.loads.find_load(request.account.id, wanted)
    if found is None:
        raise PageNotFoundError(
            f"Your account has no load {wanted!r}. Reports are kept for 60 days, and the newest "
            "one of each table for ever."
        )
    source = services.store.sources.get_source(request.account.id, found.source_id)
    name = "" if source is None else source.name
    return PageAnswer(
        "load.html",
        {
            "title": f"Load of {name}.{found.table_name}",
            "section": "loads",
            "command": f"treadle loads --source {name} --json{services.data_flag}",
            "load": found,
            "report": render_load_report(found),
            "source_name": name,
            "line": _describe_line(
                found,
                {found.source_id: name},
                set() if source is None or source.deleted_at is not None else {source.id},
            ),
        },
    )


def _describe_line(
    one: LoadReport, names: dict[int, str], shown_sources: set[int]
) -> dict[str, Any]:
    """Return a line of the list. A table of a deleted source has no page to lead to."""
    if one.error is not None:
        state = view.StateWord("failed", "bad", one.error)
    elif one.details.get("trouble"):
        state = view.StateWord("trouble", "warn", str(one.details["trouble"]))
    elif one.rows_rejected:
        state = view.StateWord("some rejected", "warn")
    else:
        state = view.StateWord("loaded", "good")
    return {
        "load": one,
        "source_name": names.get(one.source_id, str(one.source_id)),
        "state": state,
        "took": one.finished_at - one.started_at,
        "added": len(one.details.get("columns_added", [])),
        "path": f"/loads/{quote_part(one.id)}",
        "table_path": f"/sources/{one.source_id}/tables/{name_table_part(one.table_name)}"
        if one.source_id in shown_sources
        else None,
    }


ROUTES: Final = (PageRoute("/loads", list_loads), PageRoute("/loads/{load}", show_load))
