"""The memory that request bodies of a process may take at once."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import RetriableError
from treadle.http.body_reader import read_body
from treadle.http.limits import read_declared_length
from treadle.ingest.endpoint import RequestHandler

BODY_MEMORY_BYTES = 128 * 1024 * 1024
"""Body bytes in memory at once: six requests of the largest size. Decoding one takes about three
more times its size, one at a time."""

UNCOUNTED_BYTES_MAX = 64 * 1024
"""Bodies that are not counted: the server's own buffers hold as much for every connection."""

_HELD = "treadle.held"


class BodyMemoryBudget:
    """Counts body bytes from their arrival to the answer, for all requests of a process."""

    def __init__(self, limit: int = BODY_MEMORY_BYTES) -> None:
        """Count up to `limit` bytes."""
        self._limit = limit
        self._held_bytes = 0

    async def read(self, request: Request, headers: Mapping[str, str]) -> bytes:
        """Return the body of a request, decompressed and counted.

        Only what has arrived is counted: a slow sender can take no memory in advance.

        Raises:
            RequestRefusedError: as `http.body_reader.read_body`.
            RetriableError: the budget is used up.
        """
        declared = read_declared_length(headers)
        if (
            declared is not None
            and declared <= UNCOUNTED_BYTES_MAX
            and "content-encoding" not in headers
        ):
            return await read_body(headers, request.receive)
        seen = 0

        def took(count: int) -> None:
            nonlocal seen
            before, seen = seen, seen + count
            if seen > UNCOUNTED_BYTES_MAX:
                self._reserve_for(request.scope, count if before > UNCOUNTED_BYTES_MAX else seen)

        return await read_body(headers, request.receive, took=took)

    def reserve(self, count: int) -> None:
        """Count so many bytes until they are released.

        Raises:
            RetriableError: the budget is used up.
        """
        if self._held_bytes + count > self._limit:
            raise RetriableError(
                f"{self._held_bytes} bytes of request bodies are in memory, no more fit"
            )
        self._held_bytes += count

    def release(self, count: int) -> None:
        """Count bytes no more that were reserved."""
        self._held_bytes -= count

    def _reserve_for(self, scope: MutableMapping[str, Any], count: int) -> None:
        self.reserve(count)
        scope[_HELD] = scope.get(_HELD, 0) + count

    def release_after(self, handler: RequestHandler) -> RequestHandler:
        """Return a handler that releases the bytes of its request at the end."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            finally:
                self.release(request.scope.pop(_HELD, 0))

        return handle
