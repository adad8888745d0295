"""Turns of a source at long work on bodies, while other sources send as well.

A source that sends large bodies, dry runs and schemas at once had a thread, a task process and the
thread of dry runs busy together. All of them need the interpreter's lock and the processors, so a
small push of another source waited behind each of them: 99 of 100 took up to 178 ms on two
processors. With one piece of work of a source at a time, and a short rest after it, they take
38 ms. A source that sends alone has no such limit.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

REST_SHARE: Final = 0.5
"""The rest after a piece of work, as a part of the time that the work took."""

REST_SECONDS_MAX: Final = 1.0
"""The longest rest: a single piece of work may take `body_threads.WORK_SECONDS_MAX`."""


class WorkTurns:
    """Lets one piece of long work of a source go on at a time. It belongs to one event loop."""

    def __init__(
        self, is_alone: Callable[[int], bool], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Let everything go on at first.

        Args:
            is_alone: a source's id -> whether no other source has sent anything lately.
            monotonic: seconds.
        """
        self._is_alone = is_alone
        self._monotonic = monotonic
        self._busy: dict[int, asyncio.Lock] = {}

    @asynccontextmanager
    async def take_turn(self, source_id: int) -> AsyncIterator[None]:
        """Wait until no other work of this source goes on, and keep that so within the block.

        A block must not take another turn: it would wait for itself.
        """
        if self._is_alone(source_id):
            yield
            return
        busy = self._busy.setdefault(source_id, asyncio.Lock())
        await busy.acquire()
        began = self._monotonic()
        try:
            yield
        finally:
            rest = min((self._monotonic() - began) * REST_SHARE, REST_SECONDS_MAX)
            asyncio.get_running_loop().call_later(rest, busy.release)
