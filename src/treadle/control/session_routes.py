"""How a program makes a link to the console without the account token.

A program makes an ephemeral token with the account token (connect-api.md 2.3), and leads a browser
to the console with it, which opens a session for it (connect-rest.md A.2.8).
"""

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
from treadle.store.errors import EphemeralTokenLimitError, NotFoundError
from treadle.store.model import Account
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

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
