"""The memory that request bodies of a process may take at once, dealt out by source."""

from collections.abc import Awaitable, Mapping, MutableMapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import RetriableError
from treadle.http.body_reader import BodyWork, read_body
from treadle.http.limits import read_declared_length
from treadle.ingest.body_threads import BodyThreads
from treadle.ingest.endpoint import RequestHandler

BODY_MEMORY_BYTES = 128 * 1024 * 1024
"""Body bytes in memory at once: six requests of the largest size. Decoding one takes about three
more times its size, two at a time."""

UNCOUNTED_BYTES_MAX = 4 * 1024
"""Largest body that is not counted: a connection takes as much memory without it."""

_HELD = "treadle.held"


class BodyMemoryBudget:
    """Counts body bytes from their arrival to the answer, for all requests of a process.

    A source may hold as much as is left free for others. So a single source gets at most half of
    all, two sources get at most a third each, and there is always room for one that has nothing
    yet. Strangers get nothing of it (`StrangerAllowance`).
    """

    def __init__(self, threads: BodyThreads, limit: int = BODY_MEMORY_BYTES) -> None:
        """Count up to `limit` bytes.

        Args:
            threads: decompress what is not small.
            limit: bytes of all sources.
        """
        self._threads = threads
        self._limit = limit
        self._held_bytes = 0
        self._held_by_source: dict[int, int] = {}

    async def read(self, request: Request, headers: Mapping[str, str], source_id: int) -> bytes:
        """Return the body of a request, decompressed and counted.

        Only what has arrived is counted: a slow sender can take no memory in advance.

        Args:
            request: its body is not read yet.
            headers: of the request.
            source_id: of its token.

        Raises:
            RequestRefusedError: as `http.body_reader.read_body`.
            RetriableError: the source has its part of the budget.
        """
        declared = read_declared_length(headers)
        if (
            declared is not None
            and declared <= UNCOUNTED_BYTES_MAX
            and "content-encoding" not in headers
        ):
            return await read_body(headers, request.receive)

        def run_apart(work: BodyWork) -> Awaitable[bytes]:
            return self._threads.run(source_id, work, request.receive)

        return await read_body(
            headers,
            request.receive,
            took=partial(self._reserve_for, request.scope, source_id),
            run_apart=run_apart,
        )

    def replace(self, request: Request, source_id: int, count: int) -> None:
        """Count so many bytes for a request from now on: what was made of its body.

        Raises:
            RetriableError: the source has its part of the budget.
        """
        held = request.scope.get(_HELD, (source_id, 0))[1]
        if count > max(held, UNCOUNTED_BYTES_MAX):
            self._reserve_for(request.scope, source_id, count - held)

    def reserve(self, source_id: int, count: int) -> None:
        """Count so many bytes of a source until they are released.

        Raises:
            RetriableError: the source would hold more than is left for others.
        """
        held = self._held_by_source.get(source_id, 0) + count
        free = self._limit - self._held_bytes - count
        if held > free:
            raise RetriableError(
                f"bodies of source {source_id} hold {held - count} bytes of memory, and"
                f" {count} more would leave only {free} for other sources"
            )
        self._held_by_source[source_id] = held
        self._held_bytes += count

    def release(self, source_id: int, count: int) -> None:
        """Count bytes no more that were reserved."""
        self._held_bytes -= count
        left = self._held_by_source.get(source_id, 0) - count
        if left > 0:
            self._held_by_source[source_id] = left
        else:
            self._held_by_source.pop(source_id, None)

    def _reserve_for(self, scope: MutableMapping[str, Any], source_id: int, count: int) -> None:
        self.reserve(source_id, count)
        held = scope.get(_HELD)
        scope[_HELD] = source_id, count + (0 if held is None else held[1])

    def release_after(self, handler: RequestHandler) -> RequestHandler:
        """Return a handler that releases the bytes of its request at the end."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            finally:
                held = request.scope.pop(_HELD, None)
                if held is not None:
                    self.release(*held)

        return handle
