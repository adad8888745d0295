"""Reads in a thread what an event loop needs next."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import TypeVar

from treadle.errors import OperatorError

_Item = TypeVar("_Item")


async def read_ahead(found: Iterator[_Item], ahead: int) -> AsyncIterator[_Item]:
    """Yield items that a thread reads, at most `ahead` of them before they are needed.

    Reading standard input may block for any time. The event loop goes on meanwhile, and the thread
    is a daemon, so that it does not keep the process from ending.

    Raises:
        OperatorError: an item cannot be read; and what `found` raises.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[_Item | None, Exception | None]] = asyncio.Queue()
    room = threading.Semaphore(ahead)

    def hand_over(item: _Item | None, error: Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the item
            loop.call_soon_threadsafe(queue.put_nowait, (item, error))

    def read() -> None:
        try:
            for item in found:
                room.acquire()
                hand_over(item, None)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            hand_over(None, error)
        else:
            hand_over(None, StopIteration())

    threading.Thread(target=read, daemon=True, name="read").start()
    while True:
        item, error = await queue.get()
        if isinstance(error, StopIteration):
            return
        if isinstance(error, OSError):
            raise OperatorError(
                f"The file cannot be read any further: {error.strerror}."
            ) from error
        if error is not None:
            raise error
        room.release()
        yield item  # type: ignore[misc]  # without an error there is an item
