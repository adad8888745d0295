"""`/notifications/public/v1/api/custom-emails`: addresses that are told of problems by mail."""

from typing import Annotated, Final

from fastapi import Path as InPath
from fastapi import Request
from starlette.responses import Response

from treadle.control import schemas
from treadle.control.operations import ConnectOperations
from treadle.control.recipient_operations import RecipientOperations
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    POSITIVE_ID,
    AuthenticatedCaller,
    RawBody,
    Runner,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

NOTIFICATIONS_PREFIX: Final = "/notifications/public/v1/api"
"""Notifications are outside of the versions of the other calls (connect-api.md 1.1)."""

EmailId = Annotated[str, InPath(description="id of the custom e-mail"), POSITIVE_ID]

_NOT_FOUND = describe_refusal(404, schemas.NoRouteAnswer, "the account has no such custom e-mail")


def _take_recipients(operations: ConnectOperations) -> RecipientOperations:
    """Return the operations on custom e-mails with the store of those given, which knows who."""
    return RecipientOperations(operations.store)


router = make_router(
    prefix=NOTIFICATIONS_PREFIX, responses=COMMON_RESPONSES, tags=["notifications"]
)


own = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["notifications"])
"""Calls of our own."""


@router.get("/custom-emails", response_model=list[schemas.CustomEmailAnswer])
async def list_custom_emails(work: Runner, who: AuthenticatedCaller) -> Response:
    """The addresses that are told of problems of the account, disabled ones too."""
    return await work.read(_take_recipients(work.operations).list_custom_emails, who.account)


@router.post(
    "/custom-emails",
    response_model=schemas.CustomEmailAnswer,
    responses=describe_refusal(
        400, schemas.EmailRefusalAnswer, "no address, or the account has as many as it may have"
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.CreateCustomEmail),
)
async def create_custom_email(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Add an address; one that is there already is answered as it is.

    An account has at most 10 of them, disabled ones included.
    """
    return await work.change(
        who,
        TrailAction.ADD_RECIPIENT,
        TrailTarget(TargetKind.RECIPIENT),
        lambda bound, account: _take_recipients(bound).create_custom_email(account, raw),
    )


@router.put(
    "/custom-emails/{email_id}",
    response_model=schemas.DisabledAnswer,
    responses=describe_refusal(
        400, schemas.InvalidDisabledAnswer, "disabled_at is missing, or is no time"
    )
    | _NOT_FOUND
    | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.ChangeCustomEmail),
)
async def update_custom_email(
    work: Runner, who: AuthenticatedCaller, email_id: EmailId, raw: RawBody
) -> Response:
    """Disable or enable an address. A disabled one gets nothing."""
    return await work.change(
        who,
        TrailAction.CHANGE_RECIPIENT,
        TrailTarget(TargetKind.RECIPIENT, email_id),
        lambda bound, account: _take_recipients(bound).update_custom_email(account, email_id, raw),
    )


@router.delete(
    "/custom-emails/{email_id}",
    response_model=schemas.DeletedCount,
    responses=_NOT_FOUND,
)
async def delete_custom_email(
    work: Runner, who: AuthenticatedCaller, email_id: EmailId
) -> Response:
    """Remove an address; the answer is the number of removed ones."""
    return await work.change(
        who,
        TrailAction.REMOVE_RECIPIENT,
        TrailTarget(TargetKind.RECIPIENT, email_id),
        lambda bound, account: _take_recipients(bound).delete_custom_email(account, email_id),
    )


@own.post(
    "/custom-emails/{email_id}/test",
    response_model=schemas.MailTrialAnswer,
    responses=_NOT_FOUND
    | describe_refusal(409, schemas.CodedAnswer, "the server has no mail server"),
)
async def test_custom_email(
    request: Request, work: Runner, who: AuthenticatedCaller, email_id: EmailId
) -> Response:
    """Send a mail to an address at once, and tell whether the mail server took it."""
    return await work.change(
        who,
        TrailAction.TEST_RECIPIENT,
        TrailTarget(TargetKind.RECIPIENT, email_id),
        lambda bound, account: _take_recipients(bound).send_test(
            account, email_id, request.app.state.trials
        ),
    )
