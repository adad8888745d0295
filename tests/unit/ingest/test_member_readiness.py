"""`/v1/ready`: when a balancer sends requests to a member, and when not."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request

from treadle.errors import RetriableError
from treadle.http.stop_notice import StopNotice
from treadle.ingest import member_readiness
from treadle.ingest.member_readiness import (
    ASK_SECONDS,
    SILENCE_SECONDS,
    STOPPING,
    MemberReadiness,
    PartProbe,
    judge_part,
    watch_silence,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("said", "asked_at", "obstacle"),
    [
        (None, None, None),
        ("the log is full", None, "the log is full"),
        (None, 100.0 - SILENCE_SECONDS, None),
        ("the log is full", 100.0 - SILENCE_SECONDS, "the log is full"),
        (None, 94.0, "the log has not answered for 6 s"),
    ],
)
def test_a_part_is_as_it_said_last_unless_it_is_silent(
    said: str | None, asked_at: float | None, obstacle: str | None
) -> None:
    assert judge_part("the log", said, asked_at, 100.0) == obstacle


def test_a_part_is_asked_once_a_second_and_its_errors_are_not_repeated() -> None:
    clock = Clock()
    answers: list[str | None] = [None, "it is full", "unused"]
    asked = 0

    def ask() -> str | None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise RetriableError("host db1.example.com does not answer")
        return answers[asked - 1]

    async def look() -> None:
        probe = PartProbe("the log", ask, clock)
        for expected in (None, "it is full", "the log cannot be used now"):
            assert await probe.find_obstacle() == expected
            assert await probe.find_obstacle() == expected  # of the same answer
            clock.now += ASK_SECONDS
        probe.close()

    asyncio.run(look())
    assert asked == 3


def test_a_part_that_is_asked_all_the_time_is_away_after_five_seconds() -> None:
    async def look() -> None:
        for silence, said in ((0.0, None), (5.0, None), (5.6, "the log has not answered for 6 s")):
            assert await watch_silence("the log", lambda silence=silence: silence)() == said  # type: ignore[misc]  # bound now

    asyncio.run(look())


def test_nobody_waits_for_a_part_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_readiness, "WAIT_SECONDS", 0.01)
    clock = Clock()
    answered = threading.Event()

    def ask() -> None:
        assert answered.wait(60)

    async def look() -> None:
        probe = PartProbe("the log", ask, clock)
        assert await probe.find_obstacle() is None  # it may be slow
        clock.now += SILENCE_SECONDS + 1
        assert await probe.find_obstacle() == "the log has not answered for 6 s"
        answered.set()
        assert probe._question is not None
        await probe._question
        assert await probe.find_obstacle() is None
        probe.close()

    asyncio.run(look())


def find(obstacle: str | None) -> Callable[[], Any]:
    async def found() -> str | None:
        return obstacle

    return found


async def ask_member(readiness: MemberReadiness, role: str = "") -> tuple[int, dict[str, Any], str]:
    query = f"role={role}" if role else ""
    scope = {"type": "http", "headers": [], "query_string": query.encode()}
    answer = await readiness.get(Request(scope))
    return answer.status_code, json.loads(bytes(answer.body)), answer.headers.get("retry-after", "")


def test_a_balancer_is_told_of_the_first_role_or_of_the_one_that_it_names() -> None:
    async def look() -> None:
        parts = {"ingest": [find(None), find("no log")], "control": [find(None)]}
        readiness = MemberReadiness(parts, StopNotice(), ["loader"])
        roles = ["ingest", "control"]
        refused = {"status": "not ready", "reason": "no log", "roles": roles}
        assert await ask_member(readiness) == (503, refused, "2")
        assert await ask_member(readiness, "ingest") == (503, refused, "2")
        ready = {"status": "ready", "reason": None, "roles": roles}
        assert await ask_member(readiness, "control") == (200, ready, "")
        status, body, _ = await ask_member(readiness, "loader")
        assert (status, body["reason"]) == (503, "this member does not have the role loader")
        status, body, _ = await ask_member(readiness, "gate")
        assert (status, body) == (400, {"message": "role is to be ingest or control or loader"})

    asyncio.run(look())


def test_a_member_that_is_told_to_stop_is_not_ready_from_then_on() -> None:
    async def look() -> None:
        notice = StopNotice()
        readiness = MemberReadiness({"ingest": [find(None)]}, notice)
        assert (await ask_member(readiness))[0] == 200
        notice.announce()
        status, body, retry_after = await ask_member(readiness)
        assert (status, body["reason"], retry_after) == (503, STOPPING, "2")

    asyncio.run(look())
