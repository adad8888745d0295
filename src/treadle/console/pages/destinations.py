"""Destinations: the list, one with its last check, and the deletion of one (P12)."""

from typing import Any, Final

from treadle.console import view
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
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, RequestRefusedError
from treadle.store.model import ConfiguredDestination, ConsoleRole
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

DONE: Final = {
    "checked": "The check was asked for. Its steps are below; reload to see how far it is.",
    "deleted": "The destination is deleted. Records for it wait, and data in the database stays.",
}


def list_destinations(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all destinations."""
    seen = services.sampler.read().get_account(request.account.id)
    destination_of = services.store.destinations.list_ids_by_source()
    lines = []
    for row in _list_rows(services, request):
        of_row = [one for one in seen.tables if destination_of.get(one.source.id) == row.id]
        lines.append(
            {
                "row": row,
                "state": view.describe_destination(row),
                "place": _name_place(row),
                "tables": len(of_row),
                "waiting": sum(one.waiting for one in of_row),
                "is_default": request.account.destination_id == row.id,
            }
        )
    return PageAnswer(
        "destinations.html",
        {
            "title": "Destinations",
            "section": "destinations",
            "command": f"treadle destination list{services.data_flag}",
            "lines": lines,
            "notice": DONE.get(request.query.get("done", "")),
        },
    )


def show_destination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one destination."""
    return _render(services, request, require_destination(services, request))


def check_destination(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask for a check of a destination."""
    row = require_destination(services, request)

    def run(bound: Any) -> Any:
        return CheckOperations(bound.store).start_check(request.account, str(row.id))

    target = TrailTarget(TargetKind.DESTINATION, row.id, row.name)
    try:
        services.change(request, TrailAction.CHECK_DESTINATION, target, run)
    except RequestRefusedError as refused:
        return _render(services, request, row, view.describe_refusal(refused.body))
    return lead_on(f"/destinations/{row.id}", done="checked")


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


def _name_place(row: ConfiguredDestination) -> str:
    """Return where a destination is, without credentials."""
    try:
        return make_destination(row.url).identity
    except OperatorError as error:
        return f"cannot be read: {error}"


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
    of_row = [one for one in seen.tables if destination_of.get(one.source.id) == row.id]
    return PageAnswer(
        template,
        {
            "title": row.name,
            "section": "destinations",
            "command": f"treadle destination check {row.id}{services.data_flag}",
            "row": row,
            "state": view.describe_destination(row),
            "setter": view.describe_setter(row),
            "place": _name_place(row),
            "sources": [
                one for one in seen.sources.values() if destination_of.get(one.id) == row.id
            ],
            "tables": len(of_row),
            "waiting": sum(one.waiting for one in of_row),
            "is_default": request.account.destination_id == row.id,
            "check": check,
            "check_state": None if check is None else view.describe_check(check),
            "phases": []
            if check is None
            else [(phase, view.describe_phase(phase)) for phase in check.phases],
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


ADMIN: Final = ConsoleRole.ADMIN
ROUTES: Final = (
    PageRoute("/destinations", list_destinations),
    PageRoute("/destinations/{destination}", show_destination),
    PageRoute("/destinations/{destination}/check", act=check_destination, role=ADMIN),
    PageRoute("/destinations/{destination}/delete", show_deletion, delete_destination, ADMIN),
)
