"""Tokens: those of a source with the three steps of a rotation, and account tokens (P5)."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from treadle.console import view
from treadle.console.figures import ServerFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import require_source
from treadle.console.pages.regions import RegionView, name_topic
from treadle.console.plot import PlotSeries, draw_bars, draw_plot
from treadle.control.lookups import parse_id
from treadle.control.operations import ConnectOperations
from treadle.control.token_operations import TokenOperations
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.model import AccessToken, Account, BrowserSession, ConsoleRole, Source
from treadle.store.token_rules import ACCOUNT, ACTIVE_TOKENS_MAX, IMPORT, WEBHOOK
from treadle.store.tokens import HOURS_KEPT, TokenFilter
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.tracking.token_verdict import TokenVerdictKind, judge_token

ENDED_SHOWN_US: Final = 30 * view.DAY_US
"""Ended tokens are shown for so long."""

HOURS_SHOWN: Final = 24
"""Hours of the small plot of a token; its own page has all that are kept."""

DONE: Final = {
    "noted": "The note is changed.",
    "disabled": "The token is disabled: it is refused until it is enabled.",
    "enabled": "The token is enabled.",
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
        operations = TokenOperations(bound.store, services.clock)
        return operations.delete_account_token(request.account, token_id)

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
    note = request.get_text("description")
    raw = encode_json({"kind": IMPORT, "source_id": row.id, "description": note})

    def run(bound: ConnectOperations) -> Any:
        return TokenOperations(bound.store, services.clock).create_token(request.account, raw)

    target = TrailTarget(TargetKind.SOURCE, row.id, row.name)
    try:
        made = services.change(request, TrailAction.CREATE_IMPORT_TOKEN, target, run)
    except RequestRefusedError as refused:
        return _render_source(services, request, row, error=_explain_limit(services, row, refused))
    return _render_source(services, request, row, secret=made["access_token"], made_id=made["id"])


def show_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show a token of a source: what is known of it, and its uses of a week."""
    row = require_source(services, request)
    return _render_token(services, request, row, _require_token(services, request, row))


def note_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Change the note of a token of a source: whose it is."""
    row = require_source(services, request)
    token = _require_token(services, request, row)
    raw = encode_json({"description": request.get_text("description")})

    def run(bound: ConnectOperations) -> Any:
        operations = TokenOperations(bound.store, services.clock)
        return operations.change_token(request.account, str(token.id), raw)

    target = TrailTarget(TargetKind.IMPORT_TOKEN, token.id)
    try:
        services.change(request, TrailAction.DESCRIBE_TOKEN, target, run)
    except RequestRefusedError as refused:
        error = view.describe_refusal(refused.body)
        return _render_token(services, request, row, token, error)
    return lead_on(f"/sources/{row.id}/tokens/{token.id}", done="noted")


def change_account_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Change the note of an account token, or disable or enable it."""
    token_id, action = request.parts["token"], request.get_text("action")
    kinds = {
        "note": ({"description": request.get_text("description")}, TrailAction.DESCRIBE_TOKEN),
        "disable": ({"disabled": True}, TrailAction.DISABLE_TOKEN),
        "enable": ({"disabled": False}, TrailAction.ENABLE_TOKEN),
    }
    if action not in kinds:
        return _render_all(services, request, error="Nothing was chosen to be done.")
    body, kind = kinds[action]

    def run(bound: ConnectOperations) -> Any:
        operations = TokenOperations(bound.store, services.clock)
        return operations.change_account_token(request.account, token_id, encode_json(body))

    target = TrailTarget(TargetKind.ACCOUNT_TOKEN, token_id)
    try:
        services.change(request, kind, target, run)
    except RequestRefusedError as refused:
        return _render_all(services, request, error=view.describe_refusal(refused.body))
    return lead_on("/tokens", done={"note": "noted"}.get(action, f"{action}d"))


