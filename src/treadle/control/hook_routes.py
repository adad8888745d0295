"""Post-load hooks: the documented calls (connect-api.md 2.13), and `/v1/hooks` of our own."""

from typing import Annotated, Any, Final

from fastapi import Path as InPath
from fastapi import Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control import hook_schemas, schemas
from treadle.control.hook_operations import HookOperations
from treadle.control.hook_requests import DELIVERIES_DEFAULT, DELIVERIES_MAX
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
from treadle.http.outbound_url import OutboundRules
from treadle.store.deliveries import STATES
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

HookId = Annotated[str, InPath(description="id of the hook"), POSITIVE_ID]
DeliveryId = Annotated[str, InPath(description="id of the delivery")]
DeliveryState = Annotated[
    str | None,
    Query(description="only in this state"),
    WithJsonSchema({"type": "string", "enum": list(STATES)}),
]
BeforeDelivery = Annotated[
    str | None, Query(description="only deliveries before the one with this id")
]
DeliveryLimit = Annotated[
    str | None,
    Query(description="how many at most"),
    WithJsonSchema(
        {
            "type": "integer",
            "minimum": 1,
            "maximum": DELIVERIES_MAX,
            "default": DELIVERIES_DEFAULT,
        }
    ),
]

_UNKNOWN: Final = describe_refusal(400, hook_schemas.HookUnknownAnswer, "no such hook")
_NOT_FOUND: Final = describe_refusal(
    404, schemas.CodedAnswer | schemas.NoRouteAnswer, "the account has no such hook or delivery"
)
_BAD: Final = describe_refusal(400, schemas.CodedAnswer, "a part of the body or query is wrong")
_NULL: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "it is deleted",
        "content": {"application/json": {"schema": {"type": "null"}}},
    }
}


def _take_hooks(operations: ConnectOperations) -> HookOperations:
    """Return the operations on hooks with the store of those given, which knows who acts."""
    return HookOperations(
        operations.store, OutboundRules.from_setting(operations.settings.hook_urls)
    )


documented = make_router(
    prefix="/notifications/public/v1/api", responses=COMMON_RESPONSES, tags=["hooks"]
)


@documented.get("/hooks", response_model=hook_schemas.HookList)
async def list_hooks(work: Runner, who: AuthenticatedCaller) -> Response:
    """The hooks of the account, disabled ones too, by id."""
    return await work.read(_take_hooks(work.operations).list_hooks, who.account)


