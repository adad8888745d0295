"""`POST /v3/accounts`: a partner makes accounts (connect-api.md 2.1, connect-rest.md A.2.7).

The paths are there only while a partner is set, so they have a router of their own.
"""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import Response

from treadle.control import schemas
from treadle.control.partner_operations import PartnerOperations
from treadle.control.partner_requests import ACCOUNT_BODY_BYTES_MAX
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    Runner,
    describe_body,
    describe_refusal,
    make_router,
    read_limited_body,
)
from treadle.http.caller import mark_caller_known
from treadle.http.headers import read_peer

_WITHOUT_TOKEN: Final[dict[int | str, dict[str, Any]]] = {
    status: answer for status, answer in COMMON_RESPONSES.items() if status != 401
}
_TOO_LARGE: Final = describe_refusal(
    413, schemas.CodedAnswer, f"the body has more than {ACCOUNT_BODY_BYTES_MAX:,} bytes"
)

router = make_router(prefix="/v3", responses=_WITHOUT_TOKEN, tags=["accounts"])


async def _read_small_body(request: Request) -> bytes:
    return await read_limited_body(request, ACCOUNT_BODY_BYTES_MAX)


@router.post(
    "/accounts",
    response_model=schemas.MadeAccount,
    responses=describe_refusal(
        400,
        schemas.FormAnswer,
        "the partner is not known, a field is missing or wrong, or the person has an account",
    )
    | describe_refusal(429, schemas.FormAnswer, "too many accounts; Retry-After says when")
    | BODY_RESPONSES
    | _TOO_LARGE,
    openapi_extra=describe_body(schemas.CreateAccount) | {"security": []},
)
async def create_account(
    request: Request, work: Runner, raw: Annotated[bytes, Depends(_read_small_body)]
) -> Response:
    """Make an account and its first token, with the credentials of the partner in the body.

    It is served only while the settings partner_id and partner_secret are set.
    """
    partner: PartnerOperations = request.app.state.partner
    address = read_peer(request.scope)
    body = partner.admit(raw, address)
    mark_caller_known(None)
    try:
        return await work.read(partner.create_account, body, address)
    finally:
        work.changed()
