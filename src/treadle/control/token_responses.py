"""The JSON objects of the answers about tokens of all kinds, and about webhooks.

Pure functions: what the store knows -> a JSON value.
"""

from collections.abc import Sequence

from treadle.control import schemas
from treadle.errors import InternalError
from treadle.store.model import AccessToken, SenderSignature, Source
from treadle.store.token_rules import WEBHOOK
from treadle.store.trail_event import ActorKind
from treadle.timestamps import format_seconds
from treadle.tracking.token_verdict import TokenVerdict


def render_access_token(token: AccessToken, now: int) -> schemas.TokenAnswer:
    """Return a token without its value.

    Args:
        token: as the store has it.
        now: microseconds since 1970.
    """
    return {
        "id": token.id,
        "kind": token.kind,
        "source_id": token.source_id,
        "last_four": token.last_four,
        "description": token.description,
        "tables": list(token.tables),
        "signature": _render_signature(token.signature),
        "active": token.is_active(now),
        "created_at": format_seconds(token.created_at),
        "created_by": _name_maker(token.created_by),
        "first_used_at": _format_optional(token.first_used_at),
        "last_used_at": _format_optional(token.last_used_at),
        "last_used_from": token.last_used_from,
        "uses": token.uses,
        "expires_at": _format_optional(token.expires_at),
        "revoked_at": _format_optional(token.revoked_at),
        "disabled_at": _format_optional(token.disabled_at),
        "refused": token.refused,
        "refused_at": _format_optional(token.refused_at),
    }


def render_listed_token(
    token: AccessToken, verdict: TokenVerdict, hours: Sequence[int], now: int
) -> schemas.TokenWithUses:
    """Return a token with its uses and what to think of it.

    Args:
        token: as the store has it.
        verdict: what to think of it.
        hours: its uses in each hour, the present one last.
        now: microseconds since 1970.
    """
    return {
        **render_access_token(token, now),
        "hourly_uses": list(hours),
        "verdict": {"verdict": verdict.kind.value, "text": verdict.text},
    }


def render_made_token(token: AccessToken, now: int) -> schemas.MadeToken:
    """Return a token that was just made, with its value; of a webhook token its path, too."""
    if token.secret is None:
        raise InternalError(
            f"the token {token.id} was made a moment ago and came without its secret"
        )
    path = None
    if token.kind == WEBHOOK:
        path = f"/v1/clients/{token.account_id}/token/{token.secret}"
    return {
        **render_access_token(token, now),
        "access_token": token.secret,
        "path": path,
    }


def render_webhook_settings(source: Source) -> schemas.WebhookAnswer:
    """Return what the webhook of a source does; what is not set has its default."""
    given = source.settings.get("webhook")
    kept = given if isinstance(given, dict) else {}
    key = kept.get("key", [])
    return {
        "table": kept.get("table", "data"),
        "key": key if isinstance(key, list) else [key],
        "upsert": kept.get("upsert", False),
        "import_tokens": kept.get("import_tokens", True),
        "provider": kept.get("provider"),
    }


def _render_signature(signature: SenderSignature | None) -> schemas.SignatureAnswer | None:
    if signature is None:
        return None
    return {
        "scheme": signature.scheme,
        "header": signature.header or None,
        "encoding": signature.encoding,
    }


def _name_maker(created_by: str) -> str | None:
    """Return who made a token, as far as an account may know: not which user runs the server."""
    for kind in (ActorKind.COMMAND_LINE, ActorKind.PARTNER):
        if created_by.startswith(kind):
            return kind.value
    return created_by or None


def _format_optional(instant: int | None) -> str | None:
    return None if instant is None else format_seconds(instant)
