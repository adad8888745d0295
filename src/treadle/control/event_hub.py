"""Streams of events: one look a second serves all streams of a worker."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from treadle.control.event_readings import EventCursor, EventReadings, decode_cursor
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.model import Account

"""Key of the hub in the application's state, by which the server ends its streams."""

STREAMS_MAX: Final = 20
"""Most streams of a worker."""

LOOK_SECONDS: Final = 1.0
PROBLEM_SECONDS: Final = 5.0
"""Time between two looks for problems."""

HEARTBEAT_SECONDS: Final = 15.0
LIFE_SECONDS: Final = 240.0
"""How long a stream lasts: less than the server lets an answer take. Its client opens another one,
which goes on where this one ended."""

EVENTS_WAITING_MAX: Final = 100
"""Events that wait for a client; the oldest is forgotten first."""

TOO_MANY: Final = {
    "message": f"This server has {STREAMS_MAX} streams of events already. Ask for /v1/status every "
    "ten seconds, or try again later."
}
HEARTBEAT: Final = b": still here\n\n"
BEGIN: Final = b"retry: 1000\n\n"

logger = logging.getLogger(__name__)

T = TypeVar("T")


def format_event(topic: str, data: object, event_id: str) -> bytes:
    """Return an event as it is sent."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        event_id.encode(),
        topic.encode(),
        encode_json(data),
    )


@dataclass(slots=True, eq=False)
class EventStream:
    """One stream.

    Attributes:
        account: whose events it has.
        token_id: it ends with this token.
        topics: that it has.
    """

    account: Account
    token_id: int
    topics: frozenset[str]
    _waiting: asyncio.Queue[bytes | None] = field(
        default_factory=lambda: asyncio.Queue(EVENTS_WAITING_MAX)
    )
    _is_ended: bool = False

    def send(self, event: bytes | None) -> None:
        """Send an event; None ends the stream after those that wait."""
        if self._is_ended:
            return
        self._is_ended = event is None
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(event)

    async def iterate(self) -> AsyncIterator[bytes]:
        """Yield what is sent, and a sign of life when nothing is."""
        until = time.monotonic() + LIFE_SECONDS
        yield BEGIN
        while time.monotonic() < until:
            try:
                event = await asyncio.wait_for(self._waiting.get(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield HEARTBEAT
                continue
            if event is None:
                return
            yield event


class EventHub:
    """The streams of one worker. It looks at nothing while there is none.

    Args:
        readings: reads what happened, in a thread of this hub.
        monotonic: seconds.
    """

    def __init__(
        self, readings: EventReadings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._readings = readings
        self._monotonic = monotonic
        self._streams: set[EventStream] = set()
        self._cursor: EventCursor | None = None
        self._task: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._problems_at = -PROBLEM_SECONDS
        self._is_failing = False
        self._is_ended = False

    async def open(
        self, account: Account, token_id: int, topics: Collection[str], last_id: str | None
    ) -> EventStream:
        """Open a stream.

        Args:
            account: whose events it has.
            token_id: it ends with this token.
            topics: that it has.
            last_id: id of the last event that its client got; it is told what came after it, as
                far as that is kept. None for a client that begins.

        Raises:
            RequestRefusedError: 503, there are as many as there may be, or the server stops.
            RetriableError: the store or the log is not available now.
        """
        if self._is_ended or len(self._streams) >= STREAMS_MAX:
            raise RequestRefusedError(503, TOO_MANY, (("Retry-After", "10"),))
        stream = EventStream(account, token_id, frozenset(topics))
        self._streams.add(stream)
        try:
            async with self._beginning:
                if self._cursor is None:
                    self._cursor = await self._run(self._readings.begin)
                    self._task = asyncio.create_task(self._look_again_and_again())
                present = self._cursor
            await self._run(lambda: self._readings.renew(account.id))
            since = None if last_id is None else decode_cursor(last_id)
            if since is not None:
                await self._tell_missed(stream, since, present)
        except BaseException:
            self.close(stream)
            raise
        return stream

    def close(self, stream: EventStream) -> None:
        """Forget a stream that is over."""
        self._streams.discard(stream)

    def end(self) -> None:
        """End all streams, and open no more: the server stops."""
        self._is_ended = True
        for stream in self._streams:
            stream.send(None)

    async def aclose(self) -> None:
        """End everything."""
        self.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._run(self._readings.close)
        self._thread.shutdown()

    async def _run(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    async def _tell_missed(
        self, stream: EventStream, since: EventCursor, until: EventCursor
    ) -> None:
        listening = {stream.account.id: (stream.account, stream.topics)}
        found, reached = await self._run(lambda: self._readings.read(since, listening, until))
        for topic, data in found[stream.account.id]:
            stream.send(format_event(topic, data, reached.encode()))

    async def _look_again_and_again(self) -> None:
        while self._streams and not self._is_ended:
            began = self._monotonic()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
                if not self._is_failing:
                    logger.warning("events cannot be read and are told later: %s", error)
                self._is_failing = True
            else:
                self._is_failing = False
            # A look that takes long is followed by a pause as long: it never has more than half.
            took = self._monotonic() - began
            await asyncio.sleep(max(LOOK_SECONDS - took, took))
        self._cursor = self._task = None

    async def _look(self) -> None:
        cursor = self._cursor
        if cursor is None:
            return
        streams = list(self._streams)
        listening: dict[int, tuple[Account, set[str]]] = {}
        for stream in streams:
            _, topics = listening.setdefault(stream.account.id, (stream.account, set()))
            topics |= stream.topics
        looks_for_problems = self._monotonic() - self._problems_at >= PROBLEM_SECONDS
        if looks_for_problems:
            self._problems_at = self._monotonic()

        def read() -> tuple[set[int], dict[int, list[tuple[str, dict[str, Any]]]], EventCursor]:
            ended = self._readings.list_ended({one.token_id for one in streams})
            found, reached = self._readings.read(cursor, listening)
            self._readings.forget(listening)
            for account_id, (account, topics) in listening.items():
                if "status" in topics:
                    _add(found[account_id], "status", self._readings.read_status(account))
                if "problem" in topics and looks_for_problems:
                    _add(found[account_id], "problem", self._readings.read_problems(account))
            return ended, found, reached

        ended, found, reached = await self._run(read)
        self._cursor = reached
        for stream in streams:
            if stream.token_id in ended:
                stream.send(None)
        for account_id, events in found.items():
            for topic, data in events:
                event = format_event(topic, data, reached.encode())
                for stream in streams:
                    if stream.account.id == account_id and topic in stream.topics:
                        stream.send(event)


def _add(events: list[tuple[str, dict[str, Any]]], topic: str, data: dict[str, Any] | None) -> None:
    if data is not None:
        events.append((topic, data))
