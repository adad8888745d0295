"""How much of request bodies is in memory at once."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import TryLater
from treadle.ingest.endpoint import Handler
from treadle.web import declared_length, read_body

ROOM_BYTES = 128 * 1024 * 1024
"""Body bytes in memory at once: six requests of the greatest size. Checking one takes about three
more times its size, one at a time."""

SMALL_BYTES = 64 * 1024
"""Bodies that are not counted: the server's own buffers hold as much for every connection."""

_HELD = "treadle.held"


class Room:
    """Counts body bytes from their arrival to the answer, for all requests of a process."""

    def __init__(self, limit: int = ROOM_BYTES) -> None:
        """Hold up to `limit` bytes."""
        self._limit = limit
        self._held = 0

    async def read(self, request: Request, headers: Mapping[str, str]) -> bytes:
        """The body of a request, decompressed and counted.

        Senders that are slow hold only what they have sent, so nobody waits for room and nobody
        can reserve it.

        Raises:
            Refused: as `web.read_body`.
            TryLater: there is no more room.
        """
        declared = declared_length(headers)
        if declared is not None and declared <= SMALL_BYTES and "content-encoding" not in headers:
            return await read_body(headers, request.receive)
        seen = 0

        def took(count: int) -> None:
            nonlocal seen
            before, seen = seen, seen + count
            if seen > SMALL_BYTES:
                self._take(request.scope, count if before > SMALL_BYTES else seen)

        return await read_body(headers, request.receive, took=took)

    def hold(self, count: int) -> None:
        """Count so many bytes until they are let go.

        Raises:
            TryLater: there is no more room.
        """
        if self._held + count > self._limit:
            raise TryLater(f"{self._held} bytes of request bodies are in memory, no more fit")
        self._held += count

    def let_go(self, count: int) -> None:
        """Count bytes that were held no more."""
        self._held -= count

    def _take(self, scope: MutableMapping[str, Any], count: int) -> None:
        self.hold(count)
        scope[_HELD] = scope.get(_HELD, 0) + count

    def emptied(self, handler: Handler) -> Handler:
        """A handler after which the bytes of its request count no more."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            finally:
                self.let_go(request.scope.pop(_HELD, 0))

        return handle
