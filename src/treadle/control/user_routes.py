"""`/v1/users`: the people who sign in to the console (console.md B.6)."""

from typing import Annotated

from fastapi import Path as InPath
from starlette.responses import Response

from treadle.control import schemas, user_schemas
from treadle.control.operations import ConnectOperations
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
from treadle.control.user_operations import UserOperations
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

UserId = Annotated[str, InPath(description="id of the user"), POSITIVE_ID]

_BAD_BODY = describe_refusal(
    400, schemas.CodedAnswer, "a part of the body is wrong, or nobody would be left who is admin"
)
_NOT_FOUND = describe_refusal(
    404, schemas.CodedAnswer | schemas.NoRouteAnswer, "the account has no such user"
)


def _take_users(operations: ConnectOperations) -> UserOperations:
    """Return the operations on users with the store of those given, which knows who acts."""
    return UserOperations(operations.store, operations.clock)


router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["users"])


@router.get("/users", response_model=user_schemas.UserList)
async def list_users(work: Runner, who: AuthenticatedCaller) -> Response:
    """The users of the account, by id, disabled and invited ones too."""
    return await work.read(_take_users(work.operations).list_users, who.account)


@router.post(
    "/users",
    response_model=user_schemas.InvitedUser,
    responses=_BAD_BODY | BODY_RESPONSES,
    openapi_extra=describe_body(user_schemas.CreateUser),
)
async def create_user(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Invite somebody. The first user of an account is an admin.

    The answer has the secret of the invitation this once. It can be accepted within a week, at
    `/console/invite?token=...`, where the user sets a password.
    """
    return await work.change(
        who,
        TrailAction.ADD_USER,
        TrailTarget(TargetKind.USER),
        lambda bound, account: _take_users(bound).create_user(account, raw),
    )


@router.put(
    "/users/{user_id}",
    response_model=user_schemas.UserAnswer,
    responses=_BAD_BODY | _NOT_FOUND | BODY_RESPONSES,
    openapi_extra=describe_body(user_schemas.ChangeUser),
)
async def change_user(
    work: Runner, who: AuthenticatedCaller, user_id: UserId, raw: RawBody
) -> Response:
    """Give a user another role, or disable or enable it. Its sessions end within a second."""
    return await work.change(
        who,
        TrailAction.CHANGE_ROLE,
        TrailTarget(TargetKind.USER, user_id),
        lambda bound, account: _take_users(bound).change_user(account, user_id, raw),
    )


@router.delete(
    "/users/{user_id}",
    response_model=user_schemas.UserAnswer,
    responses=describe_refusal(400, schemas.CodedAnswer, "nobody would be left who is admin")
    | _NOT_FOUND,
)
async def delete_user(work: Runner, who: AuthenticatedCaller, user_id: UserId) -> Response:
    """Delete a user, and end its sessions within a second. The trail keeps what it did."""
    return await work.change(
        who,
        TrailAction.DELETE_USER,
        TrailTarget(TargetKind.USER, user_id),
        lambda bound, account: _take_users(bound).delete_user(account, user_id),
    )


@router.post(
    "/users/{user_id}/invite",
    response_model=user_schemas.InvitedUser,
    responses=_NOT_FOUND,
)
async def invite_user(work: Runner, who: AuthenticatedCaller, user_id: UserId) -> Response:
    """Make another invitation, also for who forgot the password; the former one ends."""
    return await work.change(
        who,
        TrailAction.INVITE_USER,
        TrailTarget(TargetKind.USER, user_id),
        lambda bound, account: _take_users(bound).renew_invite(account, user_id),
    )