@documented.post(
    "/hooks",
    response_model=hook_schemas.HookAnswer,
    responses=describe_refusal(
        400,
        hook_schemas.HookErrorAnswer | hook_schemas.HookLimitAnswer,
        "the hook cannot be created",
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(hook_schemas.CreateHook),
)
async def create_hook(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Create a hook: its URL is called after each load of a table. An account has 10 at most."""
    return await work.change(
        who,
        TrailAction.CREATE_HOOK,
        TrailTarget(TargetKind.HOOK),
        lambda bound, account: _take_hooks(bound).create_hook(account, raw),
    )


@documented.put(
    "/hooks/{hook_id}",
    response_model=hook_schemas.HookAnswer,
    responses=describe_refusal(
        400,
        hook_schemas.HookErrorAnswer | hook_schemas.HookUnknownAnswer,
        "no such hook, or another body than `enable`",
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(hook_schemas.EnableHook),
)
async def enable_hook(
    work: Runner, who: AuthenticatedCaller, hook_id: HookId, raw: RawBody
) -> Response:
    """Enable or disable a hook. A disabled one gets nothing; what waited stays and waits."""
    return await work.change(
        who,
        TrailAction.CHANGE_HOOK,
        TrailTarget(TargetKind.HOOK, hook_id),
        lambda bound, account: _take_hooks(bound).enable_hook(account, hook_id, raw),
    )


@documented.delete("/hooks/{hook_id}", responses=_UNKNOWN | _NULL)
async def delete_hook(work: Runner, who: AuthenticatedCaller, hook_id: HookId) -> Response:
    """Delete a hook with its deliveries."""
    return await work.change(
        who,
        TrailAction.DELETE_HOOK,
        TrailTarget(TargetKind.HOOK, hook_id),
        lambda bound, account: _take_hooks(bound).delete_hook(account, hook_id),
    )


router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["hooks"])


@router.get("/hooks", response_model=hook_schemas.HookStateList)
async def list_hook_states(work: Runner, who: AuthenticatedCaller) -> Response:
    """The hooks of the account with the state of their deliveries, by id."""
    return await work.read(_take_hooks(work.operations).list_hook_states, who.account)


@router.get("/hooks/{hook_id}", response_model=hook_schemas.HookStateAnswer, responses=_NOT_FOUND)
async def get_hook_state(work: Runner, who: AuthenticatedCaller, hook_id: HookId) -> Response:
    """One hook with the state of its deliveries."""
    return await work.read(_take_hooks(work.operations).get_hook_state, who.account, hook_id)


@router.put(
    "/hooks/{hook_id}",
    response_model=hook_schemas.HookStateAnswer,
    responses=_BAD | _NOT_FOUND | BODY_RESPONSES,
    openapi_extra=describe_body(hook_schemas.ChangeHook),
)
async def change_hook(
    work: Runner, who: AuthenticatedCaller, hook_id: HookId, raw: RawBody
) -> Response:
    """Pause or enable a hook, give it another URL, or a secret that its deliveries are signed with.

    While a hook is paused, loads go on making deliveries, which are sent after the pause.
    """
    return await work.change(
        who,
        TrailAction.CHANGE_HOOK,
        TrailTarget(TargetKind.HOOK, hook_id),
        lambda bound, account: _take_hooks(bound).change_hook(account, hook_id, raw),
    )


@router.get(
    "/hooks/{hook_id}/deliveries",
    response_model=hook_schemas.DeliveryList,
    responses=_BAD | _NOT_FOUND,
)
async def list_deliveries(
    work: Runner,
    who: AuthenticatedCaller,
    hook_id: HookId,
    state: DeliveryState = None,
    before: BeforeDelivery = None,
    limit: DeliveryLimit = None,
) -> Response:
    """The deliveries of a hook, newest first, with what was sent and what was answered."""
    return await work.read(
        _take_hooks(work.operations).list_deliveries, who.account, hook_id, state, before, limit
    )


@router.post(
    "/hooks/{hook_id}/deliveries/{delivery_id}/send-again",
    response_model=hook_schemas.DeliveryAnswer,
    responses=_NOT_FOUND,
)
async def send_delivery_again(
    work: Runner, who: AuthenticatedCaller, hook_id: HookId, delivery_id: DeliveryId
) -> Response:
    """Send a delivery again, whatever became of it, with the same id; one that waits goes now."""
    return await work.change(
        who,
        TrailAction.SEND_AGAIN,
        TrailTarget(TargetKind.HOOK, hook_id),
        lambda bound, account: _take_hooks(bound).send_delivery_again(
            account, hook_id, delivery_id
        ),
    )


@router.post(
    "/hooks/{hook_id}/test",
    response_model=hook_schemas.HookTrialAnswer,
    responses=_NOT_FOUND,
)
async def test_hook(
    request: Request, work: Runner, who: AuthenticatedCaller, hook_id: HookId
) -> Response:
    """Call a hook once with a body that says `test`, and wait for its answer, 30 s at most.

    It is sent also where the hook is disabled or paused, and is not sent again.
    """
    return await work.change(
        who,
        TrailAction.TEST_HOOK,
        TrailTarget(TargetKind.HOOK, hook_id),
        lambda bound, account: _take_hooks(bound).send_test(
            account, hook_id, request.app.state.trials, work.operations.clock()
        ),
    )


@router.post(
    "/hooks/{hook_id}/send-again",
    response_model=hook_schemas.SentAgainAnswer,
    responses=_NOT_FOUND,
)
async def send_failed_again(work: Runner, who: AuthenticatedCaller, hook_id: HookId) -> Response:
    """Send all deliveries of a hook again that were given up."""
    return await work.change(
        who,
        TrailAction.SEND_AGAIN,
        TrailTarget(TargetKind.HOOK, hook_id),
        lambda bound, account: _take_hooks(bound).send_failed_again(account, hook_id),
    )
