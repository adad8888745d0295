"""Recipients: the addresses that are told of problems by mail (P14)."""

from functools import partial
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request

from treadle.console import view
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.control.recipient_operations import RecipientOperations
from treadle.control.trials import SILENT
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.model import ConsoleRole
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.timestamps import format_seconds

DONE: Final = {
    "added": "The address gets mails about problems from now on.",
    "disabled": "The address gets nothing more.",
    "enabled": "The address gets mails about problems again.",
    "removed": "The address is removed.",
    "sent": "The mail server took a test mail. Look whether it arrives.",
}
ACTIONS: Final = {
    "add": (TrailAction.ADD_RECIPIENT, "added"),
    "disable": (TrailAction.DISABLE_RECIPIENT, "disabled"),
    "enable": (TrailAction.ENABLE_RECIPIENT, "enabled"),
    "remove": (TrailAction.REMOVE_RECIPIENT, "removed"),
}


def list_recipients(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all recipients."""
    return _render(services, request)


def change_recipients(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Add, disable, enable or remove a recipient."""
    action = request.get_text("action")
    recipient_id = request.get_text("recipient")
    address = request.get_text("email_address")

    def run(bound: Any) -> Any:
        operations = RecipientOperations(bound.store)
        if action == "add":
            raw = encode_json({"email_address": address})
            return operations.create_custom_email(request.account, raw)
        if action == "remove":
            return operations.delete_custom_email(request.account, recipient_id)
        at = format_seconds(request.now) if action == "disable" else None
        raw = encode_json({"disabled_at": at})
        return operations.update_custom_email(request.account, recipient_id, raw)

    if action not in ACTIONS:
        return _render(services, request, "The page knows no such action.", address)
    trail_action, done = ACTIONS[action]
    try:
        target = TrailTarget(TargetKind.RECIPIENT, recipient_id or None)
        services.change(request, trail_action, target, run)
    except RequestRefusedError as refused:
        told = view.describe_refusal(refused.body)
        return _render(services, request, told, address)
    return lead_on("/recipients", done=done)


async def test_recipient(
    services: ConsoleServices, request: PageRequest, connection: Request
) -> PageAnswer:
    """Send a mail to an address, and say whether the mail server took it."""
    return await anyio.to_thread.run_sync(partial(_send_test, services, request))


def _send_test(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    recipient_id = request.get_text("recipient")

    def run(bound: Any) -> Any:
        sender = services.trials or SILENT
        return RecipientOperations(bound.store).send_test(request.account, recipient_id, sender)

    target = TrailTarget(TargetKind.RECIPIENT, recipient_id or None)
    try:
        found = services.change(request, TrailAction.TEST_RECIPIENT, target, run)
    except RequestRefusedError as refused:
        return _render(services, request, view.describe_refusal(refused.body))
    if not found["sent"]:
        told = f"The mail was not taken: {view.show_text(found['error'], 300)}"
        return _render(services, request, told)
    return lead_on("/recipients", done="sent")


def _render(
    services: ConsoleServices, request: PageRequest, error: str | None = None, address: str = ""
) -> PageAnswer:
    sends = any(
        one.name == "smtp_url" and one.origin != "default" for one in services.traces.settings
    )
    return PageAnswer(
        "recipients.html",
        {
            "title": "Recipients of mails",
            "section": "recipients",
            "command": f"treadle recipient list{services.data_flag}",
            "recipients": services.store.recipients.list_recipients(request.account.id),
            "sends": sends,
            "address": address,
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


ROUTES: Final = (
    PageRoute("/recipients", list_recipients, change_recipients, ConsoleRole.ADMIN),
    PageRoute("/recipients/test", task=test_recipient, role=ConsoleRole.ADMIN),
)
