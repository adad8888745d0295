"""Threads for bodies: sources take turns, and work that nobody waits for ends."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message
from tests.work_turns import ALONE

from treadle.errors import RequestRefusedError
from treadle.ingest.body_threads import WORK_SECONDS_MAX, BodyThreads
from treadle.step_check import StepCheck

SECONDS = 30.0


async def stay() -> Message:
    """The channel of a sender that waits for its answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def leave() -> Message:
    return {"type": "http.disconnect"}


def run(test: Callable[[BodyThreads], Coroutine[Any, Any, None]], threads: int = 2) -> None:
    async def running() -> None:
        made = BodyThreads(ALONE, threads)
        try:
            await asyncio.wait_for(test(made), SECONDS)
        finally:
            made.close()

    asyncio.run(running())


async def settle(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a thread makes it true
        await asyncio.sleep(0.001)


class Gate:
    """Work that goes on when the test says so, and tells in which order it ran."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.order: list[str] = []

    def work(self, name: str) -> Callable[[StepCheck], str]:
        def do(check: StepCheck) -> str:
            self.order.append(name)
            assert self.open.wait(SECONDS)
            check()
            return name

        return do


def test_results_and_errors_come_back() -> None:
    async def test(threads: BodyThreads) -> None:
        assert await threads.run(1, lambda check: 5, stay) == 5
        with pytest.raises(RequestRefusedError):
            await threads.run(1, refuse, stay)

    def refuse(_: StepCheck) -> None:
        raise RequestRefusedError(400, "no")

    run(test)


def test_sources_take_turns_however_much_one_of_them_sends() -> None:
    async def test(threads: BodyThreads) -> None:
        gate = Gate()
        waiting: list[Awaitable[str]] = [
            asyncio.create_task(threads.run(source, gate.work(f"{source}{number}"), stay))
            for source in (1, 2, 3)
            for number in range(4)
        ]
        await settle(lambda: len(gate.order) == 1)
        gate.open.set()
        await asyncio.gather(*waiting)
        assert gate.order == [f"{source}{number}" for number in range(4) for source in (1, 2, 3)]

    run(test, threads=1)


def test_a_source_has_one_thread_at_a_time() -> None:
    async def test(threads: BodyThreads) -> None:
        slow, quick = Gate(), Gate()
        quick.open.set()
        first = [
            asyncio.create_task(threads.run(1, slow.work(f"slow {number}"), stay))
            for number in range(5)
        ]
        await settle(lambda: slow.order == ["slow 0"])
        assert await threads.run(2, quick.work("quick"), stay) == "quick"
        assert slow.order == ["slow 0"]
        slow.open.set()
        await asyncio.gather(*first)

    run(test)


def test_work_that_waits_is_dropped_when_its_sender_leaves() -> None:
    async def test(threads: BodyThreads) -> None:
        gate = Gate()
        first = asyncio.create_task(threads.run(1, gate.work("first"), stay))
        await settle(lambda: gate.order == ["first"])
        for _ in range(3):
            with pytest.raises(ClientDisconnect):
                await threads.run(1, gate.work("dropped"), leave)
        gate.open.set()
        await first
        assert await threads.run(1, gate.work("last"), stay) == "last"
        assert gate.order == ["first", "last"]

    run(test)


def test_bodies_that_wait_are_let_go_when_their_senders_leave() -> None:
    class Body:
        """What a weak reference can be made to."""

    async def test(threads: BodyThreads) -> None:
        gate = Gate()
        first = asyncio.create_task(threads.run(1, gate.work("first"), stay))
        await settle(lambda: bool(gate.order))
        left = []
        for _ in range(20):
            body = Body()
            left.append(weakref.ref(body))

            def read(_: StepCheck, body: Body = body) -> Body:
                return body

            with pytest.raises(ClientDisconnect):
                await threads.run(1, read, leave)
            del body, read
        await asyncio.sleep(0)
        gc.collect()  # a cycle of asyncio's own may be there
        kept = sum(one() is not None for one in left)
        gate.open.set()
        assert await first == "first"
        assert kept == 0
        assert await threads.run(1, lambda check: 5, stay) == 5

    run(test)


def test_work_under_way_ends_at_its_next_step_when_its_sender_leaves() -> None:
    async def test(threads: BodyThreads) -> None:
        began, ended, left = threading.Event(), threading.Event(), asyncio.Event()

        def do(check: StepCheck) -> None:
            began.set()
            try:
                while True:
                    check()
            finally:
                ended.set()

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        running = asyncio.create_task(threads.run(1, do, receive))
        await settle(began.is_set)
        left.set()
        with pytest.raises(ClientDisconnect):
            await running
        await settle(ended.is_set)
        assert await threads.run(1, lambda check: 5, stay) == 5

    run(test)


def test_work_ends_when_the_request_is_cancelled() -> None:
    async def test(threads: BodyThreads) -> None:
        ended = threading.Event()

        def do(check: StepCheck) -> None:
            try:
                while True:
                    check()
            finally:
                ended.set()

        running = asyncio.create_task(threads.run(1, do, stay))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gone = asyncio.create_task(threads.run(1, lambda check: 5, stay))
        assert await gone == 5

    run(test)


def test_work_ends_when_its_processor_time_is_spent() -> None:
    now = [0.0]

    async def test() -> None:
        threads = BodyThreads(ALONE, 1, lambda: now[0])

        def do(check: StepCheck) -> None:
            check()
            now[0] += WORK_SECONDS_MAX
            check()
            now[0] += 1.0
            check()

        try:
            with pytest.raises(RequestRefusedError) as caught:
                await threads.run(1, do, stay)
        finally:
            threads.close()
        assert caught.value.status == 413

    asyncio.run(test())


def test_the_end_of_a_server_waits_for_a_step_and_not_for_the_work() -> None:
    async def test(threads: BodyThreads) -> None:
        began = threading.Event()

        def do(check: StepCheck) -> None:
            began.set()
            while True:
                check()

        running = asyncio.create_task(threads.run(1, do, stay))
        waiting = asyncio.create_task(threads.run(1, do, stay))
        await settle(began.is_set)
        threads.close()
        for one in (running, waiting):
            with pytest.raises((asyncio.CancelledError, Exception)):
                await one

    run(test)
