"""Sends batches of records to `/v2/import/push`, again and again until each was answered.

A batch carries the sequences its records were given when they were read, so sending one twice, or
two in the wrong order, changes nothing in the table.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx

from treadle.cli.receipt_follower import RECEIPT_HEADER, AcknowledgedRequest
from treadle.cli.record_file import RecordFileError
from treadle.cli.request_batch import PushTemplate, RequestBatch
from treadle.cli.request_retry import RequestRetry, describe_answer
from treadle.config import mask_password
from treadle.errors import OperatorError

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds; the answer comes when the records are on the server's disk, which may have to wait."""


class PushSender:
    """Sends batches, several at the same time.

    Args:
        client: with the base URL and the token.
        form: what all records share.
        retry: how often to send a batch again.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        form: PushTemplate,
        retry: RequestRetry,
    ) -> None:
        self._client = client
        self._form = form
        self._retry = retry

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
            acknowledged: told of each batch that the server has, in order and without a gap.

        Raises:
            OperatorFault, TryLater: as `send` and `batches` do; those under way are given up.
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
            OperatorFault: the server refuses it; the text has its answer and the records.
            TryLater: it could not be sent in the time given.
        """
        body = self._form.encode_body(batch)

        async def push() -> httpx.Response:
            return await self._post("/v2/import/push", body)

        answer = await self._retry.fetch_answer(push, f"{batch.places} could not be sent")
        if not answer.is_success:
            raise await self._make_refusal_error(batch, answer)
        _check_acknowledged(answer)
        return AcknowledgedRequest(answer.headers.get(RECEIPT_HEADER), len(batch.pieces))

    async def _post(self, path: str, body: bytes) -> httpx.Response:
        return await self._client.post(path, content=body)

    async def _make_refusal_error(
        self, batch: RequestBatch, answer: httpx.Response
    ) -> OperatorError:
        """What to say of a batch that is refused, with the record at fault where it can be told."""
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
        """The first record that is refused, found by asking `/v2/import/validate` about halves.

        Answers do not say which record they mean (import-api.md 7.3), and `validate` keeps nothing.
        A dozen requests find one record among thousands.
        """
        while len(batch.pieces) > 1:
            first = batch.split_half(second=False)
            second = batch.split_half(second=True)
            for part in (first, second):
                try:
                    found = await self._post("/v2/import/validate", self._form.encode_body(part))
                except httpx.RequestError:
                    return batch, answer
                if found.status_code in (400, 413, 422):
                    batch, answer = part, found
                    break
            else:
                return batch, answer
        return batch, answer


def _check_acknowledged(answer: httpx.Response) -> None:
    """Make sure that it was an Import API that said yes (import-api.md 7.4)."""
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
