"""The threads in which large bodies are decompressed and decoded, dealt out by source.

Decoding holds the interpreter lock inside each call of the decoder, so threads do not make it
parallel. But a body is decoded in many short calls, and between calls other requests get their
turn. There are two threads, and a source has one of them at a time: while one source sends large
bodies one after the other, the other thread is there for everybody else.

Nothing else runs in these threads, so that health checks, receipts and the store never wait for a
body. Work that nobody waits for any more is dropped, or ends at its next step.
"""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from starlette.types import Receive

from treadle.errors import RequestRefusedError, RetriableError, TreadleError
from treadle.ingest.client_watch import finish_unless_left
from treadle.ingest.short_turns import give_short_turns
from treadle.ingest.work_turns import WorkTurns
from treadle.step_check import StepCheck

THREADS: Final = 2
"""One for a source that sends large bodies without a pause, and one for all others."""

WORK_SECONDS_MAX: Final = 60.0
"""Most processor time of one piece of work. The slowest body of the largest size takes a tenth of
it on a slow machine, so only an unforeseen body reaches it."""

TOO_MUCH_WORK: Final = {
    "status": "ERROR",
    "message": "The body takes too much processor time to read. Send it in several requests.",
}

T = TypeVar("T")


class BodyAbandonedError(RetriableError):
    """Nobody waits for this work any more."""


class WorkLimit:
    """Ends work that nobody waits for, or that takes too long.

    It knows neither the work nor its result: a decoder that keeps the check in a cycle of its own
    objects must not keep a body in memory until the next garbage collection, which is rare.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Wait for the start.

        Args:
            clock: processor time of the calling thread, in seconds.
        """
        self._clock = clock
        self._is_abandoned = False
        self._due = 0.0

    def start(self) -> None:
        """Count the time from now on, in this thread."""
        self._due = self._clock() + WORK_SECONDS_MAX

    def abandon(self) -> None:
        """Let the work end at its next step; may be called from any thread."""
        self._is_abandoned = True

    def check_step(self) -> None:
        """Let the work go on.

        Raises:
            BodyAbandonedError: nobody waits for it any more.
            RequestRefusedError: it took too much processor time.
        """
        if self._is_abandoned:
            raise BodyAbandonedError("nobody waits for this body any more")
        if self._clock() > self._due:
            raise RequestRefusedError(413, TOO_MUCH_WORK)


class BodyTask:
    """Work on one body.

    Attributes:
        answer: done when the work is done, or was given up before it began.
    """

    def __init__(self, do: Callable[[StepCheck], Any], clock: Callable[[], float]) -> None:
        """Do nothing yet.

        Args:
            do: the work; it gets the check of its steps.
            clock: processor time of the calling thread, in seconds.
        """
        self.answer: Future[Any] = Future()
        self._do: Callable[[StepCheck], Any] | None = do
        self._limit = WorkLimit(clock)

    def abandon(self) -> None:
        """Let the work end at its next step; may be called from any thread."""
        self._limit.abandon()
        if self.answer.cancel():
            self._do = None  # it knows the body, whose memory is not counted any more

    def run(self) -> None:
        """Do the work, in the thread that calls this."""
        do = self._do
        if not self.answer.set_running_or_notify_cancel() or do is None:
            return
        self._limit.start()
        try:
            with give_short_turns():
                made = do(self._limit.check_step)
            self.answer.set_result(made)
        except TreadleError as error:
            _drop_frames(error)
            self.answer.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self.answer.set_exception(error)


def _drop_frames(error: BaseException) -> None:
    """Take the frames from an error and from what caused it.

    They refer to the task, and the task to the error: such a cycle would keep the body in memory
    until the next garbage collection, and those are rare.
    """
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found = found.__cause__ or found.__context__


class BodyThreads:
    """Runs work on bodies; sources take turns. It belongs to one event loop."""

    def __init__(
        self,
        turns: WorkTurns,
        threads: int = THREADS,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """Start no thread before the first work.

        Args:
            turns: of sources at long work of any kind.
            threads: how many sources have work under way at once.
            clock: processor time of the calling thread, in seconds.
        """
        self._turns = turns
        self._free_threads = threads
        self._clock = clock
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="body")
        # By source, in the order in which they have their turn.
        self._waiting: dict[int, deque[BodyTask]] = {}
        self._running: dict[int, BodyTask] = {}

    async def run(self, source_id: int, do: Callable[[StepCheck], T], receive: Receive) -> T:
        """Run something in one of the threads, and return its result.

        Args:
            source_id: whose body it is.
            do: the work. It calls the check that it gets between its steps.
            receive: the ASGI channel of the request, whose body was read: it tells when its sender
                has left.

        Raises:
            ClientDisconnect: the sender has left.
            RequestRefusedError: the work took too much processor time, or what `do` raises.
        """
        return await finish_unless_left(receive, self._run_in_turn(source_id, do))

    async def _run_in_turn(self, source_id: int, do: Callable[[StepCheck], T]) -> T:
        async with self._turns.take_turn(source_id):
            task = BodyTask(do, self._clock)
            self._waiting.setdefault(source_id, deque()).append(task)
            self._start_tasks()
            answer = asyncio.wrap_future(task.answer)
            try:
                found: T = await answer
                return found
            finally:
                # Who is cancelled here has cancelled the answer of work that did not begin.
                if not task.answer.done() or task.answer.cancelled():
                    task.abandon()
                    self._drop_waiting(source_id, task)
                del task, answer  # they know the error, which knows this frame

    def close(self) -> None:
        """Drop what waits, end what runs at its next step, and end the threads."""
        for tasks in self._waiting.values():
            for task in tasks:
                task.abandon()
        self._waiting.clear()
        for task in self._running.values():
            task.abandon()
        self._executor.shutdown()

    def _drop_waiting(self, source_id: int, task: BodyTask) -> None:
        """Drop a task that nobody waits for, if it waits still: its source may send many."""
        waiting = self._waiting.get(source_id)
        if waiting is None or task not in waiting:
            return
        waiting.remove(task)
        if not waiting:
            del self._waiting[source_id]

    def _start_tasks(self) -> None:
        """Give free threads to sources that have none, the one that waits longest first."""
        for source_id in [*self._waiting]:
            if not self._free_threads:
                return
            if source_id in self._running:
                continue
            tasks = self._waiting.pop(source_id)
            while tasks and tasks[0].answer.cancelled():
                tasks.popleft()
            if not tasks:
                continue
            task = tasks.popleft()
            if tasks:
                self._waiting[source_id] = tasks
            self._free_threads -= 1
            self._running[source_id] = task
            running = asyncio.get_running_loop().run_in_executor(self._executor, task.run)
            running.add_done_callback(functools.partial(self._end_task, source_id))

    def _end_task(self, source_id: int, _: object) -> None:
        self._free_threads += 1
        del self._running[source_id]
        waiting = self._waiting.pop(source_id, None)
        if waiting:  # at the end of the line: it had its turn
            self._waiting[source_id] = waiting
        self._start_tasks()
