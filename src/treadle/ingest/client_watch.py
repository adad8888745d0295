"""Notices that a client left while its request is worked on."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def finish_unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work; cancel it when the client leaves before that.

    Args:
        receive: of the request, whose body was read to its end.
        work: is cancelled, too, when the caller is.

    Raises:
        ClientDisconnect: the client left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(wait_for_departure(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
        # An error in it refers to this frame: such a cycle would keep the body in memory until the
        # next garbage collection.
        del working


async def wait_for_departure(receive: Receive) -> None:
    """Return when the client has left; the body of its request was read to its end."""
    while (await receive())["type"] != "http.disconnect":
        pass
