"""Rejected records: the list, newest first (P8)."""

from typing import Final

from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.control.lookups import parse_id
from treadle.errors import OperatorError
from treadle.store.rejects import RejectQuery
from treadle.tracking.rejects import (
    RejectFilter,
    find_rejects,
    format_reject_id,
    parse_reject_id,
)

PAGE_SIZE: Final = 100


def show_rejects(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show rejected records, 100 a page."""
    query = request.query
    sources = {one.id: one for one in services.store.sources.list_sources(request.account.id)}
    source_id = parse_id(query.get("source", ""))
    if source_id not in sources:
        source_id = None
    table = query.get("table", "")
    reason = query.get("reason", "").strip()
    before = _parse_place(query.get("before", ""))
    wanted = RejectFilter(RejectQuery(request.account.id, source_id, table or None), reason or None)
    page = find_rejects(services.store, wanted, before, PAGE_SIZE)
    return PageAnswer(
        "rejects.html",
        {
            "title": "Rejected records",
            "section": "rejects",
            "command": f"treadle rejects list{services.data_flag}",
            "lines": [
                (one, sources[one.source_id]) for one in page.rejects if one.source_id in sources
            ],
            "older": None if page.next is None else format_reject_id(*page.next),
            "first": before,
            "source_id": source_id,
            "sources_choices": [
                (one.id, one.name) for one in sources.values() if one.deleted_at is None
            ],
            "table": table,
            "reason": reason,
        },
    )


def _parse_place(text: str) -> tuple[int, int] | None:
    """Return position and index of the record that a page follows; None for the newest page."""
    try:
        return parse_reject_id(text)
    except OperatorError:
        return None


ROUTES: Final = (PageRoute("/rejects", show_rejects),)
