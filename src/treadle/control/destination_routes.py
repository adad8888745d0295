"""`/v4/destination-types` and `/v4/destinations`: the databases that rows are loaded into."""

from typing import Annotated

from fastapi import Path as InPath
from fastapi import Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control import schemas
from treadle.control.destination_operations import DestinationOperations
from treadle.control.operations import ConnectOperations
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    POSITIVE_ID,
    AuthenticatedAccount,
    AuthenticatedCaller,
    RawBody,
    Runner,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

DestinationId = Annotated[str, InPath(description="id of the destination"), POSITIVE_ID]
_FILTER = WithJsonSchema({"type": "string", "examples": ["155582"]})
SourceFilter = Annotated[
    str | None, Query(description="only the one that this source loads into"), _FILTER
]
DestinationOnly = Annotated[str | None, Query(description="only this one"), _FILTER]


def _take_destinations(operations: ConnectOperations) -> DestinationOperations:
    """Return the operations on destinations with the store of those given, which knows who acts."""
    return DestinationOperations(operations.store, operations.settings)


types = make_router(prefix="/v4", responses=COMMON_RESPONSES, tags=["destination types"])
router = make_router(prefix="/v4", responses=COMMON_RESPONSES, tags=["destinations"])


@types.get("/destination-types", response_model=list[schemas.DestinationType])
async def list_destination_types(work: Runner, _: AuthenticatedAccount) -> Response:
    """The types a destination can have: those whose driver is installed."""
    return await work.read(_take_destinations(work.operations).list_types)


@types.get(
    "/destination-types/{destination_type}",
    response_model=schemas.DestinationType,
    responses=describe_refusal(
        404, schemas.CodedAnswer | schemas.NoRouteAnswer, "no such type, or it is not installed"
    ),
)
async def get_destination_type(
    work: Runner, _: AuthenticatedAccount, destination_type: str
) -> Response:
    """What a destination of a type needs."""
    return await work.read(_take_destinations(work.operations).get_type, destination_type)


@router.get(
    "/destinations",
    response_model=list[schemas.DestinationAnswer],
    responses=describe_refusal(400, str, "another parameter"),
)
async def list_destinations(
    work: Runner,
    who: AuthenticatedAccount,
    request: Request,
    source_id: SourceFilter = None,
    destination_id: DestinationOnly = None,
) -> Response:
    """The destinations of the account that are not deleted, by ascending id."""
    return await work.read(
        _take_destinations(work.operations).list_destinations,
        who,
        request.query_params.multi_items(),
    )


@router.post(
    "/destinations",
    response_model=schemas.DestinationAnswer,
    responses=describe_refusal(400, str, "the destination cannot be created") | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.CreateDestination),
)
async def create_destination(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Create a destination. Sources without one load into it, unless the body says otherwise.

    The first one is the default of the account, into which sources load that name no other.
    """
    return await work.change(
        who,
        TrailAction.CREATE_DESTINATION,
        TrailTarget(TargetKind.DESTINATION),
        lambda bound, account: _take_destinations(bound).create_destination(account, raw),
    )


@router.get(
    "/destinations/{destination_id}",
    response_model=schemas.DestinationAnswer,
    responses=describe_refusal(404, str | schemas.NoRouteAnswer, "no such destination"),
)
async def get_destination(
    work: Runner, who: AuthenticatedAccount, destination_id: DestinationId
) -> Response:
    """One destination, without credentials."""
    return await work.read(_take_destinations(work.operations).get_destination, who, destination_id)


@router.put(
    "/destinations/{destination_id}",
    response_model=schemas.DestinationAnswer,
    responses=describe_refusal(400, str, "no such destination, or it cannot be changed so")
    | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.UpdateDestination),
)
async def update_destination(
    work: Runner, who: AuthenticatedCaller, destination_id: DestinationId, raw: RawBody
) -> Response:
    """Change properties of a destination; what is left out stays, also a password."""
    return await work.change(
        who,
        TrailAction.CHANGE_DESTINATION,
        TrailTarget(TargetKind.DESTINATION, destination_id),
        lambda bound, account: _take_destinations(bound).update_destination(
            account, destination_id, raw
        ),
    )


@router.delete(
    "/destinations/{destination_id}",
    response_model=schemas.NothingAnswer,
    responses=describe_refusal(400, str, "no such destination, or deleted already"),
)
async def delete_destination(
    work: Runner, who: AuthenticatedCaller, destination_id: DestinationId
) -> Response:
    """Delete a destination. Its records wait for another one; data in the database stays."""
    return await work.change(
        who,
        TrailAction.DELETE_DESTINATION,
        TrailTarget(TargetKind.DESTINATION, destination_id),
        lambda bound, account: _take_destinations(bound).delete_destination(
            account, destination_id
        ),
    )
