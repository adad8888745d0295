"""Long work of one source at a time, with a rest after it, while other sources send."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from treadle.ingest.work_turns import REST_SECONDS_MAX, REST_SHARE, WorkTurns

SECONDS = 30.0


class TimerLoop(asyncio.SelectorEventLoop):
    """A loop that tells the delays it is asked for, and lets them pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def call_later(  # type: ignore[override]  # only what the turns give
        self, delay: float, callback: Callable[[], None]
    ) -> asyncio.TimerHandle:
        self.delays.append(delay)
        return super().call_later(0, callback)


def run(test: Callable[[TimerLoop], Coroutine[Any, Any, None]]) -> None:
    loop = TimerLoop()
    try:
        loop.run_until_complete(test(loop))
    finally:
        loop.close()


async def work(turns: WorkTurns, source: int, order: list[str], steps: int = 3) -> None:
    async with turns.take_turn(source):
        order.append(f"{source} begins")
        for _ in range(steps):
            await asyncio.sleep(0)
        order.append(f"{source} ends")


def test_a_source_that_is_alone_works_at_once() -> None:
    async def test(loop: TimerLoop) -> None:
        turns, order = WorkTurns(lambda source: True), list[str]()
        await asyncio.gather(work(turns, 1, order), work(turns, 1, order))
        assert order == ["1 begins", "1 begins", "1 ends", "1 ends"]
        assert not loop.delays

    run(test)


def test_beside_others_a_source_works_at_one_thing_at_a_time() -> None:
    async def test(loop: TimerLoop) -> None:
        turns, order = WorkTurns(lambda source: False), list[str]()
        await asyncio.gather(*(work(turns, source, order) for source in (1, 1, 2, 1, 2)))
        for source in (1, 2):
            its = [line for line in order if line.startswith(str(source))]
            assert its == [f"{source} begins", f"{source} ends"] * (len(its) // 2)
        assert order[:2] == ["1 begins", "2 begins"]  # each source has a turn of its own

    run(test)


@pytest.mark.parametrize(
    ("took", "rest"), [(0.2, 0.2 * REST_SHARE), (60.0, REST_SECONDS_MAX), (0.0, 0.0)]
)
def test_the_rest_is_a_share_of_the_work(took: float, rest: float) -> None:
    now = [100.0]

    async def test(loop: TimerLoop) -> None:
        turns = WorkTurns(lambda source: False, lambda: now[0])
        async with turns.take_turn(1):
            now[0] += took
        assert loop.delays == [pytest.approx(rest)]
        await work(turns, 1, [])

    run(test)


def test_the_turn_comes_back_after_an_error_and_after_a_cancellation() -> None:
    async def test(loop: TimerLoop) -> None:
        turns, order = WorkTurns(lambda source: False), list[str]()
        with pytest.raises(ValueError, match="bad"):
            async with turns.take_turn(1):
                raise ValueError("bad")
        began = asyncio.Event()

        async def hold() -> None:
            async with turns.take_turn(1):
                began.set()
                await asyncio.Event().wait()

        busy = asyncio.ensure_future(hold())
        await began.wait()
        waits = asyncio.ensure_future(work(turns, 1, order))
        await asyncio.sleep(0)
        waits.cancel()  # while it waits for its turn
        busy.cancel()  # while it has it
        await asyncio.gather(busy, waits, return_exceptions=True)
        assert not order
        await work(turns, 1, order)
        assert order == ["1 begins", "1 ends"]

    run(test)
