"""`POST /v2/import/push` and `POST /v2/import/validate` (import-api.md 7, 8)."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import InternalError, OperatorError, RequestRefusedError, RetriableError
from treadle.http.body_reader import (
    JsonResponse,
    read_bearer_token,
    read_media_type,
    select_headers,
)
from treadle.ingest.acceptance import BatchAcceptor, ReceivedRequest, encode_batches
from treadle.ingest.body_executor import BodyExecutor
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.dry_run import DryRunPlanner, is_dry_run
from treadle.ingest.endpoint import NOT_ACTIVE, TIMEOUT
from treadle.ingest.token_cache import TokenCache
from treadle.records import push
from treadle.records.message_batch import MessageBatch
from treadle.store.model import TokenOwner

T = TypeVar("T")

VALID_BODY = {"status": "OK", "message": "Batch is valid!"}

JSON_TYPE = "application/json"
TRANSIT_TYPE = "application/transit+json"

TRANSIT_WEIGHT = 25
"""How much longer than JSON a byte of Transit takes: 120 ms instead of 5 ms a megabyte."""


class PushEndpoint:
    """Both endpoints: what they check is the same."""

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

    async def push(self, request: Request) -> Response:
        """Accept the records, or plan them."""
        if is_dry_run(request.scope):
            _, pusher, batches = await self._checked(request, list)
            await self._record_use(pusher)
            return await self._dry_run.respond(pusher, batches)
        sent, pusher, kept = await self._checked(request, encode_batches)
        await self._record_use(pusher)
        return await self._acceptor.accept(sent, pusher, kept)

    async def validate(self, request: Request) -> Response:
        """Say what `push` would, and keep nothing; works while store and log do not (8)."""
        try:
            _, pusher, _ = await self._checked(request, len)
        except (RetriableError, OperatorError) as error:
            raise RequestRefusedError(
                504, TIMEOUT
            ) from error  # never 503; only a new token comes here
        with contextlib.suppress(RetriableError, OperatorError):
            await self._record_use(pusher)
        return JsonResponse(VALID_BODY)

    async def _record_use(self, pusher: TokenOwner) -> None:
        if not await self._token_cache.record_use(pusher):
            raise RequestRefusedError(401, push.NOT_AUTHENTICATED)

    async def _checked(
        self, request: Request, use: Callable[[list[MessageBatch]], T]
    ) -> tuple[ReceivedRequest, TokenOwner, T]:
        """The checks in the order of import-api.md 7.2, and what is made of the batches.

        The body is let go with the end of this.
        """
        headers = select_headers(request.scope)
        body = await self._memory.read(request, headers)
        transit = is_transit(headers)
        pusher = await self._token_cache.find_owner(read_bearer_token(headers))
        weight = len(body) * (TRANSIT_WEIGHT if transit else 1)
        made = await self._executor.run(weight, lambda: use(check_push(body, transit, pusher)))
        if pusher is None:
            raise InternalError("a push without a known token passed its checks")
        target = TRANSIT_TYPE if transit else JSON_TYPE
        return ReceivedRequest.from_body(f"push {target}", headers, body), pusher, made


def check_push(body: bytes, transit: bool, pusher: TokenOwner | None) -> list[MessageBatch]:
    """Steps 4 to 10 of import-api.md 7.2: what the body says, then whether its sender may say it.

    Args:
        body: as received, inflated.
        transit: it is Transit and not JSON.
        pusher: whom the token belongs to; None when it is unknown.

    Raises:
        Refused: with the answer of the first step that fails.
    """
    parsed = push.decode_body(body, transit=transit)
    if pusher is None:
        raise RequestRefusedError(401, push.NOT_AUTHENTICATED)
    if not pusher.active:
        raise RequestRefusedError(401, NOT_ACTIVE)
    return push.check_body(parsed, pusher.account_id)


def is_transit(headers: Mapping[str, str]) -> bool:
    """Whether the body is Transit and not JSON.

    Raises:
        Refused: 415, it is neither.
    """
    sent = read_media_type(headers)
    name = sent.lower()
    if name not in (JSON_TYPE, TRANSIT_TYPE):
        message = f"Unsupported content-type {sent}. Please send {JSON_TYPE} or {TRANSIT_TYPE}"
        raise RequestRefusedError(415, {"status": "ERROR", "message": message})
    return name == TRANSIT_TYPE
