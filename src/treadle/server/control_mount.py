"""Puts the control API behind an application, and imports it at its first request."""

import asyncio
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from treadle.server.control_service import ControlService


class ControlMount:
    """Answers with the control API of a worker, which is made when it is needed first.

    Its modules and routes are half of a worker's start and a quarter of its memory, and a worker
    that only takes data never needs them.
    """

    def __init__(self, make_service: "Callable[[], ControlService]") -> None:
        """Import nothing yet.

        Args:
            make_service: makes the API; called in a thread, because imports take half a second.
        """
        self._make_service = make_service
        self._making = asyncio.Lock()
        self._service: ControlService | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        service = self._service or await self.get_service()
        await service.app(scope, receive, send)

    async def get_service(self) -> "ControlService":
        """Return the API. A fault while it is made is raised, and the next caller tries again."""
        async with self._making:
            if self._service is None:
                self._service = await anyio.to_thread.run_sync(self._make_service)
                gc.freeze()  # as at the start of a worker: what was made stays until the end
            return self._service

    def end_streams(self) -> None:
        """End the answers that have no end by themselves."""
        if self._service is not None:
            self._service.events.end()

    async def aclose(self) -> None:
        """Close what the API opened, if it was made."""
        if self._service is not None:
            await self._service.aclose()
