"""`GET /v1/ready`: whether a load balancer is to send requests here.

`/readyz` says how the server is, for people and monitors. This one says which member to ask now: it
turns to 503 the moment the member is told to stop, and a few seconds after the log or the store
fell silent, long before requests that are held are given up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import TreadleError
from treadle.http.responses import JsonResponse
from treadle.http.stop_notice import StopNotice
from treadle.ingest.endpoint import RETRY_AFTER_SECONDS

MEMBER_READY_PATH: Final = "/v1/ready"

ASK_SECONDS: Final = 1.0
"""An answer is kept this long: balancers may ask as often as they like."""

WAIT_SECONDS: Final = 0.5
"""A balancer waits this long for a question that is under way."""

SILENCE_SECONDS: Final = 5.0
"""Who has not answered for longer counts as away."""

STOPPING: Final = "this member is stopping"

ObstacleFinder = Callable[[], Awaitable[str | None]]
"""Returns why a part cannot be used now; None where it can."""


def judge_part(name: str, said: str | None, asked_at: float | None, now: float) -> str | None:
    """Return why a part cannot be used now; None where it can.

    Args:
        name: of the part, as in "the log".
        said: the obstacle that its last answer named; None for none.
        asked_at: when the question began that is not answered yet; None where all are.
        now: by the same clock, seconds.
    """
    if asked_at is not None and now - asked_at > SILENCE_SECONDS:
        return f"{name} has not answered for {now - asked_at:.0f} s"
    return said


def watch_silence(name: str, find_silence: Callable[[], float]) -> ObstacleFinder:
    """Make what finds out whether a part answers that is asked all the time.

    Args:
        name: of the part, as in "the log".
        find_silence: returns for how many seconds it has not answered; does not block.
    """

    async def find_obstacle() -> str | None:
        silence = find_silence()
        if silence <= SILENCE_SECONDS:
            return None
        return f"{name} has not answered for {silence:.0f} s"

    return find_obstacle


class PartProbe:
    """Asks a part of the installation how it is, while somebody wants to know; one question a time.

    It belongs to one event loop. The question is asked in a thread of its own, so that a part that
    does not answer holds up nothing else.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], str | None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet; until the first answer the part counts as one that can be used.

        Args:
            name: of the part, as in "the log".
            ask: returns why it cannot be used; None where it can. Blocks. An error means that it
                cannot; its text is not told, since anybody may ask.
            monotonic: seconds.
        """
        self._name = name
        self._ask = ask
        self._monotonic = monotonic
        self._said: str | None = None
        self._answered_at: float | None = None
        self._asked_at: float | None = None
        self._question: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"probe {name}")

    async def find_obstacle(self) -> str | None:
        """Return why the part cannot be used now; None where it can. Waits WAIT_SECONDS at most."""
        now = self._monotonic()
        if self._answered_at is None or now - self._answered_at >= ASK_SECONDS:
            if self._question is None:
                self._asked_at = now
                loop = asyncio.get_running_loop()
                self._question = loop.run_in_executor(self._thread, self._put_question)
                self._question.add_done_callback(self._note_answer)
            await asyncio.wait((self._question,), timeout=WAIT_SECONDS)
        return judge_part(self._name, self._said, self._asked_at, self._monotonic())

    def close(self) -> None:
        """End the thread; a question that is under way is given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _put_question(self) -> None:
        try:
            self._said = self._ask()
        except TreadleError:
            self._said = f"{self._name} cannot be used now"

    def _note_answer(self, answered: "asyncio.Future[None]") -> None:
        self._question = None
        self._asked_at = None
        if answered.cancelled():
            return
        self._answered_at = self._monotonic()
        error = answered.exception()
        if error is not None:
            self._said = f"{self._name} cannot be used now"
            raise error  # a defect: the event loop logs it


class MemberReadiness:
    """Answers load balancers, for each role of the member.

    Args:
        parts: role -> what it needs, in the order in which obstacles are told. The first role is
            meant where a balancer names none.
        notice: announced when the member is told to stop.
        others: words of roles that this member does not have.
    """

    def __init__(
        self,
        parts: Mapping[str, Sequence[ObstacleFinder]],
        notice: StopNotice,
        others: Sequence[str] = (),
    ) -> None:
        self._parts = parts
        self._notice = notice
        self._others = others

    async def get(self, request: Request) -> Response:
        """Answer 200 while requests are to be sent here, 503 while not, with the reason."""
        wanted = request.query_params.get("role")
        known = [*self._parts, *self._others]
        if wanted is not None and wanted not in known:
            return JsonResponse({"message": f"role is to be {' or '.join(known)}"}, 400)
        reason = await self.find_obstacle(wanted)
        body = {
            "status": "ready" if reason is None else "not ready",
            "reason": reason,
            "roles": list(self._parts),
        }
        headers = {"Cache-Control": "no-store"}
        if reason is not None:
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return JsonResponse(body, 200 if reason is None else 503, headers)

    async def find_obstacle(self, role: str | None = None) -> str | None:
        """Return why no requests are to be sent here; None where they are.

        Args:
            role: whose requests; None for those of the first one.
        """
        if self._notice.announced:
            return STOPPING
        wanted = next(iter(self._parts)) if role is None else role
        if wanted not in self._parts:
            return f"this member does not have the role {wanted}"
        for find in self._parts[wanted]:
            obstacle = await find()
            if obstacle is not None:
                return obstacle
        return None
