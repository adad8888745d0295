"""`POST /v2/import/batch` (import-api.md 9)."""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from treadle.http.headers import select_headers
from treadle.ingest.acknowledgement import BatchAcceptor, ReceivedRequest, encode_batches
from treadle.ingest.admission import RequestAdmission, check_json_type
from treadle.ingest.dry_run import DryRunPlanner, is_dry_run
from treadle.records import batch
from treadle.records.message_batch import MessageBatch
from treadle.store.model import TokenOwner

T = TypeVar("T")


class BatchEndpoint:
    """Accepts the messages of one table with their schema."""

    def __init__(
        self,
        admission: RequestAdmission,
        acceptor: BatchAcceptor,
        dry_run: DryRunPlanner,
    ) -> None:
        """Serve the owners of import tokens.

        Args:
            admission: checks requests.
            acceptor: makes batches durable.
            dry_run: plans what is not to be kept.
        """
        self._admission = admission
        self._acceptor = acceptor
        self._dry_run = dry_run

    async def post(self, request: Request) -> Response:
        """Accept the messages, or plan them; the checks have the order of import-api.md 9.2.

        The token is checked before anything is read, so that only its owner can fill memory.
        """
        if is_dry_run(request.scope):
            _, owner, batches = await self._checked(request, list)
            return await self._dry_run.respond(owner, batches)
        sent, owner, kept = await self._checked(request, encode_batches)
        return await self._acceptor.accept(sent, owner, kept)

    async def _checked(
        self, request: Request, use: Callable[[list[MessageBatch]], T]
    ) -> tuple[ReceivedRequest, TokenOwner, T]:
        """Check a request, and use its batches.

        The body is local to this function: its memory is free when this returns.
        """
        headers = select_headers(request.scope)
        owner = await self._admission.admit_first(headers)
        check_json_type(headers)
        body = await self._admission.read_body(request, headers)
        made = await self._admission.decode_body(len(body), lambda: use(batch.read_body(body)))
        await self._admission.record_use(owner)
        return ReceivedRequest.from_body("batch", headers, body), owner, made
