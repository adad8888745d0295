"""`POST /v2/import/batch` (import-api.md 9)."""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import RequestRefusedError
from treadle.http.body_reader import (
    check_declared_length,
    read_bearer_token,
    read_media_type,
    select_headers,
)
from treadle.ingest.acceptance import BatchAcceptor, ReceivedRequest, encode_batches
from treadle.ingest.body_executor import BodyExecutor
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.dry_run import DryRunPlanner, is_dry_run
from treadle.ingest.endpoint import NOT_ACTIVE, NOT_AUTHORIZED
from treadle.ingest.token_cache import TokenCache
from treadle.records import batch
from treadle.records.message_batch import MessageBatch
from treadle.store.model import TokenOwner

T = TypeVar("T")

WRONG_CONTENT_TYPE = "Content-Type must be application/json"


class BatchEndpoint:
    """Takes the messages of one table with their schema."""

    def __init__(
        self,
        directory: TokenCache,
        acceptor: BatchAcceptor,
        large: BodyExecutor,
        room: BodyMemoryBudget,
        dry_run: DryRunPlanner,
    ) -> None:
        """Serve the pushers of a directory.

        Args:
            directory: who may push.
            acceptor: makes batches durable.
            large: works on large bodies.
            room: reads bodies.
            dry_run: plans what is not to be kept.
        """
        self._dry_run = dry_run
        self._token_cache = directory
        self._acceptor = acceptor
        self._executor = large
        self._memory = room

    async def post(self, request: Request) -> Response:
        """The checks in the order of import-api.md 9.2.

        The token is known before anything is read, so that only its owner can fill memory.
        """
        if is_dry_run(request.scope):
            _, pusher, batches = await self._checked(request, list)
            return await self._dry_run.respond(pusher, batches)
        sent, pusher, kept = await self._checked(request, encode_batches)
        return await self._acceptor.accept(sent, pusher, kept)

    async def _checked(
        self, request: Request, use: Callable[[list[MessageBatch]], T]
    ) -> tuple[ReceivedRequest, TokenOwner, T]:
        """The checks, and what is made of the batches; the body is let go with the end of this."""
        headers = select_headers(request.scope)
        check_declared_length(headers)
        pusher = await self._token_cache.find_owner(read_bearer_token(headers))
        if pusher is None:
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        if not pusher.active:
            raise RequestRefusedError(401, NOT_ACTIVE)
        if read_media_type(headers).lower() != "application/json":
            raise RequestRefusedError(415, WRONG_CONTENT_TYPE)
        body = await self._memory.read(request, headers)
        made = await self._executor.run(len(body), lambda: use(batch.read_body(body)))
        if not await self._token_cache.record_use(pusher):
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        return ReceivedRequest.from_body("batch", headers, body), pusher, made
