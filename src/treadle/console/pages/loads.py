"""Loads: the list, newest first, and one with all of its report (P7)."""

import shlex
from typing import Any, Final
from urllib.parse import urlencode

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
from treadle.console.pages.lookups import describe_trouble, sees_records
from treadle.console.pages.tables import keep_chosen
from treadle.control.lookups import parse_id
from treadle.store.deliveries import make_delivery_id
from treadle.store.load_folding import count_parts
from treadle.store.model import LoadReport
from treadle.store.recent_loads import LoadFilter
from treadle.tracking.load_reports import render_load_report
from treadle.tracking.schema_history import render_changes

PAGE_SIZE: Final = 60
CHANGES_SHOWN: Final = 50
NEWS_MAX: Final = 100
"""New loads that are counted; beyond that it is "more than 100"."""

SPANS: Final = {"1h": view.HOUR_US, "24h": view.DAY_US, "7d": 7 * view.DAY_US}
SPAN_LABELS: Final = (("1h", "last hour"), ("24h", "last 24 h"), ("7d", "last 7 days"))


def list_loads(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show loads, 60 a page."""
    query = request.query
    source_id, table, chosen, loads_filter = read_filter(request)
    before = query.get("before") or None
    found = services.store.loads.list_loads(
        account_id=request.account.id,
        source_id=source_id,
        table_name=table or None,
        chosen=loads_filter,
        limit=PAGE_SIZE + 1,
        before=before,
    )
    shown = found[:PAGE_SIZE]
    sources = services.store.sources.list_sources(request.account.id)
    names = {one.id: one.name for one in sources}
    shown_sources = {one.id for one in sources if one.deleted_at is None}
    newest = {**keep_chosen(chosen), "after": shown[0].id if shown and before is None else ""}
    return PageAnswer(
        "loads.html",
        {
            "title": "Loads",
            "section": "loads",
            "command": f"treadle loads{' --failed' if chosen.get('failed') else ''}"
            f"{services.data_flag}",
            "lines": [
                _describe_line(one, names, shown_sources, may_see=sees_records(services, request))
                for one in shown
            ],
            "older": shown[-1].id if len(found) > PAGE_SIZE else None,
            "before": before,
            "filter": chosen,
            "kept": keep_chosen(chosen),
            "news": None if before is not None else f"/regions/loads?{urlencode(newest)}",
            "sources_choices": [(one.id, one.name) for one in sources if one.deleted_at is None],
            "span_choices": SPAN_LABELS,
        },
    )


def announce_loads(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Say how many loads ended since the newest one of a page."""
    source_id, table, chosen, loads_filter = read_filter(request)
    found = services.store.loads.list_loads(
        account_id=request.account.id,
        source_id=source_id,
        table_name=table or None,
        chosen=loads_filter,
        limit=NEWS_MAX + 1,
    )
    after = request.query.get("after", "")
    count = next((at for at, one in enumerate(found) if one.id == after), len(found))
    return PageAnswer(
        "regions/loads-news.html",
        {
            "base": services.places.base,
            "count": count,
            "is_more": count > NEWS_MAX,
            "location": f"/loads?{urlencode(keep_chosen(chosen))}",
        },
    )


def read_filter(request: PageRequest) -> tuple[int | None, str, dict[str, str], LoadFilter]:
    """Return which loads a URL names, and the parameters that name them."""
    query = request.query
    source_id = parse_id(query.get("source", ""))
    span = query.get("span", "")
    chosen = {
        "source": "" if source_id is None else str(source_id),
        "table": query.get("table", ""),
        "span": span if span in SPANS else "",
        "failed": "1" if query.get("failed") == "1" else "",
        "changed": "1" if query.get("changed") == "1" else "",
    }
    loads_filter = LoadFilter(
        failed=True if chosen["failed"] else None,
        changed=True if chosen["changed"] else None,
        since=request.now - SPANS[span] if chosen["span"] else None,
    )
    return source_id, chosen["table"], chosen, loads_filter


def show_load(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one load."""
    wanted = request.parts["load"]
    found = services.store.loads.find_load(request.account.id, wanted)
    if found is None:
        raise PageNotFoundError(
            f"Your account has no load {wanted!r}. Reports are kept for report_days, and the "
            "newest one of each table for ever; after a day those of a table in an hour become one."
        )
    source = services.store.sources.get_source(request.account.id, found.source_id)
    name = "" if source is None else source.name
    return PageAnswer(
        "load.html",
        {
            "title": f"Load of {name}.{found.table_name}",
            "section": "loads",
            "command": f"treadle loads --source {shlex.quote(name)} --json{services.data_flag}",
            "load": found,
            "report": render_load_report(found),
            "changes": render_changes(found.details.get("schema_changes", ()))[:CHANGES_SHOWN],
            "deliveries": _list_deliveries(services, request, found),
            "is_shown": source is not None and source.deleted_at is None,
            "source_name": name,
            "line": _describe_line(
                found,
                {found.source_id: name},
                set() if source is None or source.deleted_at is not None else {source.id},
                may_see=sees_records(services, request),
            ),
        },
    )


def _list_deliveries(
    services: ConsoleServices, request: PageRequest, load: LoadReport
) -> list[tuple[int, str, view.StateWord]]:
    """Return hook, id and state of the deliveries that a load made."""
    found = []
    for hook in services.store.hooks.list_hooks(request.account.id):
        made = make_delivery_id(hook.id, load.id)
        sent = services.store.deliveries.find_delivery(hook.id, made)
        if sent is not None:
            found.append((hook.id, sent.id, view.describe_delivery(sent.state)))
    return found


def describe_parts(one: LoadReport) -> str:
    """Return the number of loads that a report was made of, in words; empty for one. Pure."""
    count = count_parts(one)
    return f"{view.count_words(count, 'load')} of an hour" if count > 1 else ""


def measure_load(one: LoadReport) -> int | None:
    """Return how long a load took, in microseconds; None for a report of several. Pure."""
    return one.finished_at - one.started_at if count_parts(one) == 1 else None


def _describe_line(
    one: LoadReport, names: dict[int, str], shown_sources: set[int], *, may_see: bool
) -> dict[str, Any]:
    """Return a line of the list. A table of a deleted source has no page to lead to."""
    if one.error is not None:
        state = view.StateWord("failed", "bad", one.error)
    elif one.details.get("trouble"):
        told = describe_trouble(str(one.details["trouble"]), may_see=may_see)
        state = view.StateWord("trouble", "warn", told)
    elif one.rows_rejected:
        state = view.StateWord("some rejected", "warn")
    else:
        state = view.StateWord("loaded", "good", describe_parts(one))
    return {
        "load": one,
        "source_name": names.get(one.source_id, str(one.source_id)),
        "state": state,
        "took": measure_load(one),
        "added": len(one.details.get("schema_changes", ())),
        "path": f"/loads/{quote_part(one.id)}",
        "table_path": f"/sources/{one.source_id}/tables/{name_table_part(one.table_name)}"
        if one.source_id in shown_sources
        else None,
    }


ROUTES: Final = (
    PageRoute("/loads", list_loads),
    PageRoute("/loads/{load}", show_load),
    PageRoute("/regions/loads", announce_loads),
)
