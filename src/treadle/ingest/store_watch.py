"""Watches the store for all that a worker keeps of it in memory.

A thread asks for the store revision, and wakes the event loop only when something has to be read
again. So a worker that nobody uses is woken four times a second, by a question of a few
microseconds, and revoked tokens are known as soon as before.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.25
"""Time between two questions for changes: a revoked token stops within a second everywhere."""

JOIN_SECONDS_MAX: Final = 5.0
"""The watch is waited for so long at its end: a disk may hang."""


class StoreFollower(Protocol):
    """Keeps something of the store in memory."""

    @property
    def follows(self) -> str:
        """What it reads, for the operator: "changes of import tokens"."""

    def is_outdated(self, revision: int | None, asked_at: float) -> bool:
        """Return whether something is to be read again, or forgotten; the watch's thread asks.

        Args:
            revision: of the store; None while the store cannot be asked.
            asked_at: when that question began, seconds of the monotonic clock.
        """

    async def refresh(self) -> None:
        """Read it again, on the event loop; an error is told, and it is called again."""


class StoreWatch:
    """Has followers read again what was changed in the store.

    It belongs to one event loop.
    """

    def __init__(self, get_revision: Callable[[], int], seconds: float = POLL_SECONDS) -> None:
        """Ask nothing before `start`.

        Args:
            get_revision: returns the store revision; the watch's thread calls it.
            seconds: between two questions.
        """
        self._get_revision = get_revision
        self._seconds = seconds
        self._followers: list[StoreFollower] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._tasks: dict[StoreFollower, asyncio.Task[None]] = {}
        self._failing: set[StoreFollower] = set()

    def add(self, follower: StoreFollower) -> None:
        """Call a follower from now on, once it is outdated."""
        self._followers.append(follower)

    def start(self) -> None:
        """Begin to ask, for the running event loop."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="store watch", daemon=True
        )
        self._thread.start()

    async def aclose(self) -> None:
        """Ask no more; what followers are reading is given up."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, JOIN_SECONDS_MAX)
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the watch's thread -----------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        is_failing = False
        while not self._stop.wait(self._seconds):
            revision = None
            asked_at = time.monotonic()
            try:
                revision = self._get_revision()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
                if not is_failing:
                    logger.warning(
                        "Whether the store has changed cannot be asked now, what is known of it "
                        "holds: %s",
                        error,
                    )
                is_failing = True
            else:
                is_failing = False
            outdated = [one for one in self._followers if one.is_outdated(revision, asked_at)]
            if outdated:
                try:
                    loop.call_soon_threadsafe(self._begin, outdated)
                except RuntimeError:  # the loop has ended
                    return

    # --- the event loop ---------------------------------------------------------------------------

    def _begin(self, outdated: list[StoreFollower]) -> None:
        """Have followers read again, each apart: one that waits delays no other."""
        for follower in outdated:
            if follower not in self._tasks and not self._stop.is_set():
                self._tasks[follower] = asyncio.create_task(self._refresh(follower))

    async def _refresh(self, follower: StoreFollower) -> None:
        try:
            await follower.refresh()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
            if follower not in self._failing:
                logger.warning("Reading %s failed and is tried again: %s", follower.follows, error)
            self._failing.add(follower)
        else:
            self._failing.discard(follower)
        finally:
            del self._tasks[follower]
