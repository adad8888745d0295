"""Decodes bodies apart from the event loop: in a thread, or in a process that can be ended.

Decoding holds the interpreter lock inside each call of the decoder (45 ms for 20 MB), so a thread
does not make it parallel. But checking is many calls and, for a body that is refused, Python code
(600 ms for 20 MB), and between calls other requests get their turn: while bodies of 20 MB came one
after the other, nine of ten small pushes were answered within 87 ms instead of 290 ms, and within
364 ms instead of 1,077 ms when the large ones were refused. One thread, because a second could only
compete with the first and hold one more body's records in memory.

Work of which nobody knows beforehand how long it takes, or that holds the lock in one call for more
than 50 ms, goes to a task process. That costs a copy of the body and of what is made of it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from treadle.ingest.short_turns import give_short_turns
from treadle.ingest.task_pool import TaskPool
from treadle.ingest.work_turns import WorkTurns

INLINE_BYTES_MAX = 512 * 1024
"""Bodies up to this size are decoded on the event loop: about 3 ms, 15 ms for odd refusals."""

OBJECT_WEIGHT = 512
"""Bytes of plain JSON that take as long as one record that is looked at by itself: 10 us."""

VALUE_WEIGHT = 64
"""The same of a value that is no record, which is refused by itself, too: 2 us."""

LIGHT_BYTES_MAX = 2048
"""No body of this size holds so much that it has to be looked at."""

P = ParamSpec("P")
T = TypeVar("T")


def weigh_body(body: bytes, opening: bytes = b"{") -> int:
    """Return how long a body takes at most, as a size of plain JSON in bytes.

    A body of 60 KB may hold 20,000 records, each of which is refused for itself: 150 ms.

    Args:
        body: decompressed.
        opening: the byte with which records begin in it.
    """
    size = len(body)
    if size <= LIGHT_BYTES_MAX or size > INLINE_BYTES_MAX:
        return size
    return max(size, body.count(opening) * OBJECT_WEIGHT, body.count(b",") * VALUE_WEIGHT)


class BodyExecutor:
    """A thread and a few processes for bodies that would keep other requests waiting."""

    def __init__(self, turns: WorkTurns, inline_bytes: int = INLINE_BYTES_MAX) -> None:
        """Start no thread before the first large body, and no process before the first task.

        Args:
            turns: of sources at what is not done on the event loop.
            inline_bytes: size of the largest body that is decoded on the event loop.
        """
        self._turns = turns
        self._inline_bytes = inline_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large")
        self._tasks = TaskPool()

    async def run(
        self, source_id: int, size: int, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run something that decodes a body of a source, of this weight; return its result."""
        if size <= self._inline_bytes:
            return do(*args, **kwargs)

        def work() -> T:
            with give_short_turns():
                return do(*args, **kwargs)

        async with self._turns.take_turn(source_id):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run_task(self, source_id: int, function: str, payload: bytes) -> bytes:
        """Run a function in a task process; see `TaskPool.run`."""
        async with self._turns.take_turn(source_id):
            return await self._tasks.run(source_id, function, payload)

    def close(self) -> None:
        """End the tasks, finish the thread's running work, and end the thread."""
        self._tasks.close()
        self._thread.shutdown()
