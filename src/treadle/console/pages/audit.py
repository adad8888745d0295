"""The audit trail: who changed what, with what was before and after it (P18)."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from treadle.console import view
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
)
from treadle.control.trail_routes import OPERATOR_KINDS, TrailFilter, parse_trail_filter
from treadle.errors import RequestRefusedError
from treadle.spreadsheet import disarm_formula
from treadle.store.model import ConsoleRole
from treadle.store.trail_event import ActorKind, TargetKind, TrailAction, TrailEvent, TrailOutcome
from treadle.text import make_storable
from treadle.timestamps import format_microseconds

PAGE_SIZE: Final = 50
FILE_EVENTS_MAX: Final = 10_000
"""Most events of a CSV file. The filter by time has the rest."""

FILTERS: Final = ("action", "outcome", "actor", "target", "from", "to")
COLUMNS: Final = (
    *("id", "at", "actor", "name", "address", "action", "target_kind", "target_id", "target_name"),
    *("outcome", "before", "after", "detail"),
)
_TONES: Final[dict[str, view.Tone]] = {
    "done": "good",
    "begun": "busy",
    "refused": "warn",
    "failed": "bad",
}


def show_audit(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show events, newest first, 50 a page."""
    chosen = _read_query(request)
    try:
        wanted, error = _parse(chosen, request.query.get("before")), None
    except RequestRefusedError as refused:
        wanted = TrailFilter()
        error = f"Nothing was chosen by it: {view.describe_refusal(refused.body)}."
    found = wanted.list_events(services.store, request.account.id, PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    names = _list_names(services, request)
    given = {name: value for name, value in chosen.items() if value}
    actors = [(kind.value, view.format_actor(kind.value, None)) for kind in ActorKind]
    actors += [(f"{ActorKind.PERSON.value} {id_}", name) for id_, name in names.items()]
    return PageAnswer(
        "audit.html",
        {
            "title": "Audit",
            "section": "audit",
            "command": _make_command(services, request, chosen),
            "lines": [_describe(one, names) for one in shown],
            "older": shown[-1].id if len(found) > PAGE_SIZE else None,
            "before": request.query.get("before", ""),
            "chosen": chosen,
            "given": given,
            "action_choices": [(one.value, view.format_words(one.value)) for one in TrailAction],
            "outcome_choices": [(one.value, one.value) for one in TrailOutcome],
            "actor_choices": actors,
            "target_choices": [(one.value, view.format_words(one.value)) for one in TargetKind],
            "most": FILE_EVENTS_MAX,
            "error": error,
        },
        400 if error else 200,
    )


def save_audit(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Return the events that fit as a CSV file, newest first.

    Raises:
        RequestRefusedError: 400, the filter is wrong.
    """
    wanted = _parse(_read_query(request), None)
    events = wanted.list_events(services.store, request.account.id, FILE_EVENTS_MAX)
    content = write_csv(events, _list_names(services, request))
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    raw = content.encode("utf-8", "replace")
    return PageAnswer(response=Response(raw, headers=headers, media_type="text/csv"))


def write_csv(events: Sequence[TrailEvent], names: Mapping[str, str]) -> str:
    """Return events as CSV with a head; no cell is a formula for a spreadsheet. Pure.

    Args:
        events: as the store has them.
        names: id of a user -> name.
    """
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in events:
        hidden = one.actor.kind in OPERATOR_KINDS
        rest, before, after = part_detail(one.detail)
        cells = (
            one.id,
            format_microseconds(one.at),
            one.actor.kind.value
            if hidden or not one.actor.id
            else f"{one.actor.kind.value} {one.actor.id}",
            _find_name(one, names),
            "" if hidden else one.actor.address,
            one.action,
            one.target.kind.value,
            one.target.id or "",
            one.target.name or "",
            one.outcome,
            json.dumps(before) if before else "",
            json.dumps(after) if after else "",
            json.dumps(rest) if rest else "",
        )
        writer.writerow(
            [
                disarm_formula(make_storable(cell)) if isinstance(cell, str) else cell
                for cell in cells
            ]
        )
    return made.getvalue()


def part_detail(
    detail: Mapping[str, Any],
) -> tuple[dict[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """Return what an event says more, and the values before and after its change. Pure."""
    before, after = detail.get("before"), detail.get("after")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return dict(detail), {}, {}
    rest = {name: value for name, value in detail.items() if name not in ("before", "after")}
    if set(rest.get("changed") or ()) <= {name.partition(".")[0] for name in after}:
        rest.pop("changed", None)  # the values say it
    return rest, before, after


def describe_detail(detail: Mapping[str, Any]) -> str:
    """Return what an event says more, as text: `role: admin, ephemeral token id: 3`."""
    return ", ".join(
        f"{view.format_words(name)}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in detail.items()
    )


def _describe(event: TrailEvent, names: Mapping[str, str]) -> dict[str, Any]:
    hidden = event.actor.kind in OPERATOR_KINDS
    rest, before, after = part_detail(event.detail)
    return {
        "event": event,
        "who": view.format_actor(event.actor.kind.value, None if hidden else event.actor.id),
        "name": _find_name(event, names),
        "address": None if hidden else event.actor.address,
        "state": view.StateWord(event.outcome, _TONES.get(event.outcome, "plain")),
        "detail": describe_detail(rest),
        "changes": [
            (view.format_words(name), _show_value(before.get(name)), _show_value(value))
            for name, value in after.items()
        ],
    }


def _show_value(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value)


def _find_name(event: TrailEvent, names: Mapping[str, str]) -> str:
    if event.actor.kind != ActorKind.PERSON:
        return ""
    return names.get(event.actor.id or "", "")


def _list_names(services: ConsoleServices, request: PageRequest) -> dict[str, str]:
    """Return the names of the users of an account, and of those who see all accounts, by id."""
    found = [
        *services.store.users.list_users(request.account.id),
        *services.store.users.list_installation_admins(),
    ]
    return {str(one.id): one.name for one in found}


def _read_query(request: PageRequest) -> dict[str, str]:
    return {name: request.query.get(name, "").strip() for name in FILTERS}


def _parse(chosen: Mapping[str, str], before: str | None) -> TrailFilter:
    """Return which events are asked for; a field that is left empty asks for nothing.

    Raises:
        RequestRefusedError: 400, a field is wrong.
    """
    return parse_trail_filter(
        action=chosen["action"] or None,
        outcome=chosen["outcome"] or None,
        actor=chosen["actor"] or None,
        target=chosen["target"] or None,
        since=chosen["from"] or None,
        until=chosen["to"] or None,
        before=before or None,
    )


def _make_command(
    services: ConsoleServices, request: PageRequest, chosen: Mapping[str, str]
) -> str:
    """Return the command that prints the same; only of words that are known."""
    words = ["treadle trail", f"--account {request.account.id}"]
    if chosen["action"] in list(TrailAction):
        words.append(f"--action {chosen['action']}")
    if chosen["outcome"] in list(TrailOutcome):
        words.append(f"--outcome {chosen['outcome']}")
    return " ".join(words) + services.data_flag


ROUTES: Final = (
    PageRoute("/audit", show_audit, role=ConsoleRole.ADMIN),
    PageRoute("/audit.csv", save_audit, role=ConsoleRole.ADMIN),
)
