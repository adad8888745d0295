"""Tokens: those of a source with the three steps of a rotation, and account tokens (P5)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.console import view
from treadle.console.figures import ServerFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import require_source
from treadle.console.pages.regions import RegionView
from treadle.control.operations import ConnectOperations
from treadle.control.token_operations import TokenOperations
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.model import AccessToken, Account, ConsoleRole, Source
from treadle.store.token_rules import ACCOUNT, ACTIVE_TOKENS_MAX, IMPORT, WEBHOOK
from treadle.store.tokens import TokenFilter
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

ENDED_SHOWN_US: Final = 30 * view.DAY_US
"""Ended tokens are shown for so long."""

DONE: Final = {
    "revoked": "The token is revoked. Requests with it are refused from now on.",
    "account-revoked": "The account token is revoked, and sessions that came from it have ended.",
}


def list_tokens(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all tokens of the account."""
    return _render_all(services, request)


def create_account_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Make an account token, which is shown this once."""
    raw = encode_json({"kind": ACCOUNT, "description": request.get_text("description")})

    def run(bound: ConnectOperations) -> Any:
        return TokenOperations(bound.store, services.clock).create_token(request.account, raw)

    target = TrailTarget(TargetKind.ACCOUNT_TOKEN)
    try:
        made = services.change(request, TrailAction.CREATE_ACCOUNT_TOKEN, target, run)
    except RequestRefusedError as refused:
        return _render_all(services, request, error=view.describe_refusal(refused.body))
    return _render_all(services, request, secret=made["access_token"], made_id=made["id"])


def show_account_revocation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether an account token is to be revoked."""
    return _render_account_revocation(services, request)


def revoke_account_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Revoke an account token."""
    token_id = request.parts["token"]

    def run(bound: ConnectOperations) -> Any:
        return TokenOperations(bound.store, services.clock).end_token(request.account, token_id)

    target = TrailTarget(TargetKind.ACCOUNT_TOKEN, token_id)
    try:
        services.change(request, TrailAction.REVOKE_ACCOUNT_TOKEN, target, run)
    except RequestRefusedError as refused:
        return _render_all(services, request, error=view.describe_refusal(refused.body))
    return lead_on("/tokens", done="account-revoked")


def show_source_tokens(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the tokens of a source, and which step of a rotation it is at."""
    return _render_source(services, request, require_source(services, request))


def create_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Make a token of a source, which is shown this once."""
    row = require_source(services, request)

    def run(bound: ConnectOperations) -> Any:
        return bound.create_token(request.account, str(row.id))

    target = TrailTarget(TargetKind.SOURCE, row.id, row.name)
    try:
        made = services.change(request, TrailAction.CREATE_IMPORT_TOKEN, target, run)
    except RequestRefusedError as refused:
        return _render_source(services, request, row, error=_explain_limit(services, row, refused))
    return _render_source(services, request, row, secret=made["access_token"], made_id=made["id"])


def show_revocation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether a token of a source is to be revoked, and say who uses it."""
    row = require_source(services, request)
    active = _list_active(services, row, request.now)
    token = next((one for one in active if str(one.id) == request.parts["token"]), None)
    if token is None:
        return lead_on(f"/sources/{row.id}/tokens")
    return PageAnswer(
        "token-revoke.html",
        {
            "title": f"Revoke token {token.id}",
            "section": "sources",
            "source": row,
            "state": view.describe_source(row),
            "tab": "tokens",
            "token": token,
            "verdict": _judge(token, active, request.now),
            "command": f"treadle token revoke {row.name} {token.id}{services.data_flag}",
        },
    )


