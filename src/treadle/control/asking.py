"""Asks the desk for a request, and streams what it answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from treadle.questions import refusals
from treadle.questions.client import DeskAnswer, DeskCall, DeskClient, PlannedQuestion
from treadle.questions.orders import AnswerFormat

CALLS_MAX: Final = 8
"""Questions of a worker that wait for an answer; more are refused at once. Each has a thread."""

ANSWERS_MAX: Final = 16
"""Answers of a worker that are being sent; more are refused. Each is a file of up to 64 MB."""

MEDIA_TYPES: Final = {
    AnswerFormat.JSON: "application/json;charset=UTF-8",
    AnswerFormat.CSV: "text/csv;charset=UTF-8",
    AnswerFormat.CSV_SAFE: "text/csv;charset=UTF-8",
}


@dataclass(slots=True)
class DeskAsking:
    """Asks the desk, so many questions at once.

    Attributes:
        client: of the desk; None where there is none.
    """

    client: DeskClient | None
    _calls: int = 0
    _sending: set[int] = field(default_factory=set)

    async def ask(self, request: Request, question: PlannedQuestion) -> DeskAnswer:
        """Return the answer to a question, which ends when the client goes away.

        Raises:
            RequestRefusedError: it is refused or fails.
        """
        if self.client is None:
            raise refusals.desk_missing()
        if self._calls >= CALLS_MAX or len(self._sending) >= ANSWERS_MAX:
            raise refusals.desk_busy(CALLS_MAX)
        call = self.client.make_call(question)
        watcher = asyncio.create_task(_abandon_when_gone(request, call))
        self._calls += 1
        try:
            return await anyio.to_thread.run_sync(call.ask, limiter=anyio.CapacityLimiter(1))
        finally:
            self._calls -= 1
            watcher.cancel()

    async def respond(
        self, request: Request, question: PlannedQuestion, format_: AnswerFormat
    ) -> Response:
        """Return the answer to a question as that to a request.

        Raises:
            RequestRefusedError: it is refused or fails.
        """
        answer = await self.ask(request, question)
        return AnswerResponse(answer, question.id, format_, self._sending)


class AnswerResponse(StreamingResponse):
    """Sends the file of an answer, and closes it.

    Args:
        answer: to send.
        question_id: of the question.
        format_: of the file.
        sending: has an entry for each answer that is being sent.
    """

    def __init__(
        self, answer: DeskAnswer, question_id: str, format_: AnswerFormat, sending: set[int]
    ) -> None:
        headers = {
            "Content-Length": str(answer.size),
            "Treadle-Query-Id": question_id,
            "Treadle-Row-Count": str(answer.note.rows),
            "Treadle-Truncated": "true" if answer.note.truncated else "false",
        }
        if format_ is not AnswerFormat.JSON:
            headers["Content-Disposition"] = f'attachment; filename="{question_id}.csv"'
        super().__init__(_read_chunks(answer), headers=headers, media_type=MEDIA_TYPES[format_])
        self._answer = answer
        self._sending = sending
        sending.add(id(self))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; close the file however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sending.discard(id(self))
            self._answer.file.close()


async def _read_chunks(answer: DeskAnswer) -> AsyncIterator[bytes]:
    # The file was written a moment ago, so it is in memory and reading it waits for no disk.
    for chunk in answer.read_chunks():
        yield chunk


async def _abandon_when_gone(request: Request, call: DeskCall) -> None:
    """Wait until the client is gone, and end its question."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call.abandon()
