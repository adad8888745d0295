"""The JSON objects of the answers about post-load hooks, keys in the documented order.

Pure functions: what the store knows -> a JSON value (connect-api.md 2.13).
"""

from typing import Any

import msgspec

from treadle.control import hook_schemas as schemas
from treadle.control.trials import TrialResult
from treadle.store.deliveries import WAITING
from treadle.store.model import HookBacklog, HookDelivery, PostLoadHook
from treadle.timestamps import format_microseconds, format_seconds


def render_hook(hook: PostLoadHook) -> schemas.HookAnswer:
    """Return a hook as the documented calls do: its destination is at the top level.

    (connect-api.md Q15)
    """
    return {
        "id": hook.id,
        "client_id": hook.account_id,
        "type": "post_load",
        "version": 1,
        "destination_id": hook.destination_id,
        "config": {"url": hook.url},
        "created_at": format_seconds(hook.created_at),
        "modified_at": format_seconds(hook.modified_at),
        "disabled_at": _format_optional(hook.disabled_at),
    }


def render_hook_state(hook: PostLoadHook, backlog: HookBacklog) -> schemas.HookStateAnswer:
    """Return a hook with the state of its deliveries, without its secret."""
    oldest = backlog.oldest
    return {
        "id": hook.id,
        "type": "post_load",
        "version": 1,
        "destination_id": hook.destination_id,
        "config": {"url": hook.url},
        "enabled": hook.disabled_at is None,
        "signed": hook.secret is not None,
        "created_at": format_seconds(hook.created_at),
        "modified_at": format_seconds(hook.modified_at),
        "disabled_at": _format_optional(hook.disabled_at),
        "paused_at": _format_optional(hook.paused_at),
        "waiting": backlog.waiting,
        "oldest_waiting_at": None if oldest is None else format_microseconds(oldest),
        "delivered": hook.delivered,
        "failed": hook.failed,
        "tries": hook.tries,
    }


def render_delivery(delivery: HookDelivery) -> schemas.DeliveryAnswer:
    """Return a delivery with what is sent and what was answered last."""
    body: dict[str, Any] = msgspec.json.decode(delivery.body)
    waits = delivery.state == WAITING
    return {
        "delivery_id": delivery.id,
        "hook_id": delivery.hook_id,
        "load_id": delivery.load_id,
        "source_id": delivery.source_id,
        "table": delivery.table_name,
        "state": delivery.state,  # type: ignore[typeddict-item]  # one of STATES
        "tries": delivery.tries,
        "created_at": format_microseconds(delivery.created_at),
        "next_try_at": format_microseconds(delivery.due_at) if waits else None,
        "last_tried_at": _format_exact(delivery.tried_at),
        "finished_at": _format_exact(delivery.finished_at),
        "took_ms": None if delivery.took_us is None else delivery.took_us // 1000,
        "status": delivery.status,
        "answer": delivery.answer,
        "error": delivery.error,
        "body": body,
    }


def render_trial(hook: PostLoadHook, body: str, found: TrialResult) -> schemas.HookTrialAnswer:
    """Return how a delivery that was sent on trial ended."""
    sent: dict[str, Any] = msgspec.json.decode(body)
    return {
        "hook_id": hook.id,
        "status": found.status,
        "answer": found.answer if found.status is not None else None,
        "error": found.error,
        "took_ms": found.took_us // 1000,
        "body": sent,
    }


def _format_optional(instant: int | None) -> str | None:
    return None if instant is None else format_seconds(instant)


def _format_exact(instant: int | None) -> str | None:
    return None if instant is None else format_microseconds(instant)