def revoke_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Revoke a token of a source."""
    row = require_source(services, request)
    token_id = request.parts["token"]

    def run(bound: ConnectOperations) -> Any:
        return TokenOperations(bound.store, services.clock).end_token(request.account, token_id)

    target = TrailTarget(TargetKind.IMPORT_TOKEN, token_id)
    try:
        services.change(request, TrailAction.REVOKE_IMPORT_TOKEN, target, run)
    except RequestRefusedError as refused:
        return _render_source(services, request, row, error=view.describe_refusal(refused.body))
    return lead_on(f"/sources/{row.id}/tokens", done="revoked")


def get_tokens(services: ConsoleServices, account: Account, _: ServerFigures) -> Mapping[str, Any]:
    """Return the values of the region with all tokens of sources."""
    now = services.clock()
    sources = [
        one for one in services.store.sources.list_sources(account.id) if one.deleted_at is None
    ]
    found = services.store.tokens.find_tokens(TokenFilter((IMPORT, WEBHOOK), account.id))
    return {
        "groups": [
            (source, _list_lines([one for one in found if one.source_id == source.id], now))
            for source in sources
        ]
    }


def find_step(active: Sequence[AccessToken], now: int) -> int:
    """Return the step of a rotation that the import tokens of a source are at. Pure.

    Returns:
        1: make a second one; 2: wait until the new one is used and the old one is not; 3: the old
        one can be revoked.
    """
    if len(active) < 2:
        return 1
    safe = [one for one in active if _judge(one, active, now).word == "safe to revoke"]
    return 3 if safe else 2


def _judge(token: AccessToken, active: Sequence[AccessToken], now: int) -> view.StateWord:
    others = [one for one in active if one.id != token.id and one.kind == token.kind]
    return view.judge_token(token, others, now)


def _list_lines(tokens: Sequence[AccessToken], now: int) -> list[dict[str, Any]]:
    active = [one for one in tokens if one.is_active(now)]
    lines = []
    for one in sorted(tokens, key=lambda token: (not token.is_active(now), -token.id)):
        ended = one.revoked_at or one.expires_at
        if not one.is_active(now) and ended is not None and now - ended > ENDED_SHOWN_US:
            continue
        is_active = one.is_active(now)
        lines.append(
            {
                "token": one,
                "is_active": is_active,
                "state": _judge(one, active, now) if is_active else view.describe_token(one, now),
            }
        )
    return lines


def _list_active(services: ConsoleServices, row: Source, now: int) -> list[AccessToken]:
    found = services.store.tokens.find_tokens(
        TokenFilter((IMPORT, WEBHOOK), row.account_id, row.id)
    )
    return [one for one in found if one.is_active(now)]


def _explain_limit(services: ConsoleServices, row: Source, refused: RequestRefusedError) -> str:
    """Return why no token was made; where there are two, which of them could go."""
    told = view.describe_refusal(refused.body)
    now = services.clock()
    active = [one for one in _list_active(services, row, now) if one.kind == IMPORT]
    if len(active) < ACTIVE_TOKENS_MAX[IMPORT]:
        return told
    for one in active:
        if _judge(one, active, now).word == "safe to revoke":
            return f"{told}. Token {one.id} is safe to revoke."
    oldest = min(active, key=lambda one: one.last_used_at or one.created_at)
    return f"{told}. Token {oldest.id} was not used for longer than the other one."


def _render_all(
    services: ConsoleServices,
    request: PageRequest,
    *,
    secret: str | None = None,
    made_id: int | None = None,
    error: str | None = None,
) -> PageAnswer:
    found = services.store.tokens.find_tokens(TokenFilter((ACCOUNT,), request.account.id))
    lines = []
    for one in reversed(found):
        ended = one.revoked_at or one.expires_at
        is_active = one.is_active(request.now)
        if is_active or ended is None or request.now - ended <= ENDED_SHOWN_US:
            lines.append(
                {
                    "token": one,
                    "is_active": is_active,
                    "is_own": one.id == request.session.token_id,
                    "state": view.describe_token(one, request.now),
                }
            )
    return PageAnswer(
        "tokens.html",
        {
            "title": "Tokens",
            "section": "tokens",
            "command": f"treadle account token list{services.data_flag}",
            "account_lines": lines,
            "most": ACTIVE_TOKENS_MAX[ACCOUNT],
            "secret": secret,
            "made_id": made_id,
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
            **get_tokens(services, request.account, services.sampler.read()),
        },
        400 if error else 200,
    )


def _render_account_revocation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    found = services.store.tokens.find_tokens(TokenFilter((ACCOUNT,), request.account.id))
    active = [one for one in found if one.is_active(request.now)]
    token = next((one for one in active if str(one.id) == request.parts["token"]), None)
    if token is None:
        return lead_on("/tokens")
    return PageAnswer(
        "account-token-revoke.html",
        {
            "title": f"Revoke account token {token.id}",
            "section": "tokens",
            "token": token,
            "is_last": len(active) == 1,
            "is_own": token.id == request.session.token_id,
            "command": f"treadle account token revoke {token.id}{services.data_flag}",
        },
    )


def _render_source(
    services: ConsoleServices,
    request: PageRequest,
    row: Source,
    *,
    secret: str | None = None,
    made_id: int | None = None,
    error: str | None = None,
) -> PageAnswer:
    found = services.store.tokens.find_tokens(
        TokenFilter((IMPORT, WEBHOOK), row.account_id, row.id)
    )
    active = [one for one in found if one.is_active(request.now)]
    pushing = [one for one in active if one.kind == IMPORT]
    safe = next(
        (one for one in pushing if _judge(one, pushing, request.now).word == "safe to revoke"), None
    )
    return PageAnswer(
        "source-tokens.html",
        {
            "title": row.display_name,
            "section": "sources",
            "source": row,
            "state": view.describe_source(row),
            "tab": "tokens",
            "command": f"treadle token list {row.name}{services.data_flag}",
            "lines": _list_lines(found, request.now),
            "step": find_step(pushing, request.now),
            "pushing": pushing,
            "safe": safe,
            "most": ACTIVE_TOKENS_MAX[IMPORT],
            "secret": secret,
            "made_id": made_id,
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


OPERATOR: Final = ConsoleRole.OPERATOR
ROUTES: Final = (
    PageRoute("/tokens", list_tokens, create_account_token, act_role=ConsoleRole.ADMIN),
    PageRoute(
        "/tokens/{token}/revoke", show_account_revocation, revoke_account_token, ConsoleRole.ADMIN
    ),
    PageRoute("/sources/{source}/tokens", show_source_tokens, create_token, act_role=OPERATOR),
    PageRoute("/sources/{source}/tokens/{token}/revoke", show_revocation, revoke_token, OPERATOR),
)
REGIONS: Final = {"tokens": RegionView("regions/tokens.html", get_tokens)}
