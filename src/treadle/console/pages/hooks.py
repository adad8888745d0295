"""Post-load hooks: the list, a new one, one with its deliveries, and one delivery (P13)."""

import json
import shlex
from functools import partial
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request

from treadle.console import view
from treadle.console.access import has_role
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import read_choice, require_delivery, require_hook
from treadle.control.hook_operations import HookOperations
from treadle.control.trials import SILENT, make_sample_body
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.deliveries import FAILED, STATES
from treadle.store.model import ConsoleRole, HookBacklog, HookDelivery, PostLoadHook
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

PAGE_SIZE: Final = 50
OPERATOR: Final = ConsoleRole.OPERATOR
CURL_CHARACTERS_MAX: Final = 15_000
"""Longest body for which there is a command to copy."""

BODY_CHARACTERS_MAX: Final = 20_000
"""Most characters of a body on a page. A load of many subtables has a longer one."""

NO_FAILED: Final = "No delivery of this hook has failed, so there is nothing to send again."
DONE: Final = {
    "created": "The hook is there. It is called after the next load into its destination.",
    "changed": "The hook is changed.",
    "again": "The delivery is sent again. Reload to see what became of it.",
    "deleted": "The hook is deleted, with its deliveries.",
}


def list_hooks(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all hooks."""
    return _render_list(services, request)


def create_hook(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Make a hook."""
    body: dict[str, Any] = {"type": "post_load", "config": {"url": request.get_text("url")}}
    destination = request.get_text("destination_id")
    if destination:
        body["destination_id"] = read_choice(destination)
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
        if action == "send-again":
            delivery = request.get_text("delivery")
            return operations.send_delivery_again(request.account, hook_id, delivery)
        raise RequestRefusedError(400, "The page knows no such action.")

    trail_actions = {
        "delete": TrailAction.DELETE_HOOK,
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
    if action == "send-again":
        return lead_on(f"/hooks/{hook.id}/deliveries/{request.get_text('delivery')}", done="again")
    return lead_on(f"/hooks/{hook.id}", done="changed")


async def test_hook(
    services: ConsoleServices, request: PageRequest, connection: Request
) -> PageAnswer:
    """Call a hook once, and show what it answered."""
    return await anyio.to_thread.run_sync(partial(_send_test, services, request))


def _send_test(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    hook = require_hook(services, request)

    def run(bound: Any) -> Any:
        operations = HookOperations(bound.store, services.hook_rules)
        sender = services.trials or SILENT
        return operations.send_test(request.account, str(hook.id), sender, request.now)

    target = TrailTarget(TargetKind.HOOK, hook.id)
    try:
        found = services.change(request, TrailAction.TEST_HOOK, target, run)
    except RequestRefusedError as refused:
        return _render_one(services, request, hook, view.describe_refusal(refused.body))
    return _render_one(services, request, hook, trial=found)


def show_delivery(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one delivery: what was sent, what was answered, and how to repeat it by hand."""
    hook = require_hook(services, request)
    delivery = require_delivery(services, request, hook)
    source = services.store.sources.get_source(request.account.id, delivery.source_id)
    body = json.dumps(json.loads(delivery.body), indent=2)
    may_act = has_role(request.session, OPERATOR)
    shows_url = has_role(request.session, ConsoleRole.ADMIN)  # its path may be a secret
    return PageAnswer(
        "delivery.html",
        {
            "title": f"Delivery to hook {hook.id}",
            "section": "hooks",
            "command": f"treadle hook deliveries {hook.id} --json{services.data_flag}",
            "hook": hook,
            "delivery": delivery,
            "source": source,
            "state": view.describe_delivery(delivery.state),
            "body": _cut(body),
            "curl": make_curl(
                hook.url if shows_url else None, delivery, is_signed=hook.secret is not None
            )
            if may_act and len(delivery.body) <= CURL_CHARACTERS_MAX
            else None,
            "shows_url": shows_url,
            "notice": DONE.get(request.query.get("done", "")),
        },
    )


def make_curl(url: str | None, delivery: HookDelivery, *, is_signed: bool) -> str:
    """Return the command that sends a delivery as the server does.

    Args:
        url: of the hook; None to take it from the variable HOOK_URL.
        delivery: to repeat; its body is JSON in ASCII on one line.
        is_signed: the hook has a secret, which the command takes from the variable SECRET.
    """
    body = shlex.quote(delivery.body)
    place = '"$HOOK_URL"' if url is None else shlex.quote(url)
    headers = "-H 'Content-Type: application/json' -H 'User-Agent: StitchLoadingWebhook'"
    if not is_signed:
        return f"curl -i {headers} \\\n  --data-binary {body} \\\n  {place}"
    return (
        f"body={body}\n"
        "t=$(date +%s)\n"
        'v1=$(printf %s "$t.$body" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d" " -f1)\n'
        f'curl -i {headers} -H "Treadle-Signature: t=$t,v1=$v1" \\\n'
        f"  -H 'Idempotency-Key: {delivery.id}' "
        f'--data-binary "$body" {place}'
    )


def show_resend(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Say how many deliveries have failed, and ask whether they are to be sent again."""
    return _render_resend(services, request, require_hook(services, request))


def resend_failed(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Send the failed deliveries again, if they are as many as were confirmed."""
    hook = require_hook(services, request)
    text = request.get_text("expected")
    if not (text.isascii() and text.isdigit()):
        return _render_resend(services, request, hook, "Confirm the number.", 400)

    def run(bound: Any) -> Any:
        operations = HookOperations(bound.store, services.hook_rules)
        return operations.send_failed_again(request.account, str(hook.id), int(text[:10]))

    target = TrailTarget(TargetKind.HOOK, hook.id)
    try:
        found = services.change(request, TrailAction.SEND_AGAIN, target, run)
    except RequestRefusedError as refused:
        told = view.describe_refusal(refused.body)
        return _render_resend(services, request, hook, told, refused.status)
    return lead_on(f"/hooks/{hook.id}", again=str(found["deliveries"]))


def _render_resend(
    services: ConsoleServices,
    request: PageRequest,
    hook: PostLoadHook,
    error: str | None = None,
    status: int = 200,
) -> PageAnswer:
    return PageAnswer(
        "hook-resend.html",
        {
            "title": "Send again",
            "section": "hooks",
            "command": f"treadle hook send-again {hook.id}{services.data_flag}",
            "hook": hook,
            "url": view.shorten_url(hook.url),
            "failed": services.store.deliveries.get_delivery_count(hook.id, state=FAILED),
            "nothing": NO_FAILED,
            "error": error,
        },
        status,
    )


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
                    "today": services.store.deliveries.get_delivery_count(
                        one.id, since=request.now - view.DAY_US
                    ),
                    "last": next(
                        iter(services.store.deliveries.list_deliveries(one.id, limit=1)), None
                    ),
                    "destination": destinations.get(one.destination_id, str(one.destination_id)),
                }
                for one in services.store.hooks.list_hooks(request.account.id)
            ],
            "destinations": destinations,
            "sample": json.dumps(make_sample_body(request.now), indent=2),
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
    trial: Any = None,
) -> PageAnswer:
    state = request.query.get("state", "")
    found = services.store.deliveries.list_deliveries(
        hook.id,
        state=state if state in STATES else None,
        before=request.query.get("before") or None,
        limit=PAGE_SIZE + 1,
    )
    shown = found[:PAGE_SIZE]
    again = request.query.get("again", "")
    notice = DONE.get(request.query.get("done", ""))
    if again.isascii() and again.isdigit():
        told = view.count_words(int(again[:10]), "delivery", "deliveries")
        verb = "is" if int(again[:10]) == 1 else "are"
        notice = f"{told} of this hook {verb} sent again. The states are below."
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
            "lines": [(one, view.describe_delivery(one.state)) for one in shown],
            "failed_now": services.store.deliveries.get_delivery_count(hook.id, state=FAILED),
            "trial": trial,
            "trial_body": None if trial is None else json.dumps(trial["body"], indent=2),
            "sample": json.dumps(make_sample_body(request.now), indent=2),
            "older": shown[-1].id if len(found) > PAGE_SIZE else None,
            "wanted": state,
            "states": STATES,
            "error": error,
            "notice": notice,
        },
        400 if error else 200,
    )


def _cut(text: str) -> str:
    return text if len(text) <= BODY_CHARACTERS_MAX else f"{text[:BODY_CHARACTERS_MAX]}..."


ROUTES: Final = (
    PageRoute("/hooks", list_hooks, create_hook, act_role=OPERATOR),
    PageRoute("/hooks/{hook}", show_hook, change_hook, act_role=OPERATOR),
    PageRoute("/hooks/{hook}/delete", show_deletion, role=OPERATOR),
    PageRoute("/hooks/{hook}/test", task=test_hook, role=OPERATOR),
    PageRoute("/hooks/{hook}/resend", show_resend, resend_failed, OPERATOR),
    PageRoute("/hooks/{hook}/deliveries/{delivery}", show_delivery),
)
