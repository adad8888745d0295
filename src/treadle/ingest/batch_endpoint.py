"""`POST /v2/import/batch` (import-api.md 9)."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class BatchEndpoint:
    """Accepts the messages of one table with their schema."""

    admission: RequestAdmission
    acceptor: BatchAcceptor
    dry_run: DryRunPlanner

    async def post(self, request: Request) -> Response:
        """Accept the messages, or plan them; the checks have the order of import-api.md 9.2.

        The token is checked before anything is read, so that only its owner can fill memory.
        """
        if is_dry_run(request.scope):
            _, owner, batches = await self._checked(request, list)
            return await self.dry_run.respond(owner, batches)
        sent, owner, kept = await self._checked(request, encode_batches)
        return await self.acceptor.accept(sent, owner, kept)

    async def _checked(
        self, request: Request, use: Callable[[list[MessageBatch]], T]
    ) -> tuple[ReceivedRequest, TokenOwner, T]:
        """Check a request, and use its batches.

        The body is local to this function: its memory is free when this returns.
        """
        headers = select_headers(request.scope)
        owner = await self.admission.admit_first(headers)
        check_json_type(headers)
        body = await self.admission.budget.read(request, headers, owner.source_id)
        made = await self.admission.executor.run(len(body), lambda: use(batch.read_body(body)))
        await self.admission.record_use(owner)
        return ReceivedRequest.from_body("batch", headers, body), owner, made
