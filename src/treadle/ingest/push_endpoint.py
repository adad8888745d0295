"""`POST /v2/import/push` and `POST /v2/import/validate` (import-api.md 7, 8)."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import OperatorError, RequestRefusedError, RetriableError, TreadleError
from treadle.http.headers import select_headers
from treadle.http.responses import JsonResponse
from treadle.ingest.acknowledgement import (
    BatchAcceptor,
    ReceivedRequest,
    count_bytes,
    encode_batches,
)
from treadle.ingest.admission import JSON_TYPE, TRANSIT_TYPE, RequestAdmission, is_transit
from treadle.ingest.body_executor import weigh_body
from treadle.ingest.dry_run import DryRunPlanner, is_dry_run
from treadle.ingest.endpoint import NOT_ACTIVE, TIMEOUT
from treadle.ingest.table_schema_check import TableSchemaCheck
from treadle.records import push
from treadle.records.field_check import RecordsRefusedError
from treadle.records.message_batch import MessageBatch
from treadle.step_check import StepCheck
from treadle.store.model import TokenOwner

T = TypeVar("T")

VALID_BODY = {"status": "OK", "message": "Batch is valid!"}

TRANSIT_WEIGHT = 25
"""Factor by which a byte of Transit takes longer than one of JSON: 120 ms a megabyte, not 5."""


@dataclass(frozen=True, slots=True)
class PushEndpoint:
    """Serves both paths: they make the same checks."""

    admission: RequestAdmission
    acceptor: BatchAcceptor
    dry_run: DryRunPlanner
    schemas: TableSchemaCheck

    async def push(self, request: Request) -> Response:
        """Accept the records, or plan them."""
        if is_dry_run(request.scope):
            try:
                _, owner, batches = await self._checked(
                    request, list, keeps=False, admit=self.dry_run.check_free
                )
            except RecordsRefusedError as refused:
                raise refused.name_all_records() from None
            await self._record_use(request, owner)
            return await self.dry_run.respond(owner, batches)
        sent, owner, kept = await self._checked(request, encode_batches)
        self.admission.budget.replace(request, owner.source_id, count_bytes(kept))
        await self._record_use(request, owner)
        return await self.acceptor.accept(sent, owner, kept)

    async def validate(self, request: Request) -> Response:
        """Answer as `push` would, and keep nothing, also while store and log do not work."""
        try:
            _, owner, _ = await self._checked(request, len, keeps=False)
        except (RetriableError, OperatorError) as error:
            # Never 503 here (import-api.md 8); only a token that is not in memory comes this way.
            raise RequestRefusedError(504, TIMEOUT) from error
        with contextlib.suppress(RetriableError, OperatorError):
            await self._record_use(request, owner)
        return JsonResponse(VALID_BODY)

    async def _record_use(self, request: Request, owner: TokenOwner) -> None:
        await self.admission.record_use(request, owner, refusal=push.NOT_AUTHENTICATED)

    async def _checked(
        self,
        request: Request,
        use: Callable[[list[MessageBatch]], T],
        *,
        keeps: bool = True,
        admit: Callable[[TokenOwner], None] = lambda _: None,
    ) -> tuple[ReceivedRequest, TokenOwner, T]:
        """Check a request in the order of import-api.md 7.2, and use its batches.

        The body is local to this function: its memory is free when this returns.

        Args:
            request: its body is not read yet.
            use: makes something of the batches, in the thread that decoded them.
            keeps: the batches go to the log, and count for quotas.
            admit: refuses a source before its body is read.
        """
        headers = select_headers(request.scope)
        owner = await self._find_owner(request, headers)
        if owner.active:
            self.admission.quotas.admit(owner, keeps=keeps)
            admit(owner)
        admission = self.admission
        body = await admission.budget.read(request, headers, owner.source_id)
        transit = is_transit(headers)
        weight = weigh_body(body)
        if transit:
            weight = max(len(body) * TRANSIT_WEIGHT, weigh_body(body, b"["))
        if owner.has_schemas and not transit:
            batches = await admission.decode(
                request, owner, weight, lambda check: check_push(body, transit, owner, check)
            )
            typed = await self.schemas.apply(
                request, owner, batches, lambda: push.locate_records(body)
            )
            made = await admission.executor.run(owner.source_id, weight, use, typed)
        else:
            made = await admission.decode(
                request, owner, weight, lambda check: use(check_push(body, transit, owner, check))
            )
        target = TRANSIT_TYPE if transit else JSON_TYPE
        return ReceivedRequest.from_body(f"push {target}", headers, body), owner, made

    async def _find_owner(self, request: Request, headers: Mapping[str, str]) -> TokenOwner:
        """Return whom the token belongs to.

        Raises:
            RequestRefusedError: 401, or what is wrong with the body of a stranger.
            RetriableError: the token is not in memory and the store cannot be asked.
        """
        refusal: TreadleError = RequestRefusedError(401, push.NOT_AUTHENTICATED)
        try:
            owner = await self.admission.authentication.find_owner(headers)
        except RetriableError as later:
            owner, refusal = None, later
        if owner is None:
            await self.admission.strangers.refuse(
                request,
                headers,
                refusal,
                lambda body: push.decode_body(body, transit=is_transit(headers)),
            )
        return owner


def check_push(
    body: bytes, transit: bool, owner: TokenOwner, check: StepCheck
) -> list[MessageBatch]:
    """Check a body: steps 4 to 10 of import-api.md 7.2.

    What the body says comes first, then whether its sender may say it.

    Args:
        body: as received, inflated.
        transit: it is Transit and not JSON.
        owner: whom the token belongs to.
        check: called between steps.

    Raises:
        RequestRefusedError: with the answer of the first step that fails.
    """
    parsed = push.decode_body(body, transit=transit, check=check)
    if not owner.active:
        raise RequestRefusedError(401, NOT_ACTIVE)
    return push.check_body(parsed, owner.account_id, check=check)
