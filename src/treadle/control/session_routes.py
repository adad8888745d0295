"""How a browser gets a session of the console without the account token.

A program makes an ephemeral token with the account token (connect-api.md 2.3), and leads a browser
to `LOGIN_PATH` with it (connect-rest.md A.2.8). The console itself is not there yet.
"""

import logging
from typing import Final

import anyio.to_thread
from fastapi import Request
from starlette.responses import Response

from treadle.control import errors, schemas
from treadle.control.operations import ConnectOperations
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedCaller,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.errors import RequestRefusedError
from treadle.http.caller import mark_caller_known
from treadle.http.headers import read_peer
from treadle.http.hosts import AllowedHosts
from treadle.http.responses import render_refusal
from treadle.http.session_cookie import format_session_cookie
from treadle.store.errors import EphemeralTokenLimitError, NotFoundError
from treadle.store.model import Account
from treadle.store.sessions import SESSION_US
from treadle.store.trail_event import (
    LOCAL_ADDRESS,
    ActorKind,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailTarget,
)

logger: Final = logging.getLogger(__name__)
"""Logs ids only, as `operations` does."""

CONSOLE_PATH: Final = "/console"
LOGIN_PATH: Final = f"{CONSOLE_PATH}/login"
TOKEN_PARAMETER: Final = "ephemeral_token"  # noqa: S105 - a name

router = make_router(tags=["sessions"])


@router.post(
    "/v3/sessions/ephemeral",
    response_model=schemas.EphemeralToken,
    responses=COMMON_RESPONSES
    | describe_refusal(429, schemas.CodedAnswer, "too many such tokens wait for their use"),
)
async def create_ephemeral_token(work: Runner, who: AuthenticatedCaller) -> Response:
    """Make a token for one sign-in to the console, within an hour.

    Lead a browser to `/console/login?ephemeral_token=...`. Its session lasts 12 hours, has the role
    operator, and ends with the account token.
    """
    return await work.change(
        who,
        TrailAction.CREATE_EPHEMERAL_TOKEN,
        TrailTarget(TargetKind.EPHEMERAL_TOKEN),
        lambda bound, account: _issue_token(bound, account, who.token_id),
    )


def _issue_token(operations: ConnectOperations, account: Account, token_id: int) -> object:
    try:
        secret = operations.store.sessions.issue_ephemeral_token(account.id, token_id)
    except NotFoundError as error:
        raise errors.not_authorized() from error
    except EphemeralTokenLimitError as error:
        raise errors.too_many_ephemeral_tokens(error.limit) from error
    return {"ephemeral_token": secret}


@router.get(LOGIN_PATH, include_in_schema=False)
async def open_console(request: Request, work: Runner) -> Response:
    """Exchange the token of the URL for a session, and lead the browser on without it."""
    hosts: AllowedHosts | None = request.app.state.allowed_hosts
    if hosts is not None and not hosts.allows(request.scope):
        raise errors.host_not_allowed()
    sent = request.query_params.getlist(TOKEN_PARAMETER)
    if not sent:
        raise errors.route_not_found()  # where the console will ask for an account token
    address = read_peer(request.scope)
    try:
        account_id, cookie = await anyio.to_thread.run_sync(
            _open_session, work.operations, sent, address
        )
    except RequestRefusedError as refused:
        return render_refusal(refused)  # for people: as text
    mark_caller_known(account_id)
    secure = request.scope["scheme"] == "https"
    header = format_session_cookie(cookie, seconds=SESSION_US // 1_000_000, secure=secure)
    return Response(status_code=303, headers={"Location": CONSOLE_PATH, "Set-Cookie": header})


def _open_session(
    operations: ConnectOperations, sent: list[str], address: str | None
) -> tuple[int, str]:
    """Return the account and the secret of a new session.

    Raises:
        RequestRefusedError: the token is not valid, or there are several.
    """
    sessions = operations.store.sessions
    token_id = sessions.find_ephemeral_token(sent[0]) if len(sent) == 1 else None
    if token_id is None:
        raise errors.ephemeral_token_refused()
    actor = StoreActor(ActorKind.ACCOUNT_TOKEN, str(token_id), address or LOCAL_ADDRESS)
    acting = operations.store.for_actor(actor).sessions
    opened = acting.open_session(sent[0], actor.address)
    if opened is None:
        raise errors.ephemeral_token_refused()
    session, cookie = opened
    logger.info("account %d opened session %d", session.account.id, session.id)
    return session.account.id, cookie
