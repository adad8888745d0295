"""Rejected records: the list, newest first (P8)."""

from itertools import islice
from typing import Final

from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.control.lookups import parse_id
from treadle.errors import OperatorError
from treadle.tracking.rejects import RejectedRecord, RejectFilter, list_rejects, parse_reject_id

PAGE_SIZE: Final = 100
SCAN_MAX: Final = 5_000
"""Most rejected records that are looked at for one page."""


def show_rejects(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show rejected records, 100 a page."""
    query = request.query
    sources = {one.id: one for one in services.store.sources.list_sources(request.account.id)}
    source_id = parse_id(query.get("source", ""))
    if source_id not in sources:
        source_id = None
    table = query.get("table", "")
    reason = query.get("reason", "").strip()
    first = _parse_place(query.get("from", ""))
    wanted = RejectFilter(source_id, table or None, reason or None)
    position = None if first is None else first[0]
    looked = islice(list_rejects(services.store.outcomes, wanted, position), SCAN_MAX)
    found: list[RejectedRecord] = []
    for one in looked:
        if one.source_id in sources and (first is None or (one.position, one.index) <= first):
            found.append(one)
        if len(found) > PAGE_SIZE:
            break
    shown = found[:PAGE_SIZE]
    return PageAnswer(
        "rejects.html",
        {
            "title": "Rejected records",
            "section": "rejects",
            "command": f"treadle rejects list{services.data_flag}",
            "lines": [(one, sources[one.source_id]) for one in shown],
            "older": found[PAGE_SIZE].id if len(found) > PAGE_SIZE else None,
            "first": first,
            "source_id": source_id,
            "sources_choices": [
                (one.id, one.name) for one in sources.values() if one.deleted_at is None
            ],
            "table": table,
            "reason": reason,
        },
    )


def _parse_place(text: str) -> tuple[int, int] | None:
    """Return position and index of the record that a page begins with; None for the newest."""
    try:
        return parse_reject_id(text)
    except OperatorError:
        return None


ROUTES: Final = (PageRoute("/rejects", show_rejects),)
