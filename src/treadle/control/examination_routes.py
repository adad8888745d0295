"""`/v1/examinations`: the doctor and the audit of counts, made by the desk and followed by anybody.

They are about the whole server, so they are for its only account.
"""

from typing import Annotated, Any, Final, Literal, NotRequired

import msgspec
from fastapi import Depends, Request
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.doctor_routes import FindingAnswer
from treadle.control.examination_operations import ExaminationRunner
from treadle.control.load_operations import invalid_parameter
from treadle.control.load_report_routes import Count, MicrosecondTime
from treadle.control.lookups import require_whole_installation
from treadle.control.query_responses import QuestionRefusal
from treadle.control.routes import (
    BODY_RESPONSES,
    COMMON_RESPONSES,
    AuthenticatedAccount,
    RawBody,
    Runner,
    describe_body,
    describe_refusal,
    make_router,
)
from treadle.control.schemas import CodedAnswer, MessageAnswer, component
from treadle.store.model import Account
from treadle.timestamps import format_microseconds
from treadle.traces.examination import ExaminationKind, ExaminationNote

_FORBIDDEN: Final = describe_refusal(403, CodedAnswer, "the installation has several accounts")


@component("StartExamination")
class StartExamination(TypedDict):
    """The body that starts an examination."""

    kind: Annotated[
        Literal["doctor", "counts"],
        Field(description="the checks of `treadle doctor`, or `treadle audit --counts`"),
    ]
    whole: NotRequired[
        Annotated[
            bool, Field(description="the doctor reads every entry of the log; false if left out")
        ]
    ]


@component("Examination")
class ExaminationAnswer(TypedDict):
    """An examination, as far as it is."""

    kind: Literal["doctor", "counts"]
    whole: bool
    state: Annotated[
        Literal["going_on", "done", "failed"],
        Field(description="failed: it has ended without a result"),
    ]
    started_at: MicrosecondTime
    finished_at: str | None
    step: Annotated[str, Field(description="what is looked at now; empty where nothing is")]
    done: Annotated[int, Field(ge=0, description="checks or tables that were looked at")]
    total: Annotated[int | None, Field(description="checks in all; null for tables")]
    entries: Annotated[Count, Field(description="of the log that were read")]
    findings: Annotated[list[FindingAnswer], Field(description="the worst first, at most 500")]
    failure: str | None


@component("Examinations")
class ExaminationList(TypedDict):
    """The last examination of each kind."""

    examinations: list[ExaminationAnswer]


class _StartBody(msgspec.Struct, forbid_unknown_fields=True):
    kind: ExaminationKind
    whole: bool = False


def render_examination(note: ExaminationNote, now: int) -> dict[str, Any]:
    """Return an examination as JSON."""
    going_on = note.is_going_on(now)
    ended = note.finished_at is not None and not note.failure
    return {
        "kind": note.kind,
        "whole": note.whole,
        "state": "going_on" if going_on else "done" if ended else "failed",
        "started_at": format_microseconds(note.started_at),
        "finished_at": None if note.finished_at is None else format_microseconds(note.finished_at),
        "step": note.step,
        "done": note.done,
        "total": note.total or None,
        "entries": note.entries,
        "findings": [msgspec.structs.asdict(one) for one in note.findings],
        "failure": note.failure or None,
    }


def list_examinations(runner: ExaminationRunner, account: Account) -> dict[str, Any]:
    """Return the last examination of each kind.

    Raises:
        RequestRefusedError: 403, the installation has other accounts.
    """
    require_whole_installation(runner.store, account)
    now = runner.files.clock()
    found = [note for kind in ExaminationKind if (note := runner.read(kind)) is not None]
    return {"examinations": [render_examination(note, now) for note in found]}


def start_examination(runner: ExaminationRunner, account: Account, raw: bytes) -> dict[str, Any]:
    """Start an examination, and return it.

    Raises:
        RequestRefusedError: 400 for a body that does not fit; see `ExaminationRunner.start`.
    """
    try:
        body = msgspec.json.decode(raw, type=_StartBody)
    except (ValueError, RecursionError) as error:
        raise invalid_parameter("the body", f"an object with the key kind: {error}") from error
    runner.start(account, body.kind, whole=body.whole)
    return list_examinations(runner, account)


def _get_runner(request: Request) -> ExaminationRunner:
    runner: ExaminationRunner = request.app.state.examinations
    return runner


Examinations = Annotated[ExaminationRunner, Depends(_get_runner)]

router = make_router(prefix="/v1", responses=COMMON_RESPONSES, tags=["health"])


@router.get("/examinations", response_model=ExaminationList, responses=_FORBIDDEN)
async def get_examinations(
    work: Runner, account: AuthenticatedAccount, runner: Examinations
) -> Response:
    """The last run of the doctor and of the audit of counts, and how far each is."""
    return await work.read(list_examinations, runner, account)


@router.post(
    "/examinations",
    response_model=ExaminationList,
    responses=describe_refusal(400, MessageAnswer, "the body does not fit")
    | _FORBIDDEN
    | describe_refusal(409, MessageAnswer, "one of this kind goes on")
    | describe_refusal(503, QuestionRefusal, "the desk cannot be reached; try later")
    | BODY_RESPONSES,
    openapi_extra=describe_body(StartExamination),
)
async def begin_examination(
    work: Runner, account: AuthenticatedAccount, runner: Examinations, raw: RawBody
) -> Response:
    """Start the doctor or the audit of counts; it goes on by itself, and is followed by `GET`."""
    return await work.read(start_examination, runner, account, raw)
