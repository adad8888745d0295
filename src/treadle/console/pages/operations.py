"""Operations: what the server does for somebody in the background, followed to its end (P6, P8)."""

from collections.abc import Mapping
from typing import Any, Final

from treadle.console import view
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.tables import make_path
from treadle.control.lookups import parse_id
from treadle.control.reject_operations import RejectOperations
from treadle.counting import count_noun
from treadle.store.model import ConsoleRole
from treadle.store.operations import OPEN_STATES, REBUILD, ServerOperation
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.timestamps import format_microseconds

REASON_CHARACTERS_MAX: Final = 300
RELATIONS_SHOWN: Final = 60


def show_operation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show how far an operation is."""
    operation = require_operation(services, request)
    is_rebuild = operation.kind == REBUILD
    return PageAnswer(
        "operation.html",
        {
            "title": f"{'Rebuild' if is_rebuild else 'Resend'} {operation.id}",
            "section": "tables" if is_rebuild else "rejects",
            "command": ("treadle trail" if is_rebuild else "treadle rejects list --open")
            + services.data_flag,
            "is_open": operation.state in OPEN_STATES,
            "cause_id": _find_cause_id(operation),
            **_describe_part(services, request, operation),
        },
    )


def follow_operation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the part of that page that changes."""
    operation = require_operation(services, request)
    return PageAnswer("regions/operation.html", _describe_part(services, request, operation))


def _describe_part(
    services: ConsoleServices, request: PageRequest, operation: ServerOperation
) -> dict[str, Any]:
    return {
        "base": services.places.base,
        "now": request.now,
        **describe_operation(operation),
    }


def stop_operation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Stop an operation; what it did stays done."""
    operation = require_operation(services, request)

    def run(bound: Any) -> Any:
        return RejectOperations(bound.store, services.reach.open_reader).cancel_operation(
            request.account, str(operation.id)
        )

    target = TrailTarget(TargetKind.OPERATION, operation.id)
    services.change(request, TrailAction.CANCEL_OPERATION, target, run)
    return lead_on(f"/operations/{operation.id}")


def require_operation(services: ConsoleServices, request: PageRequest) -> ServerOperation:
    """Return the operation that a path names.

    Raises:
        PageNotFoundError: the account has none with it.
    """
    wanted = request.parts["operation"]
    number = parse_id(wanted)
    found = (
        None
        if number is None
        else services.store.operations.find_operation(request.account.id, number)
    )
    if found is None:
        raise PageNotFoundError(
            f"Your account has no operation {wanted!r}. The newest 200 of an account are kept."
        )
    return found


def describe_operation(one: ServerOperation) -> dict[str, Any]:
    """Return an operation as it is shown. Pure."""
    states = {
        "waiting": view.StateWord("waits to begin", "busy"),
        "running": view.StateWord("is running", "busy"),
        "done": view.StateWord("done", "good" if not one.failed else "warn"),
        "cancelled": view.StateWord("stopped", "off"),
        "failed": view.StateWord("failed", "bad"),
    }
    is_rebuild = one.kind == REBUILD
    result = f"{one.done:,} sent again, {one.failed:,} failed"
    if is_rebuild:
        result = f"{count_noun(one.done, 'record')} read"
    return {
        "operation": one,
        "is_rebuild": is_rebuild,
        "rebuilt": describe_rebuild(one.progress) if is_rebuild and one.progress else None,
        "table_path": make_path(one.detail["source_id"], one.detail["table"]) if is_rebuild else "",
        "window": {
            name: "" if one.detail.get(key) is None else format_microseconds(one.detail[key])
            for name, key in (("from", "since"), ("to", "until"))
        },
        "op_state": states.get(one.state, view.StateWord(one.state, "plain")),
        "dealt": one.done + one.failed,
        "is_settled": one.state not in OPEN_STATES,
        "result": result,
        "failures": [
            (reject_id, view.show_text(why, REASON_CHARACTERS_MAX)) for reject_id, why in one.errors
        ],
    }


def describe_rebuild(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a rebuild as it is shown. Pure."""
    if result["swapped"]:
        state = view.StateWord("the table now holds the rebuilt rows", "good")
    elif not result["differs"]:
        state = view.StateWord("the table holds the same", "good")
    elif result.get("built_in"):
        state = view.StateWord("the table differs from what was built", "warn")
    elif result["dry_run"]:
        state = view.StateWord("the table differs", "warn", "Nothing was changed.")
    else:
        state = view.StateWord("nothing was swapped", "bad", "Rows may be lost.")
    return {
        **result,
        "state": state,
        "tables": result["tables"][:RELATIONS_SHOWN],
        "doubts": [view.show_text(one, REASON_CHARACTERS_MAX) for one in result["doubts"]],
        "may_swap": result["differs"] and not result["swapped"] and not result.get("built_in"),
    }


def _find_cause_id(operation: ServerOperation) -> int | None:
    query = operation.detail.get("query")
    found = query.get("cause_id") if isinstance(query, Mapping) else None
    return found if isinstance(found, int) else None


ROUTES: Final = (
    PageRoute(
        "/operations/{operation}", show_operation, stop_operation, act_role=ConsoleRole.OPERATOR
    ),
    PageRoute("/regions/operations/{operation}", follow_operation),
)
