"""Streams of server-sent events: one sampler for all streams of a worker (console.md B.8).

A stream belongs to a tab, and has the regions that its page shows. A region is sent when it has
changed, once a second at most. Of a region that a slow reader has not taken, the newest counts, so
that a stream has bounded memory. Streams end when their session ends, and when the server stops.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import anyio.to_thread
import msgspec

from treadle.errors import TreadleError
from treadle.http.stop_notice import StopNotice
from treadle.store.model import BrowserSession

STREAMS_MAX: Final = 20
"""Most streams of a worker. Further tabs ask each ten seconds."""

TICK_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 15.0
"""A stream says something at least this often, so that proxies do not take it for dead."""

RECONNECT_MS: Final = 1000

logger: Final = logging.getLogger(__name__)

EndReason = Literal["session", "server"]


@dataclass(slots=True, eq=False)
class LiveStream:
    """One stream.

    Attributes:
        session: that it ends with.
        topics: the regions of its page.
        trouble: why nothing can be read now, as it was told; None while all is well.
        ended: why it ended; None while it goes on.
    """

    session: BrowserSession
    topics: tuple[str, ...]
    trouble: str | None = None
    ended: EndReason | None = None
    _sent: dict[str, str] = field(default_factory=dict)
    _pending: dict[str, str] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, regions: Mapping[str, str]) -> None:
        """Send those regions that have changed since they were sent."""
        for topic, text in regions.items():
            if self._sent.get(topic) != text:
                self._sent[topic] = text
                self._pending[topic] = encode_event("region", {"topic": topic, "html": text})
        if self.trouble is not None:
            self._pending["trouble"] = encode_event("trouble", {"text": None})
            self.trouble = None
        if self._pending:
            self._news.set()

    def tell_trouble(self, text: str) -> None:
        """Say that nothing can be read now."""
        if self.trouble != text:
            self.trouble = text
            self._pending["trouble"] = encode_event("trouble", {"text": text})
            self._news.set()

    def end(self, why: EndReason) -> None:
        """End the stream, once it has said why."""
        self.ended = self.ended or why
        self._news.set()

    async def read(self) -> AsyncIterator[str]:
        """Yield what is to be sent, until the stream ends."""
        yield f"retry: {RECONNECT_MS}\n\n"
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_SECONDS)
            self._news.clear()
            sent, self._pending = "".join(self._pending.values()), {}
            if self.ended is not None:
                yield sent + encode_event("end", {"why": self.ended})
                return
            yield sent or ": still here\n\n"


def encode_event(name: str, value: object) -> str:
    """Return an event with a JSON value as it is sent."""
    return f"event: {name}\ndata: {msgspec.json.encode(value).decode()}\n\n"


LiveSample = Mapping[BrowserSession, Mapping[str, str] | None]
"""Session -> the text of each region that its streams ask for; None where the session has ended."""


class LiveHub:
    """All streams of a worker; used on its event loop only."""

    def __init__(
        self,
        sample: Callable[[Mapping[BrowserSession, Sequence[str]]], LiveSample],
        stop: StopNotice,
        *,
        streams_max: int = STREAMS_MAX,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        """Have no stream yet.

        Args:
            sample: returns the regions that sessions ask for; called in a thread, once for all.
            stop: ends all streams.
            streams_max: most streams.
            tick_seconds: time from one sample to the next.
        """
        self._sample = sample
        self._streams_max = streams_max
        self._tick_seconds = tick_seconds
        self._streams: set[LiveStream] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False
        self._stop = stop
        stop.add_listener(self._end_all)

    def open_stream(self, session: BrowserSession, topics: tuple[str, ...]) -> LiveStream | None:
        """Return a new stream; None where there are as many as there may be."""
        if len(self._streams) >= self._streams_max or self._stop.announced:
            return None
        stream = LiveStream(session, topics)
        self._streams.add(stream)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return stream

    def close_stream(self, stream: LiveStream) -> None:
        """Forget a stream that nobody reads any more."""
        self._streams.discard(stream)

    def _end_all(self) -> None:
        for stream in self._streams:
            stream.end("server")

    async def _run(self) -> None:
        """Sample while there are streams."""
        loop = asyncio.get_running_loop()
        while self._streams and not self._stop.announced:
            began = loop.time()
            await self._tick()
            await asyncio.sleep(max(0.0, began + self._tick_seconds - loop.time()))

    async def _tick(self) -> None:
        wanted: dict[BrowserSession, set[str]] = {}
        for stream in self._streams:
            wanted.setdefault(stream.session, set()).update(stream.topics)
        asked = {session: sorted(topics) for session, topics in wanted.items()}
        try:
            found = await anyio.to_thread.run_sync(self._sample, asked)
        except TreadleError as error:
            for stream in self._streams:
                stream.tell_trouble(str(error))
            return
        except Exception:
            if not self._is_failing:  # once, and not each second
                logger.exception("the live numbers of the console cannot be made")
            self._is_failing = True
            for stream in self._streams:
                stream.tell_trouble("The server met an unexpected condition.")
            return
        self._is_failing = False
        for stream in tuple(self._streams):
            if stream.session not in found:
                continue  # it came while the sample was taken
            regions = found[stream.session]
            if regions is None:
                stream.end("session")
            else:
                stream.offer({topic: regions[topic] for topic in stream.topics if topic in regions})
