"""Streams: what is sent when, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from treadle.console.live import LiveHub, LiveSample, LiveStream
from treadle.errors import RetriableError
from treadle.http.stop_notice import StopNotice
from treadle.store.model import Account, BrowserSession, ConsoleRole


def make_session(number: int) -> BrowserSession:
    account = Account(1, "first", 0, None)
    return BrowserSession(number, account, 1, ConsoleRole.ADMIN, "192.0.2.1", 0, 1)


class Sampler:
    """What the pages show, and which sessions go on."""

    def __init__(self) -> None:
        self.text = "one"
        self.ended: set[int] = set()
        self.error: Exception | None = None
        self.asked: list[Mapping[BrowserSession, Sequence[str]]] = []

    def __call__(self, wanted: Mapping[BrowserSession, Sequence[str]]) -> LiveSample:
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        return {
            session: None if session.id in self.ended else dict.fromkeys(topics, self.text)
            for session, topics in wanted.items()
        }


def run(test: Callable[[Sampler, LiveHub, StopNotice], Awaitable[None]]) -> None:
    async def run_it() -> None:
        sampler, stop = Sampler(), StopNotice()
        hub = LiveHub(sampler, stop, streams_max=2, tick_seconds=0.01)
        await asyncio.wait_for(test(sampler, hub, stop), 20)

    asyncio.run(run_it())


async def read_event(texts: AsyncIterator[str], name: str) -> Any:
    """The value of the next event with a name."""
    async for text in texts:
        for event in text.split("\n\n"):
            lines = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
            if lines.get("event") == name:
                return msgspec.json.decode(lines["data"])
    raise AssertionError(f"the stream ended without {name}")


def open_stream(hub: LiveHub, number: int = 1) -> LiveStream:
    stream = hub.open_stream(make_session(number), ("overview",))
    assert stream is not None
    return stream


def test_a_region_is_sent_when_it_has_changed() -> None:
    async def test(sampler: Sampler, hub: LiveHub, _: StopNotice) -> None:
        texts = open_stream(hub).read()
        assert (await anext(texts)).startswith("retry: ")
        assert await read_event(texts, "region") == {"topic": "overview", "html": "one"}
        await asyncio.sleep(0.05)  # some samples that are all the same
        sampler.text = "two\nlines"
        assert await read_event(texts, "region") == {"topic": "overview", "html": "two\nlines"}

    run(test)


def test_one_sample_is_taken_for_all_streams() -> None:
    async def test(sampler: Sampler, hub: LiveHub, _: StopNotice) -> None:
        first, second = open_stream(hub, 1).read(), open_stream(hub, 2).read()
        for texts in (first, second):
            assert await read_event(texts, "region")
        assert {len(wanted) for wanted in sampler.asked} == {2}

    run(test)


def test_there_are_so_many_streams_and_no_more() -> None:
    async def test(_: Sampler, hub: LiveHub, __: StopNotice) -> None:
        first = open_stream(hub, 1)
        open_stream(hub, 2)
        assert hub.open_stream(make_session(3), ("overview",)) is None
        hub.close_stream(first)
        assert hub.open_stream(make_session(3), ("overview",)) is not None

    run(test)


def test_a_stream_ends_with_its_session() -> None:
    async def test(sampler: Sampler, hub: LiveHub, _: StopNotice) -> None:
        texts = open_stream(hub).read()
        await read_event(texts, "region")
        sampler.ended.add(1)
        assert await read_event(texts, "end") == {"why": "session"}
        assert [text async for text in texts] == []

    run(test)


def test_streams_end_when_the_server_stops() -> None:
    async def test(_: Sampler, hub: LiveHub, stop: StopNotice) -> None:
        texts = open_stream(hub).read()
        await read_event(texts, "region")
        stop.announce()
        assert await read_event(texts, "end") == {"why": "server"}
        assert hub.open_stream(make_session(2), ("overview",)) is None

    run(test)


def test_what_cannot_be_read_is_said_once_and_its_end_too() -> None:
    async def test(sampler: Sampler, hub: LiveHub, _: StopNotice) -> None:
        texts = open_stream(hub).read()
        await read_event(texts, "region")
        sampler.error = RetriableError("the store is not available now")
        assert await read_event(texts, "trouble") == {"text": "the store is not available now"}
        sampler.error = None
        assert await read_event(texts, "trouble") == {"text": None}

    run(test)