def show_revocation(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether a token of a source is to be revoked, and say who uses it."""
    row = require_source(services, request)
    lines = _list_lines(services, _find_tokens(services, row), request.now)
    line = next((one for one in lines if str(one["token"].id) == request.parts["token"]), None)
    if line is None or not line["is_active"]:
        return lead_on(f"/sources/{row.id}/tokens")
    token: AccessToken = line["token"]
    return PageAnswer(
        "token-revoke.html",
        {
            "title": f"Revoke token {token.id}",
            "section": "sources",
            "source": row,
            "state": view.describe_source(row),
            "tab": "tokens",
            "token": token,
            "verdict": line["state"],
            "bars": line["bars"],
            "command": f"treadle token revoke {shlex.quote(row.name)} {token.id}"
            f"{services.data_flag}",
        },
    )


def revoke_token(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Revoke a token of a source.

    The operation knows all tokens of the account, also those that only an admin may revoke.
    """
    row = require_source(services, request)
    token = _require_token(services, request, row)

    def run(bound: ConnectOperations) -> Any:
        operations = TokenOperations(bound.store, services.clock)
        return operations.end_token(request.account, str(token.id))

    target = TrailTarget(TargetKind.IMPORT_TOKEN, token.id)
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
    lines = _list_lines(services, found, now)
    return {
        "groups": [
            (source, [line for line in lines if line["token"].source_id == source.id])
            for source in sources
        ]
    }


def get_source_tokens(
    services: ConsoleServices, session: BrowserSession, _: ServerFigures, query: Mapping[str, str]
) -> Mapping[str, Any]:
    """Return the values of the region with the tokens of a source, which the query names."""
    number = parse_id(query.get("source", ""))
    row = None if number is None else services.store.sources.get_source(session.account.id, number)
    lines = (
        [] if row is None else _list_lines(services, _find_tokens(services, row), services.clock())
    )
    return {"source": row, "lines": lines}


def get_rotation(
    services: ConsoleServices,
    session: BrowserSession,
    figures: ServerFigures,
    query: Mapping[str, str],
) -> Mapping[str, Any]:
    """Return the values of the region with the steps of a rotation that wait for something."""
    found = get_source_tokens(services, session, figures, query)
    pushing = [one for one in found["lines"] if one["is_active"] and one["token"].kind == IMPORT]
    return {
        "source": found["source"],
        "step": find_step(pushing),
        "spare": any(
            one["token"].bootstrap and one["token"].first_used_at is None for one in pushing
        ),
        "pushing": sorted(pushing, key=lambda line: int(line["token"].id)),
        "safe": next((one["token"] for one in pushing if one["is_safe"]), None),
    }


def find_step(pushing: Sequence[Mapping[str, Any]]) -> int:
    """Return the step of a rotation that a source is at. Pure.

    Args:
        pushing: its active import tokens, as `list_token_lines` makes them.

    Returns:
        1: make a second one; 2: wait until the new one is used and the old one is not; 3: the old
        one can be revoked.
    """
    if len(pushing) < 2:
        return 1
    return 3 if any(line["is_safe"] for line in pushing) else 2


def list_token_lines(
    tokens: Sequence[AccessToken], hours: Mapping[int, Sequence[int]], now: int
) -> list[dict[str, Any]]:
    """Return the lines of a list of tokens: active ones first, then those ended lately. Pure.

    Args:
        tokens: of any kinds and owners.
        hours: id -> uses in each hour, the present one last.
        now: microseconds since 1970.
    """
    lines = []
    for one in sorted(tokens, key=lambda token: (not token.is_active(now), -token.id)):
        ended = one.revoked_at or one.expires_at
        if not one.is_kept(now) and ended is not None and now - ended > ENDED_SHOWN_US:
            continue
        same = [
            other for other in tokens if (other.kind, other.source_id) == (one.kind, one.source_id)
        ]
        uses = list(hours.get(one.id, ()))
        verdict = judge_token(one, same, uses, now)
        shown = uses[-HOURS_SHOWN:]
        label = (
            f"Requests with token {one.id} in each of the last {HOURS_SHOWN} hours: {sum(shown)} "
            f"together, {max(shown, default=0)} in the busiest"
        )
        lines.append(
            {
                "token": one,
                "is_active": one.is_active(now),
                "is_kept": one.is_kept(now),
                "is_safe": verdict.kind == TokenVerdictKind.SAFE,
                "state": view.describe_verdict(verdict, one, now),
                "day_uses": sum(shown),
                "bars": Markup(draw_bars(label, shown)) if any(shown) else None,  # noqa: S704
            }
        )
    return lines


def _list_lines(
    services: ConsoleServices, tokens: Sequence[AccessToken], now: int
) -> list[dict[str, Any]]:
    hours = services.store.tokens.list_hourly_uses([one.id for one in tokens], now)
    return list_token_lines(tokens, hours, now)


def _find_tokens(services: ConsoleServices, row: Source) -> list[AccessToken]:
    kinds = TokenFilter((IMPORT, WEBHOOK), row.account_id, row.id)
    return services.store.tokens.find_tokens(kinds)


def _require_token(services: ConsoleServices, request: PageRequest, row: Source) -> AccessToken:
    """Return the token that a path names.

    Raises:
        PageNotFoundError: the source has none of this id.
    """
    wanted = request.parts["token"]
    for one in _find_tokens(services, row):
        if str(one.id) == wanted:
            return one
    raise PageNotFoundError(
        f"The source {view.show_text(row.display_name, 80)} has no token "
        f"{view.show_text(wanted, 40)}. Its tab Tokens lists those that it has."
    )


def _explain_limit(services: ConsoleServices, row: Source, refused: RequestRefusedError) -> str:
    """Return why no token was made; where there are two, which of them could go."""
    told = view.describe_refusal(refused.body)
    lines = _list_lines(services, _find_tokens(services, row), services.clock())
    active = [one for one in lines if one["is_active"] and one["token"].kind == IMPORT]
    if len(active) < ACTIVE_TOKENS_MAX[IMPORT]:
        return told
    for line in active:
        if line["is_safe"]:
            return f"{told}. Token {line['token'].id} is safe to revoke."
    tokens: list[AccessToken] = [line["token"] for line in active]
    oldest = min(tokens, key=lambda one: (one.last_used_at or one.created_at, one.id))
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
    lines = [
        {**line, "is_own": line["token"].id == request.session.token_id}
        for line in _list_lines(services, found, request.now)
    ]
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
    query = {"source": str(row.id)}
    figures = services.sampler.read()
    chosen = f"source={row.id}"
    topics = (name_topic("source-tokens", chosen), name_topic("rotation", chosen))
    return PageAnswer(
        "source-tokens.html",
        {
            **get_source_tokens(services, request.session, figures, query),
            **get_rotation(services, request.session, figures, query),
            "title": row.display_name,
            "section": "sources",
            "source": row,
            "state": view.describe_source(row),
            "tab": "tokens",
            "topics": ",".join(topics),
            "tokens_topic": topics[0],
            "rotation_topic": topics[1],
            "command": f"treadle token list {shlex.quote(row.name)}{services.data_flag}",
            "most": ACTIVE_TOKENS_MAX[IMPORT],
            "secret": secret,
            "made_id": made_id,
            "error": error,
            "notice": DONE.get(request.query.get("done", "")),
        },
        400 if error else 200,
    )


def _render_token(
    services: ConsoleServices,
    request: PageRequest,
    row: Source,
    token: AccessToken,
    error: str | None = None,
) -> PageAnswer:
    same = _find_tokens(services, row)
    hours = services.store.tokens.list_hourly_uses([token.id], request.now)[token.id]
    verdict = judge_token(
        token, [one for one in same if one.kind == token.kind], hours, request.now
    )
    plot = draw_plot(
        f"Requests with token {token.id} in each hour of the last {HOURS_KEPT // 24} days",
        [PlotSeries("requests", hours)],
        begin=f"{HOURS_KEPT // 24} days ago",
        end="now",
        unit="in an hour",
        name="uses",
    )
    return PageAnswer(
        "token.html",
        {
            "title": f"Token {token.id}",
            "section": "sources",
            "source": row,
            "token": token,
            "is_active": token.is_active(request.now) and row.deleted_at is None,
            "state": view.describe_verdict(verdict, token, request.now),
            "plot": Markup(plot),  # noqa: S704 - it escapes what it is given
            "days": sum_days(hours),
            "command": f"treadle token list {shlex.quote(row.name)} --all{services.data_flag}",
            "notice": DONE.get(request.query.get("done", "")),
            "error": error,
        },
        400 if error else 200,
    )


def sum_days(hours: Sequence[int]) -> list[tuple[str, int]]:
    """Return the uses of each 24 hours, the newest first, with a label. Pure.

    Args:
        hours: uses in each hour, the present one last.
    """
    newest = list(reversed(hours))
    return [
        (f"{begin} to {begin + 24} hours ago", sum(newest[begin : begin + 24]))
        for begin in range(0, len(newest), 24)
    ]


OPERATOR: Final = ConsoleRole.OPERATOR
ROUTES: Final = (
    PageRoute("/tokens", list_tokens, create_account_token, act_role=ConsoleRole.ADMIN),
    PageRoute("/tokens/{token}", act=change_account_token, role=ConsoleRole.ADMIN),
    PageRoute(
        "/tokens/{token}/revoke", show_account_revocation, revoke_account_token, ConsoleRole.ADMIN
    ),
    PageRoute("/sources/{source}/tokens", show_source_tokens, create_token, act_role=OPERATOR),
    PageRoute("/sources/{source}/tokens/{token}", show_token, note_token, act_role=OPERATOR),
    PageRoute("/sources/{source}/tokens/{token}/revoke", show_revocation, revoke_token, OPERATOR),
)
REGIONS: Final = {
    "tokens": RegionView("regions/tokens.html", get_tokens),
    "source-tokens": RegionView("regions/source-tokens.html", get_chosen=get_source_tokens),
    "rotation": RegionView("regions/rotation.html", get_chosen=get_rotation),
}
