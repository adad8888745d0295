"""`/v1/rejects`: records that were accepted and could not be loaded."""

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi import Path as InPath
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control import schemas
from treadle.control.reject_operations import RejectOperations
from treadle.control.reject_preview import preview_resend
from treadle.control.reject_requests import PAGE_ROWS_MAX, AskedFilter, parse_boolean
from treadle.control.reject_responses import (
    BusyAnswer,
    CountDiffersAnswer,
    OperationAnswer,
    RecordGoneAnswer,
    RejectCausePage,
    RejectedRecordAnswer,
    RejectPageAnswer,
    ResendPreview,
    ResendRecords,
)
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
from treadle.http.responses import JsonResponse
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.tables.rejection_reason import RejectionCode

_TIME = WithJsonSchema({"type": "string", "format": "date-time"})
_FLAG = WithJsonSchema({"type": "string", "enum": ["1", "0"]})
_BAD = describe_refusal(400, schemas.CodedAnswer, "a parameter is wrong")


def _read_filter(
    source: Annotated[
        str | None, Query(description="only of the source with this id"), POSITIVE_ID
    ] = None,
    table: Annotated[str | None, Query(description="only of tables of this name, as sent")] = None,
    cause: Annotated[str | None, Query(description="only of this cause"), POSITIVE_ID] = None,
    code: Annotated[
        str | None,
        Query(description="only of causes with this code"),
        WithJsonSchema({"type": "string", "enum": [code.value for code in RejectionCode]}),
    ] = None,
    field: Annotated[str | None, Query(description="only with this field to blame")] = None,
    since: Annotated[str | None, Query(description="rejected at this time or later"), _TIME] = None,
    until: Annotated[str | None, Query(description="rejected before this time"), _TIME] = None,
    open: Annotated[  # noqa: A002 - the name of the parameter
        str | None, Query(description="1: only what was not sent again"), _FLAG
    ] = None,
) -> AskedFilter:
    return AskedFilter(source, table, cause, code, field, since, until, open)


Filter = Annotated[AskedFilter, Depends(_read_filter)]
Before = Annotated[str | None, Query(description="`next` of the page before")]
Limit = Annotated[
    str | None,
    Query(description="how many at most"),
    WithJsonSchema(
        {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS_MAX}
    ),
]
RejectId = Annotated[str, InPath(description="id of the rejected record, such as 1042.0")]


def _take_rejects(request: Request, work: Runner) -> RejectOperations:
    return RejectOperations(work.operations.store, request.app.state.open_reader)


Rejects = Annotated[RejectOperations, Depends(_take_rejects)]

router = make_router(prefix="/v1/rejects", responses=COMMON_RESPONSES, tags=["rejects"])


@router.get("/causes", response_model=RejectCausePage, responses=_BAD)
async def list_reject_causes(
    work: Runner,
    who: AuthenticatedAccount,
    rejects: Rejects,
    asked: Filter,
    before: Before = None,
    limit: Limit = None,
) -> Response:
    """Why records were rejected, that with the newest record first, and how many are open.

    `since` and `until` are about the newest record of a cause. A record is forgotten with the
    report of its load, after `report_days` or more.
    """
    return await work.read(rejects.list_causes, who, asked, before, limit)


@router.get("", response_model=RejectPageAnswer, responses=_BAD)
async def list_rejected_records(
    work: Runner,
    who: AuthenticatedAccount,
    rejects: Rejects,
    asked: Filter,
    before: Before = None,
    limit: Limit = None,
) -> Response:
    """Rejected records, newest first, with the cause of each and the receipt of its resend."""
    return await work.read(rejects.list_rejects, who, asked, before, limit)


@router.post(
    "/resend",
    response_model=OperationAnswer | ResendPreview,
    responses=describe_refusal(400, schemas.CodedAnswer, "the body or a parameter is wrong")
    | describe_refusal(
        404, schemas.CodedAnswer | schemas.NoRouteAnswer, "`ids` names no rejected record"
    )
    | describe_refusal(
        409,
        CountDiffersAnswer | schemas.CodedAnswer,
        "another number of records is open than `expected`, or their source is paused",
    )
    | describe_refusal(429, BusyAnswer, "a dry run of the source is under way")
    | BODY_RESPONSES,
    openapi_extra=describe_body(ResendRecords),
)
async def resend_rejected_records(
    request: Request,
    work: Runner,
    who: AuthenticatedCaller,
    raw: RawBody,
    dry_run: Annotated[
        str | None, Query(description="1: show what the edit makes of the first 20"), _FLAG
    ] = None,
) -> Response:
    """Send open rejected records again, edited or as they are, in the background.

    Each is sent once, however often it is asked for. The operation goes on after a restart of the
    server. With `dry_run=1` nothing is sent: the answer shows the first 20 records before and after
    the edit, and what a load would do with them now.
    """
    open_reader = request.app.state.open_reader
    if parse_boolean("dry_run", dry_run):
        rejects = RejectOperations(work.operations.store, open_reader)
        return JsonResponse(
            await preview_resend(rejects, who.account, raw, request.app.state.plan_dry_run)
        )
    return await work.change(
        who,
        TrailAction.RESEND_RECORDS,
        TrailTarget(TargetKind.OPERATION),
        lambda bound, account: RejectOperations(bound.store, open_reader).start_resend(
            account, raw
        ),
    )


@router.get(
    "/{reject_id}",
    response_model=RejectedRecordAnswer,
    responses=describe_refusal(
        404, schemas.CodedAnswer | schemas.NoRouteAnswer, "no such rejected record"
    )
    | describe_refusal(410, RecordGoneAnswer, "the log does not keep the record any more"),
)
async def get_rejected_record(
    work: Runner, who: AuthenticatedAccount, rejects: Rejects, reject_id: RejectId
) -> Response:
    """One rejected record whole, while the log keeps it (`retention_days`)."""
    return await work.read(rejects.get_reject, who, reject_id)


operations = make_router(prefix="/v1/operations", responses=COMMON_RESPONSES, tags=["operations"])
OperationId = Annotated[str, InPath(description="id of the operation"), POSITIVE_ID]
_NO_OPERATION = describe_refusal(
    404, schemas.CodedAnswer | schemas.NoRouteAnswer, "no such operation"
)


@operations.get("/{operation_id}", response_model=OperationAnswer, responses=_NO_OPERATION)
async def get_operation(
    work: Runner, who: AuthenticatedAccount, rejects: Rejects, operation_id: OperationId
) -> Response:
    """How far an operation is: `done` + `failed` of `total`."""
    return await work.read(rejects.get_operation, who, operation_id)


@operations.delete("/{operation_id}", response_model=OperationAnswer, responses=_NO_OPERATION)
async def cancel_operation(
    request: Request, work: Runner, who: AuthenticatedCaller, operation_id: OperationId
) -> Response:
    """Stop an operation; what it did stays done. One that has ended stays as it is."""
    open_reader = request.app.state.open_reader
    return await work.change(
        who,
        TrailAction.CANCEL_OPERATION,
        TrailTarget(TargetKind.OPERATION, operation_id),
        lambda bound, account: RejectOperations(bound.store, open_reader).cancel_operation(
            account, operation_id
        ),
    )
