"""The task processes of a worker, and the order in which sources get them.

Work on a body that can take long, or that holds the interpreter lock in foreign code, is done in
a process of its own: it delays nobody else there, and it can be ended. The processes are few, so
sources take turns: however many tasks of one source wait, another one's first task is the next.
"""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from treadle.errors import RetriableError
from treadle.tasks.task_channel import TaskRequest
from treadle.tasks.task_process import TaskLimitError, TaskProcess

logger = logging.getLogger(__name__)

PROCESSES_MAX: Final = 2
"""Task processes of one worker. A source has all but one of them at most."""

WAITING_MAX: Final = 64
"""Most tasks of one source that wait; further ones are refused, and may be sent again."""

IDLE_SECONDS: Final = 60.0
"""Time after which processes without work are ended."""

SECONDS_MAX: Final = 10
"""Most seconds of processor time of one task: as long as the least patient client waits."""


class WaitingTask:
    """A task and who waits for it."""

    __slots__ = ("done", "process", "request", "source")

    def __init__(
        self, source: Hashable, request: TaskRequest, done: "asyncio.Future[bytes]"
    ) -> None:
        self.source = source
        self.request = request
        self.done = done
        self.process: TaskProcess | None = None


class TaskTurns:
    """Decides which waiting task is the next: round robin by source. A value; nothing runs here."""

    def __init__(self, processes: int, waiting: int = WAITING_MAX) -> None:
        """Deal out so many processes; so many tasks of one source may wait."""
        self._share = max(processes - 1, 1)
        self._waiting_max = waiting
        self._waiting: dict[Hashable, deque[WaitingTask]] = {}
        self._running: dict[Hashable, int] = {}

    def add_task(self, task: WaitingTask) -> bool:
        """Let a task wait at the end of its source's row; return False where the row is full."""
        row = self._waiting.setdefault(task.source, deque())
        if len(row) >= self._waiting_max:
            return False
        row.append(task)
        return True

    def remove_task(self, task: WaitingTask) -> None:
        """Forget a task that waits."""
        row = self._waiting.get(task.source)
        if row is not None and task in row:
            row.remove(task)
            if not row:
                del self._waiting[task.source]

    def take_task(self) -> WaitingTask | None:
        """Return the task whose turn it is, and count it as running; None if no one may run."""
        for source, row in self._waiting.items():
            running = self._running.get(source, 0)
            if running >= self._share:
                continue
            task = row.popleft()
            # The source goes to the end of the queue, behind all others that wait.
            del self._waiting[source]
            if row:
                self._waiting[source] = row
            self._running[source] = running + 1
            return task
        return None

    def take_waiting(self) -> list[WaitingTask]:
        """Return all tasks that wait, and forget them."""
        waiting = [task for row in self._waiting.values() for task in row]
        self._waiting.clear()
        return waiting

    def end_task(self, task: WaitingTask) -> None:
        """Count a task as running no more."""
        left = self._running[task.source] - 1
        if left:
            self._running[task.source] = left
        else:
            del self._running[task.source]


class TaskPool:
    """Runs functions of bytes in task processes. All methods belong to the event loop."""

    def __init__(self, processes: int = PROCESSES_MAX) -> None:
        """Start no process and no thread before the first task."""
        self._turns = TaskTurns(processes)
        self._processes = [TaskProcess() for _ in range(processes)]
        self._free = list(self._processes)
        # Threads, because waiting for a process and sending it a body release the interpreter lock.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="task")
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(
        self, source: Hashable, function: str, payload: bytes, seconds: int = SECONDS_MAX
    ) -> bytes:
        """Run a function in a task process, and return its result.

        A caller that is cancelled ends the task at once, with its process.

        Args:
            source: whose turn it takes.
            function: "module:name"; it takes bytes, returns bytes, and raises errors of ours.
            payload: its argument.
            seconds: processor time that it may take.

        Raises:
            TaskLimitError: it took more time or memory than it may.
            RetriableError: too many tasks of this source wait, or the pool closes.
            TreadleError: what the function raised.
        """
        if self._closed:
            raise RetriableError("the server stops")
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        task = WaitingTask(source, TaskRequest(function, seconds, payload), done)
        if not self._turns.add_task(task):
            raise RetriableError(f"{WAITING_MAX} tasks of one source wait already")
        self._start_tasks()
        try:
            return await done
        finally:
            if task.process is None:
                self._turns.remove_task(task)
            else:
                task.process.kill(task.request)
            # An error refers to this frame, and these names to the error: such a cycle would keep
            # the payload in memory until the next garbage collection, and those are rare.
            del task, done

    def close(self) -> None:
        """End all processes and what they do. No task begins after this."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        for task in self._turns.take_waiting():
            if not task.done.done():
                task.done.set_exception(RetriableError("the server stops"))
        for task_process in self._processes:
            task_process.kill_current()
        self._threads.shutdown()
        for task_process in self._processes:
            task_process.close()

    def list_processes(self) -> list[int]:
        """Return the ids of the processes that are there."""
        return [pid for one in self._processes if (pid := one.process_id) is not None]

    def _start_tasks(self) -> None:
        while self._free and (task := self._turns.take_task()) is not None:
            # The process that worked last, so that others stay idle long enough to be ended.
            task.process = self._free.pop()
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._threads, task.process.run, task.request)
            work.add_done_callback(functools.partial(self._finish, task))

    def _finish(self, task: WaitingTask, work: "asyncio.Future[bytes]") -> None:
        assert task.process is not None  # noqa: S101 - see _start_tasks
        self._free.append(task.process)
        self._turns.end_task(task)
        error = work.exception()
        if isinstance(error, TaskLimitError):
            logger.warning(
                "A task of source %s was ended: %s needs %s",
                task.source,
                task.request.function,
                error,
            )
        if not task.done.done():
            if error is None:
                task.done.set_result(work.result())
            else:
                task.done.set_exception(error.with_traceback(None))  # nor the thread's frames
        if not self._closed:
            self._start_tasks()
            self._plan_rest()

    def _plan_rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._rest)

    def _rest(self) -> None:
        """End the processes that have nothing to do."""
        self._idle = None
        for task_process in self._free:
            task_process.close()
