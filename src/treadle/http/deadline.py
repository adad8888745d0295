"""Deadlines that nearly every request keeps."""

import asyncio
from typing import Final, Protocol, Self
from weakref import WeakKeyDictionary

from treadle.errors import InternalError

DEADLINE_CHECK_SECONDS: Final = 0.25
"""Time between two checks of the running deadlines."""


class DeadlineTarget(Protocol):
    """Something that can be late."""

    def check_deadline(self, now: float, /) -> bool:
        """Do what is to be done if it is late now, by the loop's clock; return whether it was."""


class DeadlineTimer(set[DeadlineTarget]):
    """The running deadlines of one event loop."""

    ticking = False

    def start(self, deadline: DeadlineTarget) -> None:
        """Check a deadline from now on, until it is discarded."""
        self.add(deadline)
        if not self.ticking:
            self.tick(asyncio.get_running_loop())

    def __bool__(self) -> bool:
        return True

    def tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check all deadlines, and again in a while if any is left."""
        now = loop.time()
        late = [deadline for deadline in tuple(self) if deadline.check_deadline(now)]
        self.difference_update(late)
        self.ticking = len(self) > 0
        if self.ticking:
            loop.call_later(DEADLINE_CHECK_SECONDS, self.tick, loop)


_timers: WeakKeyDictionary[asyncio.AbstractEventLoop, DeadlineTimer] = WeakKeyDictionary()


def get_deadline_timer(loop: asyncio.AbstractEventLoop) -> DeadlineTimer:
    """Return the deadlines of an event loop."""
    return _timers.get(loop) or _timers.setdefault(loop, DeadlineTimer())


class RequestDeadline:
    """`asyncio.timeout` for something that every request does and that hardly ever takes long.

    All deadlines of an event loop share one timer that checks them a few times a second, because
    starting and stopping a timer costs as much as half of a small request.
    """

    __slots__ = ("_late", "_seconds", "_task", "_timer", "due")

    def __init__(self, seconds: float) -> None:
        """Raise TimeoutError in the block after so many seconds.

        It may come up to DEADLINE_CHECK_SECONDS later.
        """
        self._seconds = seconds
        self._late = False

    async def __aenter__(self) -> Self:
        """Start the deadline of the running task."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise InternalError("a deadline is used inside a task")
        self._task = task
        self.due = loop.time() + self._seconds
        self._timer = get_deadline_timer(loop)
        self._timer.start(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Stop the deadline; a cancellation by it becomes a TimeoutError."""
        self._timer.discard(self)
        if self._late and self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def check_deadline(self, now: float) -> bool:
        """Cancel the task if it is late; return whether it was."""
        self._late = now >= self.due
        if self._late:
            self._task.cancel()
        return self._late
