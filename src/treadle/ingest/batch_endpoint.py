"""`POST /v2/import/batch` (import-api.md 9)."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from treadle.http.headers import select_headers
from treadle.ingest.acknowledgement import (
    BatchAcceptor,
    EncodedBatch,
    ReceivedRequest,
    encode_batches,
)
from treadle.ingest.admission import RequestAdmission, check_json_type
from treadle.ingest.client_watch import finish_unless_left
from treadle.ingest.dry_run import DryRunPlanner, is_dry_run
from treadle.records import batch
from treadle.records.message_batch import decode_batch
from treadle.records.validation.effort import EffortSpentError
from treadle.store.model import TokenOwner
from treadle.tasks.task_process import TaskLimitError

READER = "treadle.records.batch:encode_body"
"""Reads a body in a task process."""

SHARED_BYTES_MAX = 4 * 1024 * 1024
"""A longer body is read in a task process at once: one call of the decoder, which holds the
interpreter lock, could take more than 50 ms."""


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
        planned = is_dry_run(request.scope)
        sent, owner, kept = await self._checked(request, planned=planned)
        if planned:
            return await self.dry_run.respond(owner, [decode_batch(one.payload) for one in kept])
        return await self.acceptor.accept(sent, owner, kept)

    async def _checked(
        self, request: Request, *, planned: bool
    ) -> tuple[ReceivedRequest, TokenOwner, list[EncodedBatch]]:
        """Check a request, and encode its batches.

        The body is local to this function: its memory is free when this returns.
        """
        headers = select_headers(request.scope)
        owner = await self.admission.admit_first(headers)
        if planned:
            self.dry_run.check_free(owner)
        check_json_type(headers)
        body = await self.admission.budget.read(request, headers, owner.source_id)
        made = await self._read(request, owner, body)
        await self.admission.record_use(request, owner)
        return ReceivedRequest.from_body("batch", headers, body), owner, made

    async def _read(self, request: Request, owner: TokenOwner, body: bytes) -> list[EncodedBatch]:
        """Read a body: here if that surely does not take long, in a task process otherwise."""
        executor = self.admission.executor
        if len(body) <= SHARED_BYTES_MAX:
            try:
                return await executor.run(
                    owner.source_id, len(body), lambda: encode_batches(batch.read_inline(body))
                )
            except EffortSpentError:
                pass
        try:
            encoded = await finish_unless_left(
                request.receive, executor.run_task(owner.source_id, READER, body)
            )
        except TaskLimitError as error:
            raise batch.make_effort_refusal() from error
        return [EncodedBatch(*one) for one in batch.decode_payloads(encoded)]
