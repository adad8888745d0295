"""Sends batches of records to `/v2/import/push`, and repeats each until it is answered.

The records of a batch got their sequences when they were read. So to send a batch twice, or two in
the wrong order, changes nothing in the table.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx

from treadle.cli.receipt_follower import RECEIPT_HEADER, AcknowledgedRequest
from treadle.cli.record_file import RecordFileError
from treadle.cli.request_batch import PushTemplate, RequestBatch
from treadle.cli.request_retry import RequestRetry, describe_answer
from treadle.config import mask_password
from treadle.errors import OperatorError

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""In seconds. The server answers when the records are on its disk, which may take a while."""


@dataclass(frozen=True, slots=True)
class PushSender:
    """Sends batches, several at the same time.

    Attributes:
        client: with the base URL and the token.
        form: what all records share.
        retry: repeats a request.
    """

    client: httpx.AsyncClient
    form: PushTemplate
    retry: RequestRetry

    async def send_all(
        self,
        batches: AsyncIterator[RequestBatch],
        connections: int,
        acknowledged: Callable[[RequestBatch, AcknowledgedRequest], None],
    ) -> None:
        """Send every batch, `connections` at the same time.

        Args:
            batches: in order.
            connections: how many requests may be under way.
            acknowledged: called for each batch that the server has, in order and without a gap.

        Raises:
            OperatorError, RetriableError: raised by `send` or `batches`. Requests under way are
                cancelled.
        """
        under_way: deque[tuple[RequestBatch, asyncio.Task[AcknowledgedRequest]]] = deque()

        async def finish_oldest() -> None:
            batch, task = under_way[0]
            has = await task
            under_way.popleft()
            acknowledged(batch, has)

        fault: OperatorError | None = None
        try:
            try:
                async for batch in batches:
                    if len(under_way) >= connections:
                        await finish_oldest()
                    under_way.append((batch, asyncio.create_task(self.send(batch))))
            except RecordFileError as error:
                fault = error
            while under_way:
                await finish_oldest()
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        if fault is not None:
            raise fault

    async def send(self, batch: RequestBatch) -> AcknowledgedRequest:
        """Send until the server has the batch.

        Raises:
            OperatorError: the server refuses the batch; the text has its answer and the place.
            RetriableError: the batch could not be sent in the time given.
        """
        body = self.form.encode_body(batch)

        async def push() -> httpx.Response:
            return await self._post("/v2/import/push", body)

        answer = await self.retry.fetch_answer(push, f"{batch.places} could not be sent")
        if not answer.is_success:
            raise await self._make_refusal_error(batch, answer)
        _check_acknowledged(answer)
        return AcknowledgedRequest(answer.headers.get(RECEIPT_HEADER), len(batch.pieces))

    async def _post(self, path: str, body: bytes) -> httpx.Response:
        return await self.client.post(path, content=body)

    async def _make_refusal_error(
        self, batch: RequestBatch, answer: httpx.Response
    ) -> OperatorError:
        """Make the error for a refused batch, with the record at fault if it can be found."""
        if answer.status_code in (400, 413, 422) and len(batch.pieces) > 1:
            batch, answer = await self._narrow_down(batch, answer)
        return OperatorError(
            f"The server refuses the records at {batch.places}: {describe_answer(answer)}"
            if len(batch.pieces) > 1
            else f"The server refuses the record at {batch.places}: {describe_answer(answer)}"
        )

    async def _narrow_down(
        self, batch: RequestBatch, answer: httpx.Response
    ) -> tuple[RequestBatch, httpx.Response]:
        """Find the first refused record by asking `/v2/import/validate` about halves.

        An answer does not say which record it means (import-api.md 7.3). `validate` keeps nothing,
        and a dozen requests find one record among thousands.
        """
        while len(batch.pieces) > 1:
            first = batch.split_half(second=False)
            second = batch.split_half(second=True)
            for part in (first, second):
                try:
                    found = await self._post("/v2/import/validate", self.form.encode_body(part))
                except httpx.RequestError:
                    return batch, answer
                if found.status_code in (400, 413, 422):
                    batch, answer = part, found
                    break
            else:
                return batch, answer
        return batch, answer


def _check_acknowledged(answer: httpx.Response) -> None:
    """Check that the answer is one of the Import API (import-api.md 7.4)."""
    try:
        status = answer.json()["status"]
    except (ValueError, KeyError, TypeError):
        status = None
    if status not in ("OK", "Accepted"):
        url = mask_password(str(answer.url))
        raise OperatorError(
            f"{url} answers {answer.status_code} without acknowledging the records; "
            "is it the URL of a treadle server?"
        )
