"""Sends batches of records to `/v2/import/push`, again and again until each was answered.

A batch carries the sequences its records were given when they were read, so sending one twice, or
two in the wrong order, changes nothing in the table.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx

from treadle.cli.batch import Batch, Form
from treadle.cli.feed import FeedFault
from treadle.config import without_password
from treadle.errors import OperatorFault, TryLater

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds; the answer comes when the records are on the server's disk, which may have to wait."""

WAIT_SECONDS_FIRST = 0.25
WAIT_SECONDS_MAX = 15.0


class Sender:
    """Sends batches, several at the same time.

    Args:
        client: with the base URL and the token.
        form: what all records share.
        retry_seconds: how long to try one batch.
        waiting: told why, each time a batch has to wait, and None when it goes on.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        form: Form,
        retry_seconds: float,
        waiting: Callable[[str | None], None],
    ) -> None:
        self._client = client
        self._url = without_password(str(client.base_url))
        self._form = form
        self._retry_seconds = retry_seconds
        self._waiting = waiting

    async def send_all(
        self,
        batches: AsyncIterator[Batch],
        connections: int,
        acknowledged: Callable[[Batch], None],
    ) -> None:
        """Send every batch, `connections` at the same time.

        Args:
            batches: in order.
            connections: how many requests may be under way.
            acknowledged: told of each batch that the server has, in order and without a gap.

        Raises:
            OperatorFault, TryLater: as `send` and `batches` do; those under way are given up.
        """
        under_way: deque[tuple[Batch, asyncio.Task[None]]] = deque()

        async def finish_oldest() -> None:
            batch, task = under_way[0]
            await task
            under_way.popleft()
            acknowledged(batch)

        fault: OperatorFault | None = None
        try:
            try:
                async for batch in batches:
                    if len(under_way) >= connections:
                        await finish_oldest()
                    under_way.append((batch, asyncio.create_task(self.send(batch))))
            except FeedFault as error:
                fault = error
            while under_way:
                await finish_oldest()
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        if fault is not None:
            raise fault

    async def send(self, batch: Batch) -> None:
        """Send until the server has the batch.

        Raises:
            OperatorFault: the server refuses it; the text has its answer and the records.
            TryLater: it could not be sent in the time given.
        """
        body = self._form.body(batch)
        until = time.monotonic() + self._retry_seconds
        wait = WAIT_SECONDS_FIRST
        waited = False
        while True:
            least = 0.0
            try:
                answer = await self._post("/v2/import/push", body)
            except httpx.RequestError as error:
                trouble = f"{self._url} cannot be reached ({_told(error)})"
            else:
                if answer.is_success:
                    _acknowledged(answer)
                    if waited:
                        self._waiting(None)
                    return
                if answer.status_code != 429 and answer.status_code < 500:
                    raise await self._refusal(batch, answer)
                trouble = f"{self._url} answers {_shown(answer)}"
                least = _retry_after(answer)
            left = until - time.monotonic()
            if left <= 0:
                raise TryLater(
                    f"{batch.places} could not be sent within {self._retry_seconds:g} seconds: "
                    f"{trouble}."
                )
            waited = True
            self._waiting(trouble)
            # Jitter, so that connections do not come back all at once.
            pause = max(least, wait * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
            await asyncio.sleep(min(pause, left))
            wait = min(wait * 2, WAIT_SECONDS_MAX)

    async def _post(self, path: str, body: bytes) -> httpx.Response:
        return await self._client.post(path, content=body)

    async def _refusal(self, batch: Batch, answer: httpx.Response) -> OperatorFault:
        """What to say of a batch that is refused, with the record at fault where it can be told."""
        if answer.status_code in (400, 413, 422) and len(batch.pieces) > 1:
            batch, answer = await self._narrowed(batch, answer)
        return OperatorFault(
            f"The server refuses the records at {batch.places}: {_shown(answer)}"
            if len(batch.pieces) > 1
            else f"The server refuses the record at {batch.places}: {_shown(answer)}"
        )

    async def _narrowed(self, batch: Batch, answer: httpx.Response) -> tuple[Batch, httpx.Response]:
        """The first record that is refused, found by asking `/v2/import/validate` about halves.

        Answers do not say which record they mean (import-api.md 7.3), and `validate` keeps nothing.
        A dozen requests find one record among thousands.
        """
        while len(batch.pieces) > 1:
            first = batch.half(second=False)
            second = batch.half(second=True)
            for part in (first, second):
                try:
                    found = await self._post("/v2/import/validate", self._form.body(part))
                except httpx.RequestError:
                    return batch, answer
                if found.status_code in (400, 413, 422):
                    batch, answer = part, found
                    break
            else:
                return batch, answer
        return batch, answer


def _acknowledged(answer: httpx.Response) -> None:
    """Make sure that it was an Import API that said yes (import-api.md 7.4)."""
    try:
        status = answer.json()["status"]
    except (ValueError, KeyError, TypeError):
        status = None
    if status not in ("OK", "Accepted"):
        url = without_password(str(answer.url))
        raise OperatorFault(
            f"{url} answers {answer.status_code} without acknowledging the records; "
            "is it the URL of a treadle server?"
        )


def _shown(answer: httpx.Response) -> str:
    """The status and the beginning of the body, on one line."""
    text = " ".join(answer.text.split())
    if len(text) > 500:
        text = text[:500] + "..."
    return f"{answer.status_code} {text}".strip()


def _told(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__


def _retry_after(answer: httpx.Response) -> float:
    """Seconds the server asks to wait; 0 where it does not, or gives a date."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
