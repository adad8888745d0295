"""The processor time that all strangers of a worker share."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from treadle.errors import RequestRefusedError
from treadle.ingest.stranger_allowance import (
    CLOSE_HEADER,
    STRANGER_WORK_SECONDS,
    StrangerAllowance,
)

CHECK_SECONDS = 0.1
"""What it takes to check a body here."""


class SlowClock:
    """A clock that stands still but while a body is checked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.checks = 0

    def check_body(self, _: bytes) -> None:
        self.now += CHECK_SECONDS
        self.checks += 1


def test_bodies_that_end_at_once_share_the_time_that_there_was_when_they_began() -> None:
    clock = SlowClock()
    allowance = StrangerAllowance(monotonic=lambda: clock.now)
    refusal = RequestRefusedError(401, "nobody")

    async def send(sent: asyncio.Event) -> bool:
        """Return whether the connection ends with the answer."""

        async def receive() -> Message:
            await sent.wait()
            return {"type": "http.request", "body": b"[{}]", "more_body": False}

        request = Request({"type": "http", "headers": []}, receive)
        with pytest.raises(RequestRefusedError) as refused:
            await allowance.refuse(request, {"content-length": "4"}, refusal, clock.check_body)
        assert refused.value.status == 401
        return CLOSE_HEADER in refused.value.headers

    async def send_many() -> list[bool]:
        sent = asyncio.Event()
        senders = [asyncio.create_task(send(sent)) for _ in range(50)]
        await asyncio.sleep(0)  # all have passed the first look
        sent.set()
        return await asyncio.gather(*senders)

    closed = asyncio.run(send_many())
    most = int(STRANGER_WORK_SECONDS / CHECK_SECONDS) + 1
    assert clock.checks == most
    assert closed == [False] * most + [True] * (50 - most)
