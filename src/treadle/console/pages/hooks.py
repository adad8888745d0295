"""Post-load hooks: the list, a new one, and one with its deliveries (P13)."""

from typing import Any, Final

import msgspec

from treadle.console import view
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import require_hook
from treadle.control.hook_operations import HookOperations
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.deliveries import STATES
from treadle.store.model import ConsoleRole, HookBacklog, HookDelivery, PostLoadHook
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

PAGE_SIZE: Final = 100
DONE: Final = {
    "created": "The hook is there. It is called after the next load into its destination.",
    "changed": "The hook is changed.",
    "again": "The deliveries are sent again.",
    "deleted": "The hook is deleted, with its deliveries.",
}


def list_hooks(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all hooks."""
    return _render_list(services, request)


def create_hook(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Make a hook."""
    body: dict[str, Any] = {"type": "post_load", "config": {"url": request.get_text("url")}}
    destination = request.get_text("destination_id")
    if destination.isascii() and destination.isdigit():
        body["destination_id"] = int(destination)
    raw = encode_json(body)

    def run(bound: Any) -> Any:
        return HookOperations(bound.store, services.hook_rules).create_hook(request.account, raw)

    try:
        made = services.change(request, TrailAction.CREATE_HOOK, TrailTarget(TargetKind.HOOK), run)
    except RequestRefusedError as refused:
        return _render_list(services, request, view.describe_refusal(refused.body))
    return lead_on(f"/hooks/{made['id']}", done="created")


def show_hook(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one hook with its deliveries."""
    return _render_one(services, request, require_hook(services, request))


def change_hook(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Enable, disable, pause, unpause, sign, send again or delete a hook."""
    hook = require_hook(services, request)
    action = request.get_text("action")
    hook_id = str(hook.id)
    changes: dict[str, dict[str, Any]] = {
        "enable": {"enabled": True},
        "disable": {"enabled": False},
        "pause": {"paused": True},
        "unpause": {"paused": False},
        "sign": {"secret": request.get_text("secret") or None},
        "move": {"url": request.get_text("url")},
    }

    def run(bound: Any) -> Any:
        operations = HookOperations(bound.store, services.hook_rules)
        if action in changes:
            raw = encode_json(changes[action])
            return operations.change_hook(request.account, hook_id, raw)
        if action == "delete":
            return operations.delete_hook(request.account, hook_id)
        if action == "send-failed":
            return operations.send_failed_again(request.account, hook_id)
        if action == "send-again":
            delivery = request.get_text("delivery")
            return operations.send_delivery_again(request.account, hook_id, delivery)
        raise RequestRefusedError(400, "The page knows no such action.")

    trail_actions = {
        "delete": TrailAction.DELETE_HOOK,
        "send-failed": TrailAction.SEND_AGAIN,
        "send-again": TrailAction.SEND_AGAIN,
    }
    try:
        services.change(
            request,
            trail_actions.get(action, TrailAction.CHANGE_HOOK),
            TrailTarget(TargetKind.HOOK, hook.id),
            run,
        )
    except RequestRefusedError as refused:
        return _render_one(services, request, hook, view.describe_refusal(refused.body))
    if action == "delete":
        return lead_on("/hooks", done="deleted")
    return lead_on(f"/hooks/{hook.id}", done="again" if "send" in action else "changed")


def show_deletion(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether a hook is to be deleted."""
    return _render_one(
        services, request, require_hook(services, request), template="hook-delete.html"
    )


def _render_list(
    services: ConsoleServices, request: PageRequest, error: str | None = None
) -> PageAnswer:
    backlogs = services.store.hooks.list_backlogs()
    destinations = {
        row.id: row.name
        for row in services.store.destinations.list_destinations(request.account.id)
        if row.deleted_at is None
    }
    return PageAnswer(
        "hooks.html",
        {
            "title": "Hooks",
            "section": "hooks",
            "command": f"treadle hook list{services.data_flag}",
            "lines": [
                {
                    "hook": one,
                    "state": view.describe_hook(one),
                    "url": view.shorten_url(one.url),
                    "backlog": backlogs.get(one.id, HookBacklog()),
                    "destination": destinations.get(one.destination_id, str(one.destination_id)),
                }
                for one in services.store.hooks.list_hooks(request.account.id)
            ],
            "destinations": destinations,
            "url": request.get_text("url"),
            "allows_http": services.settings.hook_urls == "any",
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


def _render_one(
    services: ConsoleServices,
    request: PageRequest,
    hook: PostLoadHook,
    error: str | None = None,
    template: str = "hook.html",
) -> PageAnswer:
    state = request.query.get("state", "")
    found = services.store.deliveries.list_deliveries(
        hook.id,
        state=state if state in STATES else None,
        before=request.query.get("before") or None,
        limit=PAGE_SIZE + 1,
    )
    shown = found[:PAGE_SIZE]
    return PageAnswer(
        template,
        {
            "title": f"Hook {hook.id}",
            "section": "hooks",
            "command": f"treadle hook deliveries {hook.id}{services.data_flag}",
            "hook": hook,
            "state": view.describe_hook(hook),
            "url": view.shorten_url(hook.url),
            "backlog": services.store.hooks.list_backlogs().get(hook.id, HookBacklog()),
            "lines": [_describe_delivery(one) for one in shown],
            "older": shown[-1].id if len(found) > PAGE_SIZE else None,
            "wanted": state,
            "states": STATES,
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


def _describe_delivery(one: HookDelivery) -> dict[str, Any]:
    body = msgspec.json.format(one.body.encode("utf-8", "replace"), indent=2).decode()
    return {"delivery": one, "state": view.describe_delivery(one.state), "body": body}


OPERATOR: Final = ConsoleRole.OPERATOR
ROUTES: Final = (
    PageRoute("/hooks", list_hooks, create_hook, act_role=OPERATOR),
    PageRoute("/hooks/{hook}", show_hook, change_hook, act_role=OPERATOR),
    PageRoute("/hooks/{hook}/delete", show_deletion, role=OPERATOR),
)
