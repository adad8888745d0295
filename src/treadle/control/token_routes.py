"""`/v1/tokens` and `/v1/sources/{id}/webhook`: the life of tokens of all kinds, and webhooks."""

from typing import Annotated

from fastapi import Query
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control import schemas
from treadle.control.load_report_routes import OnlySourceId
from treadle.control.operations import ConnectOperations
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedCaller,
    RawBody,
    Runner,
    SourceId,
    TokenId,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.token_operations import TokenOperations
from treadle.control.token_requests import API_KINDS
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

TokenKind = Annotated[
    str | None,
    Query(description="only of this kind"),
    WithJsonSchema({"type": "string", "enum": list(API_KINDS)}),
]

_BAD_BODY = describe_refusal(400, schemas.CodedAnswer, "a part of the body is wrong")
_NOT_FOUND = describe_refusal(
    404, schemas.CodedAnswer | schemas.NoRouteAnswer, "the account has no such active token"
)
_NO_SOURCE = describe_refusal(
    404, schemas.CodedAnswer | schemas.NoRouteAnswer, "the account has no such source"
)


def _take_tokens(operations: ConnectOperations) -> TokenOperations:
    """Return the operations on tokens with the store of those given, which knows who acts."""
    return TokenOperations(operations.store, operations.clock)


router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["tokens"])


@router.get(
    "/tokens",
    response_model=schemas.TokenList,
    responses=describe_refusal(400, schemas.CodedAnswer, "a parameter is wrong"),
)
async def list_access_tokens(
    work: Runner, who: AuthenticatedCaller, kind: TokenKind = None, source: OnlySourceId = None
) -> Response:
    """All tokens of the account and of its sources, by id, ended ones too, never their values."""
    return await work.read(_take_tokens(work.operations).list_tokens, who.account, kind, source)


@router.post(
    "/tokens",
    response_model=schemas.MadeToken,
    responses=_BAD_BODY | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.CreateToken),
)
async def create_access_token(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Make a token of any kind; its value is shown this once.

    An account has at most 10 active account tokens, a source at most 10 webhook tokens and 2 import
    tokens.
    """
    return await work.change(
        who,
        TrailAction.CREATE_TOKEN,
        TrailTarget(TargetKind.TOKEN),
        lambda bound, account: _take_tokens(bound).create_token(account, raw),
    )


@router.put(
    "/tokens/{token_id}",
    response_model=schemas.TokenAnswer,
    responses=_BAD_BODY | _NOT_FOUND | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.ChangeToken),
)
async def change_access_token(
    work: Runner, who: AuthenticatedCaller, token_id: TokenId, raw: RawBody
) -> Response:
    """Give a token another description, or set the time from which it is refused."""
    return await work.change(
        who,
        TrailAction.EXPIRE_TOKEN,
        TrailTarget(TargetKind.TOKEN, token_id),
        lambda bound, account: _take_tokens(bound).change_token(account, token_id, raw),
    )


@router.delete("/tokens/{token_id}", response_model=schemas.TokenAnswer, responses=_NOT_FOUND)
async def revoke_access_token(
    work: Runner, who: AuthenticatedCaller, token_id: TokenId
) -> Response:
    """Revoke an active token at once."""
    return await work.change(
        who,
        TrailAction.REVOKE_TOKEN,
        TrailTarget(TargetKind.TOKEN, token_id),
        lambda bound, account: _take_tokens(bound).end_token(account, token_id),
    )


@router.post(
    "/tokens/{token_id}/replace",
    response_model=schemas.MadeToken,
    responses=_BAD_BODY | _NOT_FOUND | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.ReplaceToken),
)
async def replace_access_token(
    work: Runner, who: AuthenticatedCaller, token_id: TokenId, raw: RawBody
) -> Response:
    """Make a token like an active one. Both are valid during the overlap, then only the new one."""
    return await work.change(
        who,
        TrailAction.REPLACE_TOKEN,
        TrailTarget(TargetKind.TOKEN, token_id),
        lambda bound, account: _take_tokens(bound).replace_token(account, token_id, raw),
    )


@router.get("/account-tokens", response_model=schemas.AccountTokenList)
async def list_account_tokens(work: Runner, who: AuthenticatedCaller) -> Response:
    """The account tokens of the account, by id, disabled and ended ones too."""
    return await work.read(_take_tokens(work.operations).list_account_tokens, who.account)


@router.post(
    "/account-tokens",
    response_model=schemas.MadeToken,
    responses=_BAD_BODY | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.CreateAccountToken),
)
async def create_account_token(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Make an account token; its value is shown this once. There are 10 with disabled ones."""
    return await work.change(
        who,
        TrailAction.CREATE_ACCOUNT_TOKEN,
        TrailTarget(TargetKind.ACCOUNT_TOKEN),
        lambda bound, account: _take_tokens(bound).create_account_token(account, raw),
    )


@router.put(
    "/account-tokens/{token_id}",
    response_model=schemas.TokenAnswer,
    responses=_BAD_BODY | _NOT_FOUND | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.ChangeAccountToken),
)
async def change_account_token(
    work: Runner, who: AuthenticatedCaller, token_id: TokenId, raw: RawBody
) -> Response:
    """Disable or enable an account token, or give it another description.

    A disabled one is refused, and so are the sessions that came from it.
    """
    return await work.change(
        who,
        TrailAction.DISABLE_TOKEN,
        TrailTarget(TargetKind.ACCOUNT_TOKEN, token_id),
        lambda bound, account: _take_tokens(bound).change_account_token(account, token_id, raw),
    )


@router.delete(
    "/account-tokens/{token_id}", response_model=schemas.TokenAnswer, responses=_NOT_FOUND
)
async def delete_account_token(
    work: Runner, who: AuthenticatedCaller, token_id: TokenId
) -> Response:
    """Delete an account token: it is refused from now on, for good."""
    return await work.change(
        who,
        TrailAction.REVOKE_ACCOUNT_TOKEN,
        TrailTarget(TargetKind.ACCOUNT_TOKEN, token_id),
        lambda bound, account: _take_tokens(bound).delete_account_token(account, token_id),
    )


@router.get(
    "/sources/{source_id}/webhook", response_model=schemas.WebhookAnswer, responses=_NO_SOURCE
)
async def get_webhook(work: Runner, who: AuthenticatedCaller, source_id: SourceId) -> Response:
    """The settings of the webhook of a source."""
    return await work.read(_take_tokens(work.operations).get_webhook, who.account, source_id)


@router.put(
    "/sources/{source_id}/webhook",
    response_model=schemas.WebhookAnswer,
    responses=_BAD_BODY | _NO_SOURCE | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.ChangeWebhook),
)
async def change_webhook(
    work: Runner, who: AuthenticatedCaller, source_id: SourceId, raw: RawBody
) -> Response:
    """Change what the webhook of a source does; what is left out stays."""
    return await work.change(
        who,
        TrailAction.SET_OPTIONS,
        TrailTarget(TargetKind.SOURCE, source_id),
        lambda bound, account: _take_tokens(bound).change_webhook(account, source_id, raw),
    )
