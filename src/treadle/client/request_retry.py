"""Repeats a request until the server gives an answer that a repetition would not change."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import httpx

from treadle.client.connection_fault import (
    describe_fault,
    explain_unauthorized,
    find_lasting_fault,
)
from treadle.errors import OperatorError, RetriableError

WAIT_SECONDS_FIRST = 0.25
WAIT_SECONDS_MAX = 15.0
STATUS_SECONDS_MAX = 5.0
TEXT_MAX = 500
"""Characters of an answer that a message has."""

_REPEATED = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)
"""Answers below 500 that may be others later: the body came too slowly, or a quota is used up."""


class RequestRetry:
    """Repeats requests for a time.

    Attributes:
        url: of the server, for messages.
        seconds: how long to repeat one request.
        waiting: told why, each time a request has to wait, and None when it goes on.
    """

    def __init__(self, url: str, seconds: float, waiting: Callable[[str | None], None]) -> None:
        self.url = url
        self.seconds = seconds
        self.on_waiting = waiting

    async def fetch_answer(
        self,
        ask: Callable[[], Awaitable[httpx.Response]],
        failed: str,
        client: httpx.AsyncClient | None = None,
    ) -> httpx.Response:
        """Return the first answer that is neither 408, 429 nor 5xx.

        Args:
            ask: sends the request.
            failed: the beginning of the error text: "Line 1 could not be sent".
            client: asks the server why it answers 503, which the answer does not say; None not to.

        Raises:
            OperatorError: no repetition would help: the certificate or the token is wrong.
            RetriableError: there was no such answer in the time given.
        """
        until = time.monotonic() + self.seconds
        wait = WAIT_SECONDS_FIRST
        waited = False
        while True:
            least = 0.0
            try:
                answer = await ask()
            except httpx.RequestError as error:
                fault = find_lasting_fault(error, self.url)
                if fault is not None:
                    raise OperatorError(f"{failed}: {fault}") from error
                trouble = f"{self.url} cannot be reached ({describe_fault(error)})"
            else:
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    told = f"{self.url} answers {describe_answer(answer)}"
                    raise OperatorError(f"{failed}: {explain_unauthorized(told)}")
                if answer.status_code < 500 and answer.status_code not in _REPEATED:
                    if waited:
                        self.on_waiting(None)
                    return answer
                trouble = f"{self.url} answers {describe_answer(answer)}"
                least = _parse_retry_after(answer)
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and client is not None:
                    reason = await _ask_reason(client)
                    trouble += f"; its status says: {reason}" if reason else ""
            left = until - time.monotonic()
            if left <= 0:
                raise RetriableError(f"{failed} within {self.seconds:g} seconds: {trouble}.")
            waited = True
            self.on_waiting(trouble)
            # With jitter, so that connections do not all repeat at the same moment.
            pause = max(least, wait * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
            await asyncio.sleep(min(pause, left))
            wait = min(wait * 2, WAIT_SECONDS_MAX)


async def _ask_reason(client: httpx.AsyncClient) -> str | None:
    """Return why a server takes no data (import-api.md 6); None if it does not say."""
    try:
        answer = await client.get("/v2/import/status", timeout=STATUS_SECONDS_MAX)
        found = answer.json()
    except (httpx.RequestError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("status") != "ERROR":
        return None
    reason = found.get("reason")
    return _shorten(reason) if isinstance(reason, str) else None


def _shorten(text: str) -> str:
    """Return a text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_MAX else line[:TEXT_MAX] + "..."


def describe_answer(answer: httpx.Response) -> str:
    """Return the status and the beginning of the body on one line."""
    return f"{answer.status_code} {_shorten(answer.text)}".strip()


def _parse_retry_after(answer: httpx.Response) -> float:
    """Return the seconds that the server asks to wait; 0 if it does not, or gives a date."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
