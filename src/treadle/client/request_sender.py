"""Sends batches of records, and repeats each until it is answered.

The records of a batch have their sequences, and the batch has an idempotency key. So to send a
batch twice, or two in the wrong order, changes nothing in the table.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import httpx

from treadle.client.receipt_follower import RECEIPT_HEADER, AcknowledgedRequest
from treadle.client.request_batch import BodyTemplate, RequestBatch, capitalize
from treadle.client.request_retry import RequestRetry, describe_answer
from treadle.errors import OperatorError

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""In seconds. The server answers when the records are on its disk, which may take a while."""

_REFUSALS: Final = (400, 413, 422)
"""Statuses of an answer that is about the records."""

_NAMED_RECORD = re.compile(r"\bRecord (\d+)\b")
"""How a refused batch names its record, from 0 (import-api.md 10.3)."""


class PushRefusedError(OperatorError):
    """The server refuses records, or the token.

    Attributes:
        status: of the answer.
        place: the number of the refused record in its file, from 1; None if it is not known.
    """

    def __init__(self, text: str, status: int, place: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.place = place


@dataclass(frozen=True, slots=True)
class RequestSender:
    """Sends batches, several at the same time.

    Attributes:
        client: with the base URL and the token.
        retry: repeats a request.
        push_id: begins the idempotency keys of the batches; empty for no keys.
    """

    client: httpx.AsyncClient
    retry: RequestRetry
    push_id: str = ""

    async def send_all(
        self,
        batches: AsyncIterator[RequestBatch],
        choose_form: Callable[[RequestBatch], BodyTemplate],
        connections: int,
        acknowledged: Callable[[RequestBatch, AcknowledgedRequest], None],
    ) -> None:
        """Send every batch, `connections` at the same time.

        Args:
            batches: in order. If it raises OperatorError, the batches before are sent first.
            choose_form: returns what makes the body of a batch.
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
            while True:
                try:
                    batch = await anext(batches)
                except StopAsyncIteration:
                    break
                except OperatorError as error:
                    fault = error
                    break
                if len(under_way) >= connections:
                    await finish_oldest()
                task = asyncio.create_task(self.send(batch, choose_form(batch)))
                under_way.append((batch, task))
            while under_way:
                await finish_oldest()
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        if fault is not None:
            raise fault

    async def send(self, batch: RequestBatch, form: BodyTemplate) -> AcknowledgedRequest:
        """Send until the server has the batch.

        Raises:
            PushRefusedError: the server refuses the batch; the text has its answer and the place.
            OperatorError: what answers is no treadle server.
            RetriableError: the batch could not be sent in the time given.
        """
        key = f"{self.push_id}-{batch.start}" if self.push_id else ""
        answer = await self._post_repeatedly(form.path, form.encode_body(batch), key, batch.places)
        if not answer.is_success:
            raise await self._make_refusal_error(batch, form, answer)
        self._check_acknowledged(answer, form.path)
        return AcknowledgedRequest(answer.headers.get(RECEIPT_HEADER), len(batch))

    async def send_body(self, path: str, body: bytes, key: str, what: str) -> AcknowledgedRequest:
        """Send a body that holds no record until the server has it.

        Args:
            path: that it goes to.
            body: as the path takes it.
            key: idempotency key.
            what: names it in a message.

        Raises:
            PushRefusedError, OperatorError, RetriableError: as `send`.
        """
        answer = await self._post_repeatedly(path, body, key, what)
        if not answer.is_success:
            raise PushRefusedError(
                f"The server refuses {what}: {describe_answer(answer)}", answer.status_code
            )
        self._check_acknowledged(answer, path)
        return AcknowledgedRequest(answer.headers.get(RECEIPT_HEADER), 0)

    async def _post_repeatedly(self, path: str, body: bytes, key: str, what: str) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else None

        async def push() -> httpx.Response:
            return await self.client.post(path, content=body, headers=headers)

        failed = f"{capitalize(what)} could not be sent"
        return await self.retry.fetch_answer(push, failed, self.client)

    async def _make_refusal_error(
        self, batch: RequestBatch, form: BodyTemplate, answer: httpx.Response
    ) -> PushRefusedError:
        """Make the error for a refused batch, with the record at fault if it can be found."""
        if answer.status_code in _REFUSALS and len(batch) > 1:
            named = _NAMED_RECORD.search(answer.text)
            index = None if named is None else int(named[1])
            if form.validation_path is not None:
                batch, answer = await self._narrow_down(batch, form, answer)
            elif index is not None and index < len(batch):
                batch = batch.select(index, index + 1)
        place = batch.first if len(batch) == 1 else None
        return PushRefusedError(
            f"The server refuses {batch.places}: {describe_answer(answer)}",
            answer.status_code,
            place,
        )

    async def _narrow_down(
        self, batch: RequestBatch, form: BodyTemplate, answer: httpx.Response
    ) -> tuple[RequestBatch, httpx.Response]:
        """Find the first refused record by asking the validation path about halves.

        An answer does not say which record it means (import-api.md 7.3). Nothing is kept of what is
        asked, and a dozen requests find one record among thousands.
        """
        path = form.validation_path
        while path is not None and len(batch) > 1:
            middle = len(batch) // 2
            for part in (batch.select(0, middle), batch.select(middle, len(batch))):
                try:
                    found = await self.client.post(path, content=form.encode_body(part))
                except httpx.RequestError:
                    return batch, answer
                if found.status_code in _REFUSALS:
                    batch, answer = part, found
                    break
            else:
                return batch, answer
        return batch, answer

    def _check_acknowledged(self, answer: httpx.Response, path: str) -> None:
        """Check that the answer is one of the Import API (import-api.md 7.4)."""
        try:
            status = answer.json()["status"]
        except (ValueError, KeyError, TypeError):
            status = None
        if status not in ("OK", "Accepted"):
            raise OperatorError(
                f"{self.retry.url}{path} answers {answer.status_code} without "
                "acknowledging the records; is it the URL of a treadle server?"
            )
