"""`GET /v1/events`: what its streams say, how many there are, and when they end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.integration.control.api import describe
from tests.integration.control.test_request_routes import append
from tests.integration.control.trace_api import TraceApi
from tests.loads import load

from treadle.control.event_hub import STREAMS_MAX, EventHub, EventStream
from treadle.control.event_readings import TOPICS, EventCursor, EventReadings, decode_cursor
from treadle.control.problem_operations import ProblemWatch
from treadle.errors import RequestRefusedError
from treadle.log.sqlite.log import SqliteReader
from treadle.store.token_rules import TokenRequest
from treadle.store.tokens import TokenFilter

PATIENCE = 60.0


class Listened:
    """A hub over a server whose files the test writes."""

    def __init__(self, folder: Path) -> None:
        def open_reader() -> SqliteReader:
            return SqliteReader(folder / "log.sqlite")

        self.api = TraceApi(folder, open_reader=open_reader)
        self.problems = ProblemWatch(self.api.store, open_reader, self.api.files)
        self.hub = EventHub(
            EventReadings(self.api.store, self.api.files, open_reader, self.problems)
        )
        self.source = self.api.create("Shop")["id"]
        append(self.api, self.source)

    async def open(self, *topics: str, last_id: str | None = None, token: int = 1) -> "Listener":
        stream = await self.hub.open(self.api.account, token, topics or TOPICS, last_id)
        return Listener(stream)


class Listener:
    """Reads the events of one stream."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.ids: list[str] = []
        self._events: AsyncIterator[bytes] = stream.iterate()

    async def read(self) -> tuple[str, Any]:
        """The next event: its topic and its data."""
        while True:
            text = (await asyncio.wait_for(anext(self._events), PATIENCE)).decode()
            fields = dict(
                line.split(": ", 1) for line in text.strip().split("\n") if not line.startswith(":")
            )
            if "event" in fields:
                self.ids.append(fields["id"])
                return fields["event"], json.loads(fields["data"])

    async def read_topics(self) -> AsyncIterator[str]:
        """The topics of all events until the end."""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield (await self.read())[0]

    async def read_topic(self, topic: str) -> Any:
        while True:
            found, data = await self.read()
            if found == topic:
                return data


