"""The audit trail: who changed what (P18)."""

import json
from collections.abc import Mapping
from typing import Any, Final

from treadle.console import view
from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.control.lookups import parse_id
from treadle.control.trail_routes import OPERATOR_KINDS
from treadle.store.model import ConsoleRole
from treadle.store.trail_event import TrailAction, TrailEvent, TrailOutcome

PAGE_SIZE: Final = 100


def show_audit(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show events, newest first, 100 a page."""
    query = request.query
    action = query.get("action", "")
    outcome = query.get("outcome", "")
    found = services.store.trail.list_events(
        account_id=request.account.id,
        action=action if action in list(TrailAction) else None,
        outcome=outcome if outcome in list(TrailOutcome) else None,
        before=parse_id(query.get("before", "")),
        limit=PAGE_SIZE + 1,
    )
    shown = found[:PAGE_SIZE]
    return PageAnswer(
        "audit.html",
        {
            "title": "Audit",
            "section": "audit",
            "command": f"treadle trail --account {request.account.id}{services.data_flag}",
            "lines": [_describe(one) for one in shown],
            "older": shown[-1].id if len(found) > PAGE_SIZE else None,
            "before": query.get("before", ""),
            "action": action,
            "action_choices": [(one.value, view.format_words(one.value)) for one in TrailAction],
            "outcome": outcome,
            "outcome_choices": [(one.value, one.value) for one in TrailOutcome],
        },
    )


def _describe(event: TrailEvent) -> dict[str, Any]:
    hidden = event.actor.kind in OPERATOR_KINDS
    tones: dict[str, view.Tone] = {
        "done": "good",
        "begun": "busy",
        "refused": "warn",
        "failed": "bad",
    }
    return {
        "event": event,
        "who": view.format_actor(event.actor.kind.value, None if hidden else event.actor.id),
        "address": None if hidden else event.actor.address,
        "state": view.StateWord(event.outcome, tones.get(event.outcome, "plain")),
        "detail": describe_detail(event.detail),
    }


def describe_detail(detail: Mapping[str, Any]) -> str:
    """Return what an event says more, as text: `role: admin, ephemeral token id: 3`."""
    return ", ".join(
        f"{view.format_words(name)}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in detail.items()
    )


ROUTES: Final = (PageRoute("/audit", show_audit, role=ConsoleRole.ADMIN),)
