"""Examinations: who may start them, and what is told while they go on and when they fail."""

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.control.trace_api import TraceApi
from tests.servers.treadle import eventually

from treadle.control.examination_operations import ExaminationRunner
from treadle.control.examination_routes import list_examinations, start_examination
from treadle.errors import RequestRefusedError
from treadle.questions import refusals
from treadle.questions.client import DeskAnswer, PlannedQuestion
from treadle.questions.orders import AnswerNote, QuestionKind
from treadle.traces.examination import (
    ExaminationKind,
    ExaminationNote,
    read_examination,
    write_examination,
)


class Desk:
    """A desk that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[PlannedQuestion] = []
        self.goes_on = threading.Event()
        self.refusal: RequestRefusedError | None = None

    def make_call(self, question: PlannedQuestion) -> "Desk":
        self.asked.append(question)
        return self

    def ask(self) -> DeskAnswer:
        assert self.goes_on.wait(60)
        if self.refusal is not None:
            raise self.refusal
        return DeskAnswer(io.BytesIO(), AnswerNote(0, False, 0.0))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TraceApi]:
    made = TraceApi(tmp_path)
    made.files = replace(made.files, examinations=tmp_path / "examinations")
    made.app = made.server(made.settings)
    yield made
    made.store.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.goes_on.set()


@pytest.fixture
def runner(api: TraceApi, desk: Desk) -> ExaminationRunner:
    return ExaminationRunner(api.store, api.files, desk)  # type: ignore[arg-type]


def test_without_a_desk_none_is_started(api: TraceApi) -> None:
    assert api.get("/v1/examinations").body == {"examinations": []}
    assert api.post("/v1/examinations", {"kind": "doctor"}).status == 503
    wrong: object
    for wrong in ({}, {"kind": "all"}, {"kind": "doctor", "more": 1}, [], "x"):
        assert api.post("/v1/examinations", wrong).status == 400
    for wrong_token in (None, "at_no"):
        assert api.get("/v1/examinations", token=wrong_token).status == 401
    api.another_account()
    assert api.get("/v1/examinations").status == 403
    assert api.post("/v1/examinations", {"kind": "doctor"}).status == 403


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"kind":"doctor"}', QuestionKind.DOCTOR),
        (b'{"kind":"doctor","whole":true}', QuestionKind.DOCTOR_WHOLE),
        (b'{"kind":"counts"}', QuestionKind.COUNTS),
    ],
)
def test_one_of_a_kind_goes_on_at_a_time(
    api: TraceApi, desk: Desk, runner: ExaminationRunner, body: bytes, kind: QuestionKind
) -> None:
    [begun] = start_examination(runner, api.account, body)["examinations"]
    assert (begun["state"], begun["step"]) == ("going_on", "beginning")
    assert [question.kind for question in desk.asked] == [kind]
    with pytest.raises(RequestRefusedError) as refused:
        start_examination(runner, api.account, body)
    assert refused.value.status == 409


def test_why_there_is_no_result_is_told(
    api: TraceApi, desk: Desk, runner: ExaminationRunner
) -> None:
    start_examination(runner, api.account, b'{"kind":"counts"}')
    desk.refusal = refusals.doctor_overdue()
    desk.goes_on.set()

    def told() -> Any:
        return list_examinations(runner, api.account)["examinations"][0]

    eventually(lambda: told()["state"] == "failed")
    assert "took too long" in told()["failure"]


def test_one_that_tells_nothing_any_more_gives_way(
    api: TraceApi, runner: ExaminationRunner
) -> None:
    assert api.files.examinations is not None
    old = ExaminationNote("doctor", False, api.now - 10**9, api.now - 10**9)
    write_examination(api.files.examinations, old)
    assert api.get("/v1/examinations").body["examinations"][0]["state"] == "failed"
    start_examination(runner, api.account, b'{"kind":"doctor"}')
    note = read_examination(api.files.examinations, ExaminationKind.DOCTOR)
    assert note is not None
    assert note.is_going_on(api.now)