def run(folder: Path, test: Callable[[Listened], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a hub that is closed after it."""
    listened = Listened(folder)

    async def body() -> None:
        try:
            await test(listened)
        finally:
            await listened.hub.aclose()

    try:
        asyncio.run(body())
    finally:
        listened.problems.close()
        listened.api.store.close()


async def apart(do: Callable[[], Any]) -> None:
    """Do what needs an event loop of its own."""
    await asyncio.to_thread(do)


def test_a_stream_begins_with_status_and_problems(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        listener = await listened.open("status", "problem")
        events = dict([await listener.read(), await listener.read()])
        assert set(events) == {"status", "problem"}
        assert set(events["status"]["totals"].values()) == {0}
        assert events["problem"]["problems"] == len(events["problem"]["began"])

    run(tmp_path, test)


def test_what_happens_is_told(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        api, source = listened.api, listened.source
        listener = await listened.open("load", "reject", "request", "refusal")
        api.now += 1
        await apart(lambda: append(api, source, {"orders": 3}))
        request = await listener.read_topic("request")
        assert [one["tables"] for one in request["requests"]] == [["orders"]]
        await apart(
            lambda: api.store.loads.record_load(
                load(source, "orders", 1, rows_received=3, rows_loaded=2, rows_rejected=1), []
            )
        )
        assert (await listener.read_topic("load"))["rows_loaded"] == 2
        assert (await listener.read_topic("reject"))["records"] == 1
        api.refuse(1, source, body="who are you")
        refusal = await listener.read_topic("refusal")
        assert [one["answer"] for one in refusal["refusals"]] == ["who are you"]

    run(tmp_path, test)


def test_a_client_that_comes_back_is_told_what_it_missed(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        api, source = listened.api, listened.source
        await apart(lambda: append(api, source, {"orders": 1}, {"orders": 2}))
        api.now += 10
        api.refuse(1, source)
        await apart(lambda: api.store.loads.record_load(load(source, "orders", 1), []))
        listener = await listened.open("load", "request", "refusal", last_id="0-1-0")
        found = dict([await listener.read(), await listener.read(), await listener.read()])
        assert found["load"]["table"] == "orders"
        assert [one["records"] for one in found["request"]["requests"]] == [2]
        assert len(found["refusal"]["refusals"]) == 1
        cursor = decode_cursor(listener.ids[-1])
        assert cursor is not None
        assert (cursor.load, cursor.position) == (1, 2)
        again = await listened.open("load", "request", "refusal", last_id=listener.ids[-1])
        await apart(lambda: api.store.loads.record_load(load(source, "orders", 2), []))
        assert (await again.read())[0] == "load"  # and nothing again

    run(tmp_path, test)


def test_another_account_hears_nothing(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        other, _ = await asyncio.to_thread(listened.api.another_account)
        stream = await listened.hub.open(other, 99, ("request", "refusal", "load", "status"), None)
        theirs, ours = Listener(stream), await listened.open("request", "refusal")
        await apart(lambda: append(listened.api, listened.source, {"orders": 1}))
        listened.api.refuse(1, listened.source)
        assert await ours.read_topic("request")
        await ours.read_topic("refusal")
        topic, status = await theirs.read()
        assert (topic, status["totals"]["accepted"]) == ("status", 0)
        listened.hub.end()
        assert {topic async for topic in theirs.read_topics()} <= {"status"}

    run(tmp_path, test)


def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        tokens = listened.api.store.tokens
        made = await asyncio.to_thread(
            lambda: tokens.issue_token(TokenRequest("account"), account_id=1)
        )
        ending = await listened.open("load", token=made.id)
        staying = await listened.open("load")
        await asyncio.to_thread(lambda: tokens.end_token(TokenFilter(("account",)), made.id))
        with pytest.raises(StopAsyncIteration):
            await ending.read()
        await apart(
            lambda: listened.api.store.loads.record_load(load(listened.source, "orders", 1), [])
        )
        assert (await staying.read())[0] == "load"

    run(tmp_path, test)


def test_streams_are_few_and_end_with_the_server(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        streams = [await listened.open("load") for _ in range(STREAMS_MAX)]
        with pytest.raises(RequestRefusedError) as refused:
            await listened.open("load")
        assert (refused.value.status, refused.value.headers) == (503, (("Retry-After", "10"),))
        listened.hub.close(streams[0].stream)
        streams[0] = await listened.open("load")
        listened.hub.end()
        for one in streams:
            with pytest.raises(StopAsyncIteration):
                await one.read()
        with pytest.raises(RequestRefusedError):
            await listened.open("load")

    run(tmp_path, test)


def test_a_client_that_does_not_read_costs_little(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        listener = await listened.open("load")
        for number in range(1000):
            listener.stream.send(b"id: %d\nevent: load\ndata: 1\n\n" % number)
        await listener.read()
        assert listener.ids == ["900"]
        listener.stream.send(None)
        listener.stream.send(b"late")

    run(tmp_path, test)


def test_cursors() -> None:
    cursor = EventCursor(5, 7, 9)
    assert decode_cursor(cursor.encode()) == cursor
    for wrong in ("", "1-2", "1-2-x", "1-2-3-4", "-1-2-3", "9" * 30 + "-1-1"):
        assert decode_cursor(wrong) is None


def test_wrong_topics_are_refused(tmp_path: Path) -> None:
    async def test(listened: Listened) -> None:
        listened.api.more["events"] = listened.hub
        listened.api.app = listened.api.server(listened.api.settings)
        listened.api.document = describe(listened.api.app, listened.api.settings)
        for query in ("topics=", "topics=status,no"):
            answer = await asyncio.to_thread(listened.api.get, f"/v1/events?{query}")
            assert answer.status == 400
        assert (await asyncio.to_thread(listened.api.get, "/v1/events", token=None)).status == 401

    run(tmp_path, test)
