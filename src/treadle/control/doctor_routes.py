"""`POST /v1/doctor`: the checks of `treadle doctor`, for the only account of an installation.

Operations and paths in one module, as in `trail_routes`: there is little of both.
"""

from typing import Annotated, Final, Literal

import anyio.to_thread
from fastapi import Request
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.lookups import require_whole_installation
from treadle.control.query_requests import mint_question_id
from treadle.control.query_responses import QuestionRefusal
from treadle.control.query_routes import Room
from treadle.control.routes import (
    COMMON_RESPONSES,
    AuthenticatedAccount,
    Runner,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, component
from treadle.questions.client import PlannedQuestion
from treadle.questions.orders import AnswerFormat, QuestionKind
from treadle.store.model import Account
from treadle.store.store import Store

INSTALLATION: Final = 0
"""Stands for the account of questions about the whole installation."""


@component("Finding")
class FindingAnswer(TypedDict):
    """One result of a check."""

    subject: Annotated[str, Field(description="such as disk, store, log, destination")]
    level: Annotated[
        Literal["good", "odd", "bad"],
        Field(description="good: nothing to do; bad: records are refused, wait, or are at risk"),
    ]
    found: str
    meaning: Annotated[str, Field(description="empty if all is well")]
    remedy: Annotated[str, Field(description="empty if there is nothing to do")]


@component("Findings")
class FindingsAnswer(TypedDict):
    """What the doctor found."""

    ok: Annotated[bool, Field(description="none of the findings is bad")]
    findings: list[FindingAnswer]


def plan_examination(store: Store, account: Account) -> PlannedQuestion:
    """Plan what `POST /v1/doctor` asks.

    Raises:
        RequestRefusedError: 403, the installation has other accounts.
    """
    require_whole_installation(store, account)
    return PlannedQuestion(QuestionKind.DOCTOR, mint_question_id(), INSTALLATION, 1, None)


router = make_router(prefix="/v1", responses=COMMON_RESPONSES)


@router.post(
    "/doctor",
    response_model=FindingsAnswer,
    responses=describe_refusal(403, CodedAnswer, "the installation has several accounts")
    | describe_refusal(503, QuestionRefusal, "the desk cannot answer now; try later"),
    tags=["health"],
)
async def run_doctor(
    request: Request, work: Runner, room: Room, who: AuthenticatedAccount
) -> Response:
    """Run the checks of `treadle doctor --quick`, and return what it prints as JSON.

    Only where the installation has no other account.
    """
    question = await anyio.to_thread.run_sync(plan_examination, work.operations.store, who)
    return await room.asking.respond(request, question, AnswerFormat.JSON)
