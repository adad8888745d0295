"""`/v4/sources/{id}/streams`: the tables that a source pushed, as catalogues ask for them."""

from starlette.responses import Response

from treadle.control import schemas
from treadle.control.operations import ConnectOperations
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedAccount,
    RawBody,
    Runner,
    SourceId,
    StreamId,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.stream_operations import StreamOperations

router = make_router(prefix="/v4", responses=COMMON_RESPONSES, tags=["streams"])


def _take_streams(operations: ConnectOperations) -> StreamOperations:
    return StreamOperations(operations.store, operations.settings)


@router.get(
    "/sources/{source_id}/streams",
    response_model=list[schemas.StreamAnswer],
    responses=describe_refusal(400, str, "no such source"),
)
async def list_streams(work: Runner, who: AuthenticatedAccount, source_id: SourceId) -> Response:
    """The tables that a source pushed, also when it is deleted, by id.

    A table is listed after the first try to load it.
    """
    return await work.read(_take_streams(work.operations).list_streams, who, source_id)


@router.get(
    "/sources/{source_id}/streams/{stream_id}",
    response_model=schemas.StreamSchema,
    responses=describe_refusal(400, str, "no such source, or no such stream"),
)
async def get_stream(
    work: Runner, who: AuthenticatedAccount, source_id: SourceId, stream_id: StreamId
) -> Response:
    """The fields of a table with their types, as its last load left them."""
    return await work.read(_take_streams(work.operations).get_stream, who, source_id, stream_id)


@router.put(
    "/sources/{source_id}/streams/metadata",
    response_model=schemas.DoneAnswer,
    responses=describe_refusal(
        400,
        schemas.InvalidFields | str,
        "no such source, no such stream, a part is missing, or something is to be changed",
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.SelectStreams),
)
async def select_streams(
    work: Runner, who: AuthenticatedAccount, source_id: SourceId, raw: RawBody
) -> Response:
    """Select streams: all fields of a table are loaded, so whatever changes that is refused."""
    return await work.read(_take_streams(work.operations).select_streams, who, source_id, raw)
