"""`GET /v1/status`, `/v1/series`, `/v1/refusals`, `/v1/health` and `/v1/config`."""

from typing import Annotated, Final

from fastapi import Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from treadle.control.health_operations import show_settings, tell_health
from treadle.control.load_report_routes import OnlySourceId
from treadle.control.refusal_operations import list_refusals
from treadle.control.routes import (
    COMMON_RESPONSES,
    POSITIVE_ID,
    AuthenticatedAccount,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, MessageAnswer, NoRouteAnswer
from treadle.control.series_operations import show_series
from treadle.control.status_operations import show_status
from treadle.control.trace_schemas import (
    HealthAnswer,
    RefusalPage,
    SeriesAnswer,
    SettingList,
    StatusAnswer,
)
from treadle.control.traces import Traces

_WRONG: Final = describe_refusal(400, MessageAnswer, "a parameter is wrong")
_OPERATOR: Final = describe_refusal(
    403, MessageAnswer, "the server has several accounts; its operator sees this"
)

OnlyToken = Annotated[str | None, Query(description="only of the token with this id"), POSITIVE_ID]
OnlyEndpoint = Annotated[str | None, Query(description="only of this endpoint, such as push")]
OnlyStatus = Annotated[
    str | None,
    Query(description="only with this status"),
    WithJsonSchema({"type": "integer", "minimum": 400, "maximum": 599}),
]
OnlyAddress = Annotated[
    str | None, Query(alias="from", description="only from this address of a client")
]
BeforeRefusal = Annotated[str | None, Query(description="only those before `next` of an answer")]
FigureNames = Annotated[
    str | None, Query(description="names of figures with commas between them; all by default")
]
SinceStep = Annotated[
    str | None,
    Query(alias="from", description="when the first step begins; by default the oldest one"),
]
StepSeconds = Annotated[
    str | None,
    Query(description="length of a step: 10 seconds for an hour, 60 for a day, 3600 for 90 days"),
    WithJsonSchema({"type": "integer", "enum": [10, 60, 3600], "default": 10}),
]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["server"])


@router.get("/status", response_model=StatusAnswer)
async def get_status(
    request: Request, work: Runner, account: AuthenticatedAccount, traces: Traces
) -> Response:
    """Totals and rates of records, what waits, freshness and destinations, at one look.

    It may be asked once a second, with any number of tables.
    """
    watch = request.app.state.problems
    return await work.read(show_status, work.operations.store, traces, account, watch)


@router.get(
    "/series",
    response_model=SeriesAnswer,
    responses=_WRONG
    | describe_refusal(404, CodedAnswer | NoRouteAnswer, "the account has no such source"),
)
async def get_series(
    work: Runner,
    account: AuthenticatedAccount,
    traces: Traces,
    name: FigureNames = None,
    source: OnlySourceId = None,
    since: SinceStep = None,
    step: StepSeconds = None,
) -> Response:
    """Figures over time: of one source, or of all together.

    Figures of sources are within 0.05 percent. Of a server with more than 100 busy sources, the
    busiest ones are kept.
    """
    return await work.read(
        show_series, work.operations.store, traces, account, name, source, since, step
    )


@router.get("/refusals", response_model=RefusalPage, responses=_WRONG)
async def get_refusals(
    work: Runner,
    account: AuthenticatedAccount,
    traces: Traces,
    source: OnlySourceId = None,
    token: OnlyToken = None,
    endpoint: OnlyEndpoint = None,
    status: OnlyStatus = None,
    address: OnlyAddress = None,
    before: BeforeRefusal = None,
) -> Response:
    """The requests that were refused, newest first, and all of them counted by cause.

    They are those with a token of the account, also with one that has ended. Where the server has
    one account, those of strangers are among them. Each worker keeps the last 1,000. In a cluster
    each machine has those that it refused, and the one that answers tells its own.
    """
    return await work.read(
        list_refusals,
        work.operations.store,
        traces,
        account,
        source,
        token,
        endpoint,
        status,
        address,
        before,
    )


@router.get("/health", response_model=HealthAnswer, responses=_OPERATOR)
async def get_health(
    request: Request, work: Runner, account: AuthenticatedAccount, traces: Traces
) -> Response:
    """The log and its disk, the processes of the server, and the members and logs of a cluster.

    Disk, commits and processes are of the machine that answers.
    """
    return await work.read(
        tell_health, work.operations.store, traces, account, request.app.state.waiting
    )


@router.get("/config", response_model=SettingList, responses=_OPERATOR)
async def get_settings(work: Runner, account: AuthenticatedAccount, traces: Traces) -> Response:
    """The settings in force and where they come from, without secrets."""
    return await work.read(show_settings, work.operations.store, traces, account)
