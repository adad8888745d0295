"""Destinations: the list, forms made from the report card, checks, and the deletion (P12)."""

from collections.abc import Mapping
from typing import Any, Final

import anyio
import anyio.to_thread
from starlette.requests import Request

from treadle.console import view
from treadle.console.destination_fields import (
    PHASE_LABELS,
    advise_on_check,
    find_wrong_names,
    make_fields,
    read_properties,
    read_typed,
)
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import require_destination
from treadle.control.check_routes import CheckOperations
from treadle.control.destination_operations import DestinationOperations
from treadle.destinations.service_proof import describe_proof
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.loads import RECENT_LOADS_MAX
from treadle.store.model import ConfiguredDestination, ConsoleRole
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

ADMIN: Final = ConsoleRole.ADMIN
CHECK_PAUSE_SECONDS: Final = 0.1
"""How often it is looked whether a check has ended."""

DONE: Final = {
    "created": "The destination is there, and is being checked. Records are loaded into it when a "
    "check succeeds.",
    "changed": "The destination is changed, and is being checked.",
    "deleted": "The destination is deleted. Records for it wait, and data in the database stays.",
}


def list_destinations(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all destinations."""
    seen = services.sampler.read().get_account(request.account.id)
    destination_of = services.store.destinations.list_ids_by_source()
    lines, checks = [], []
    for row in _list_rows(services, request):
        checks.append(services.store.checks.find_last_check(row.id))
        of_row = [one for key, one in seen.by_source.items() if destination_of.get(key) == row.id]
        lines.append(
            {
                "row": row,
                "state": view.describe_destination(row),
                "place": row.identity,
                "tables": sum(one.tables for one in of_row),
                "waiting": sum(one.waiting for one in of_row),
                "is_default": request.account.destination_id == row.id,
                "loads": _count_loads(services, request, row, destination_of),
                "since": row.trouble_since or row.usable_since,
                "check": checks[-1],
            }
        )
    return PageAnswer(
        "destinations.html",
        {
            "title": "Destinations",
            "section": "destinations",
            "command": f"treadle destination list{services.data_flag}",
            "lines": lines,
            "checks": {
                check.destination_id: view.describe_check(check)
                for check in checks
                if check is not None
            },
            "notice": DONE.get(request.query.get("done", "")),
        },
    )


def show_destination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one destination."""
    return _render(services, request, require_destination(services, request))


def show_new(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the form for a new destination of a type."""
    return _render_new(services, request, request.query.get("type", ""))


def create_destination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Make a destination."""
    type_ = request.get_text("type")
    cards = _list_cards(services)
    if type_ not in cards:
        return _render_new(services, request, type_, "Choose the type of the destination.")
    body: dict[str, Any] = {
        "type": type_,
        "properties": read_properties(cards[type_], request.form, creates=True),
    }
    for name in ("name", "description"):
        if request.get_text(name):
            body[name] = request.get_text(name)
    raw = encode_json(body)

    def run(bound: Any) -> Any:
        operations = DestinationOperations(bound.store, services.settings)
        return operations.create_destination(request.account, raw)

    target = TrailTarget(TargetKind.DESTINATION)
    try:
        made = services.change(request, TrailAction.CREATE_DESTINATION, target, run)
    except RequestRefusedError as refused:
        return _render_new(services, request, type_, view.describe_refusal(refused.body))
    return lead_on(f"/destinations/{made['id']}", done="created")


def show_change(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the form of a destination as it is; its credentials are not in it."""
    return _render_change(services, request, require_destination(services, request))


def change_destination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Change a destination; a password that is left empty stays."""
    row = require_destination(services, request)
    card = _describe_wire(services, request, row)["report_card"]
    raw = encode_json({"properties": read_properties(card, request.form, creates=False)})

    def run(bound: Any) -> Any:
        operations = DestinationOperations(bound.store, services.settings)
        return operations.update_destination(request.account, str(row.id), raw)

    target = TrailTarget(TargetKind.DESTINATION, row.id, row.name)
    try:
        services.change(request, TrailAction.CHANGE_DESTINATION, target, run)
    except RequestRefusedError as refused:
        return _render_change(services, request, row, view.describe_refusal(refused.body))
    return lead_on(f"/destinations/{row.id}", done="changed")


async def check_destination(
    services: ConsoleServices, request: PageRequest, connection: Request
) -> PageAnswer:
    """Check a destination, and wait for the end of the check for a while."""
    answer, destination_id = await anyio.to_thread.run_sync(_ask_for_check, services, request)
    if destination_id is None:
        return answer
    services.work.changed()  # so that the desk looks at once
    until = anyio.current_time() + services.patience_seconds
    while anyio.current_time() < until:
        check = await anyio.to_thread.run_sync(
            services.store.checks.find_last_check, destination_id
        )
        if check is None or check.finished_at is not None:
            break
        await anyio.sleep(CHECK_PAUSE_SECONDS)
    return answer


def _ask_for_check(
    services: ConsoleServices, request: PageRequest
) -> tuple[PageAnswer, int | None]:
    """Ask for a check; return the answer, and the destination whose check is to be waited for."""
    row = require_destination(services, request)

    def run(bound: Any) -> Any:
        return CheckOperations(bound.store).start_check(request.account, str(row.id))

    target = TrailTarget(TargetKind.DESTINATION, row.id, row.name)
    try:
        services.change(request, TrailAction.CHECK_DESTINATION, target, run)
    except RequestRefusedError as refused:
        return _render(services, request, row, view.describe_refusal(refused.body)), None
    return lead_on(f"/destinations/{row.id}", done="checked"), row.id


def show_deletion(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether a destination is to be deleted."""
    row = require_destination(services, request)
    return _render(services, request, row, template="destination-delete.html")


def delete_destination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Delete a destination whose name was typed."""
    row = require_destination(services, request)
    template = "destination-delete.html"
    if request.get_text("confirm") != row.name:
        error = f"The name that was typed is not {row.name}, so nothing was deleted."
        return _render(services, request, row, error, template)

    def run(bound: Any) -> Any:
        operations = DestinationOperations(bound.store, services.settings)
        return operations.delete_destination(request.account, str(row.id))

    target = TrailTarget(TargetKind.DESTINATION, row.id, row.name)
    try:
        services.change(request, TrailAction.DELETE_DESTINATION, target, run)
    except RequestRefusedError as refused:
        return _render(services, request, row, view.describe_refusal(refused.body), template)
    return lead_on("/destinations", done="deleted")


def _list_rows(services: ConsoleServices, request: PageRequest) -> list[ConfiguredDestination]:
    return [
        row
        for row in services.store.destinations.list_destinations(request.account.id)
        if row.deleted_at is None
    ]


def _count_loads(
    services: ConsoleServices,
    request: PageRequest,
    row: ConfiguredDestination,
    destination_of: Mapping[int, int],
) -> str:
    """Return how many loads into a destination there were in the last 24 hours."""
    its = [source for source, destination in destination_of.items() if destination == row.id]
    count = services.store.loads.get_load_count(its, request.now - view.DAY_US)
    more = " or more" if count >= RECENT_LOADS_MAX else ""
    return view.format_count(count) + more


def _list_cards(services: ConsoleServices) -> dict[str, Any]:
    """Return the report card of each type whose driver is installed, by the name of the type."""
    cards: Any = DestinationOperations(services.store, services.settings).list_types()
    return {card["type"]: card for card in cards}


def _describe_wire(
    services: ConsoleServices, request: PageRequest, row: ConfiguredDestination
) -> Mapping[str, Any]:
    """Return a destination as the API answers it: without URL and credentials."""
    operations = DestinationOperations(services.store, services.settings)
    found: Any = operations.get_destination(request.account, str(row.id))
    return dict(found)


def _render_new(
    services: ConsoleServices, request: PageRequest, type_: str, error: str | None = None
) -> PageAnswer:
    cards = _list_cards(services)
    card = cards.get(type_)
    fields = [] if card is None else make_fields(card, read_typed(request.form))
    wrong = find_wrong_names(error or "", fields)
    if card is not None and wrong:
        fields = make_fields(card, read_typed(request.form), wrong)
    return PageAnswer(
        "destination-new.html",
        {
            "title": "New destination",
            "section": "destinations",
            "command": f"treadle destination create --url-file url.txt{services.data_flag}",
            "types": sorted(cards),
            "type": type_ if card is not None else "",
            "unproven": describe_proof(type_),
            "fields": fields,
            "name": request.get_text("name"),
            "description": request.get_text("description"),
            "folder": str(services.settings.duckdb_folder),
            "error": error,
        },
        400 if error else 200,
    )


def _render_change(
    services: ConsoleServices,
    request: PageRequest,
    row: ConfiguredDestination,
    error: str | None = None,
) -> PageAnswer:
    found = _describe_wire(services, request, row)
    values = {**found["properties"], **read_typed(request.form)}
    fields = make_fields(found["report_card"], values)
    wrong = find_wrong_names(error or "", fields)
    return PageAnswer(
        "destination-change.html",
        {
            "title": f"Change {row.name}",
            "section": "destinations",
            "command": f"treadle destination update {row.id} --url-file url.txt"
            f"{services.data_flag}",
            "row": row,
            "setter": view.describe_setter(row),
            "fields": make_fields(found["report_card"], values, wrong),
            "folder": str(services.settings.duckdb_folder),
            "error": error,
        },
        400 if error else 200,
    )


def _render(
    services: ConsoleServices,
    request: PageRequest,
    row: ConfiguredDestination,
    error: str | None = None,
    template: str = "destination.html",
) -> PageAnswer:
    check = services.store.checks.find_last_check(row.id)
    destination_of = services.store.destinations.list_ids_by_source()
    seen = services.sampler.read().get_account(request.account.id)
    of_row = [one for key, one in seen.by_source.items() if destination_of.get(key) == row.id]
    return PageAnswer(
        template,
        {
            "title": row.name,
            "section": "destinations",
            "command": f"treadle destination check {row.id}{services.data_flag}",
            "row": row,
            "unproven": describe_proof(row.type),
            "state": view.describe_destination(row),
            "setter": view.describe_setter(row),
            "place": row.identity,
            "sources": [
                one for one in seen.sources.values() if destination_of.get(one.id) == row.id
            ],
            "tables": len(of_row),
            "waiting": sum(one.waiting for one in of_row),
            "loads": _count_loads(services, request, row, destination_of),
            "is_default": request.account.destination_id == row.id,
            "check": check,
            "check_state": None if check is None else view.describe_check(check),
            "phases": []
            if check is None
            else [
                (
                    PHASE_LABELS.get(phase["phase"], phase["phase"]),
                    phase,
                    view.describe_phase(phase),
                )
                for phase in check.phases
            ],
            "advice": advise_on_check(row.type, check.phases)
            if check is not None and check.error is not None
            else None,
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


ROUTES: Final = (
    PageRoute("/destinations", list_destinations),
    PageRoute("/destinations/new", show_new, create_destination, ADMIN),
    PageRoute("/destinations/{destination}", show_destination),
    PageRoute("/destinations/{destination}/change", show_change, change_destination, ADMIN),
    PageRoute("/destinations/{destination}/check", task=check_destination, role=ADMIN),
    PageRoute("/destinations/{destination}/delete", show_deletion, delete_destination, ADMIN),
)
