"""`GET /v1/problems`, and how nobody is told of one for a while."""

from typing import Annotated, Literal, NotRequired

from fastapi import Depends, Request
from fastapi import Path as InPath
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.load_report_routes import MicrosecondTime
from treadle.control.problem_operations import (
    SNOOZE_SECONDS,
    SNOOZE_SECONDS_MAX,
    ProblemWatch,
    list_problems,
    snooze_problem,
)
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedAccount,
    AuthenticatedCaller,
    RawBody,
    Runner,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, Id, MessageAnswer, NoRouteAnswer, component
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget


@component("Problem")
class ProblemAnswer(TypedDict):
    """Something that keeps records from being loaded, or soon may."""

    problem_id: Annotated[str, Field(description="the same as long as it lasts")]
    kind: str
    level: Annotated[
        Literal["critical", "warning", "delay"],
        Field(description="critical: records are not loaded; delay: they are late"),
    ]
    since: MicrosecondTime
    found: Annotated[str, Field(description="what is the matter; `named` follows it")]
    named: Annotated[str, Field(description="what it is with")]
    said: Annotated[str | None, Field(description="what the database said")]
    remedy: Annotated[str, Field(description="what to do")]
    source_id: Id | None
    table: Annotated[str | None, Field(description="as sent")]
    destination_id: Id | None
    hook_id: Id | None
    token_id: Id | None
    snoozed_until: Annotated[str | None, Field(description="until then nobody is told of it")]


@component("EndedProblem")
class EndedProblemAnswer(TypedDict):
    """A problem that is over."""

    kind: str
    named: str
    began_at: MicrosecondTime
    ended_at: MicrosecondTime


@component("Problems")
class ProblemList(TypedDict):
    """The problems of an account, the worst first."""

    problems: list[ProblemAnswer]
    ended: Annotated[list[EndedProblemAnswer], Field(description="of the last seven days")]
    looked_at: MicrosecondTime


@component("Snooze")
class SnoozeProblem(TypedDict):
    """The body of a snooze, which may be left out."""

    seconds: NotRequired[
        Annotated[
            int,
            Field(
                ge=0, le=SNOOZE_SECONDS_MAX, description=f"{SNOOZE_SECONDS} by default; 0 ends it"
            ),
        ]
    ]


def _get_watch(request: Request) -> ProblemWatch:
    watch: ProblemWatch = request.app.state.problems
    return watch


Watch = Annotated[ProblemWatch, Depends(_get_watch)]
ProblemId = Annotated[str, InPath(description="id of the problem")]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["problems"])


@router.get("/problems", response_model=ProblemList)
async def get_problems(work: Runner, account: AuthenticatedAccount, watch: Watch) -> Response:
    """What somebody has to act on, the worst first; each ends by itself when its cause does.

    They are looked for at most every two seconds.
    """
    return await work.read(list_problems, work.operations.store, watch, account)


@router.post(
    "/problems/{problem_id}/snooze",
    response_model=ProblemAnswer,
    responses=describe_refusal(400, MessageAnswer, "the body does not fit")
    | describe_refusal(404, CodedAnswer | NoRouteAnswer, "there is no such problem now")
    | BODY_RESPONSES,
    openapi_extra=describe_body(SnoozeProblem),
)
async def snooze(
    work: Runner, who: AuthenticatedCaller, watch: Watch, problem_id: ProblemId, raw: RawBody
) -> Response:
    """Let nobody be told of a problem for a day, or another time; it stays in the list."""
    return await work.change(
        who,
        TrailAction.SNOOZE_PROBLEM,
        TrailTarget(TargetKind.PROBLEM, problem_id),
        lambda bound, account: snooze_problem(bound.store, watch, account, problem_id, raw),
    )
