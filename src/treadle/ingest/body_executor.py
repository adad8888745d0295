"""Decodes large bodies apart from the event loop.

Decoding holds the interpreter lock inside each call of the decoder (45 ms for 20 MB), so a thread
does not make it parallel. But checking is many calls and, for a body that is refused, Python code
(600 ms for 20 MB), and between calls other requests get their turn: while bodies of 20 MB came one
after the other, nine of ten small pushes were answered within 87 ms instead of 290 ms, and within
364 ms instead of 1,077 ms when the large ones were refused. Processes would be parallel at the
price of copying each body twice and of more to supervise; a server that needs it runs more workers.
One thread, because a second could only compete with the first and hold one more body's records in
memory.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

INLINE_BYTES_MAX = 512 * 1024
"""Bodies up to this size are decoded on the event loop: about 3 ms, 15 ms for odd refusals."""

P = ParamSpec("P")
T = TypeVar("T")


class BodyExecutor:
    """A thread for bodies that would keep other requests waiting."""

    def __init__(self, inline_bytes: int = INLINE_BYTES_MAX) -> None:
        """Start no thread before the first large body."""
        self._inline_bytes = inline_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large")

    async def run(self, size: int, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that decodes a body of `size` bytes, and return its result."""
        if size <= self._inline_bytes:
            return do(*args, **kwargs)
        task = functools.partial(do, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, task)

    def close(self) -> None:
        """Finish the running work, and end the thread."""
        self._thread.shutdown()
