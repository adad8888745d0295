"""`GET /v1/requests`: the latest requests, and the records of one."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import Path as InPath
from fastapi import Query, Request
from pydantic import Field, WithJsonSchema
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_report_routes import (
    Count,
    MicrosecondTime,
    OnlySourceId,
    TableName,
)
from treadle.control.request_operations import (
    ACCEPTED,
    STATES,
    list_request_records,
    list_requests,
)
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedAccount,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import Id, MessageAnswer, NoRouteAnswer, component
from treadle.control.trace_routes import OnlyAddress, OnlyToken
from treadle.control.trace_schemas import RefusedRequestAnswer
from treadle.control.traces import Traces
from treadle.log.protocol import LogReader


@component("RequestEntry")
class RequestAnswer(TypedDict):
    """One request that was accepted or refused."""

    at: MicrosecondTime
    status: Annotated[int, Field(description=f"{ACCEPTED} stands for every success")]
    state: Literal["waiting", "loaded", "rejected", "stopped", "refused"]
    receipt: Annotated[str | None, Field(description="of an accepted one")]
    source_id: Id | None
    tables: Annotated[list[str], Field(description="the first 20, as sent")]
    entries: Annotated[int, Field(ge=0, description="tables of the request, repeated ones too")]
    records: Count
    rejected: Annotated[int, Field(ge=0, description="records that were loaded as rejected")]
    bytes: Annotated[int, Field(ge=0, description="of the records, or of a refused body")]
    refusal: RefusedRequestAnswer | None


@component("Requests")
class RequestPage(TypedDict):
    """Requests, newest first."""

    requests: list[RequestAnswer]
    next: Annotated[
        str | None,
        Field(description="`before` of the next page, which may also follow an empty one"),
    ]


@component("SentRecord")
class RequestRecord(TypedDict):
    """A record as it was sent."""

    table: str
    sequence: int
    bytes: Count
    record: Annotated[
        dict[str, Any] | list[Any] | None, Field(description="null where it is larger than 100 KB")
    ]


@component("SentRecords")
class SentRecordPage(TypedDict):
    """The first records of a request."""

    receipt: str
    records: Annotated[list[RequestRecord], Field(max_length=20)]
    total: Annotated[int, Field(ge=0, description="records of the entries that were looked at")]
    entries_not_shown: Count


OnlyRequestStatus = Annotated[
    str | None,
    Query(description=f"only with this status; {ACCEPTED} for accepted ones"),
    WithJsonSchema({"type": "integer", "minimum": ACCEPTED, "maximum": 599}),
]
OnlyState = Annotated[
    str | None,
    Query(description="only in this state"),
    WithJsonSchema({"type": "string", "enum": list(STATES)}),
]
SinceTime = Annotated[str | None, Query(description="only since this time, RFC 3339")]
BeforeRequest = Annotated[str | None, Query(description="only those before `next` of an answer")]
ReceiptText = Annotated[str, InPath(description="receipt of the request")]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["requests"])


@router.get(
    "/requests",
    response_model=RequestPage,
    responses=describe_refusal(400, MessageAnswer, "a parameter is wrong"),
)
async def get_requests(
    request: Request,
    work: Runner,
    account: AuthenticatedAccount,
    traces: Traces,
    source: OnlySourceId = None,
    table: TableName = None,
    token: OnlyToken = None,
    status: OnlyRequestStatus = None,
    state: OnlyState = None,
    address: OnlyAddress = None,
    since: SinceTime = None,
    before: BeforeRequest = None,
) -> Response:
    """The latest requests, accepted and refused together, newest first.

    Token and address are kept of refused requests only, and tables of accepted ones: a filter by
    one of them leaves out the others. An answer looks at a bounded part of the log, and `next`
    goes on from there.
    """
    open_reader: Callable[[], LogReader] = request.app.state.open_reader
    return await work.read(
        list_requests,
        work.operations.store,
        traces,
        open_reader,
        account,
        source,
        table,
        token,
        status,
        state,
        address,
        since,
        before,
    )


@router.get(
    "/requests/{receipt}/records",
    response_model=SentRecordPage,
    responses=describe_refusal(404, NoRouteAnswer, "the account has no such request")
    | describe_refusal(410, MessageAnswer, "the records are no longer kept"),
)
async def get_request_records(
    request: Request, work: Runner, account: AuthenticatedAccount, receipt: ReceiptText
) -> Response:
    """The first 20 records of an accepted request, as they were sent."""
    open_reader: Callable[[], LogReader] = request.app.state.open_reader
    return await work.read(
        list_request_records, work.operations.store, open_reader, account, receipt
    )
