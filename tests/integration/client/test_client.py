"""The Python client against a real HTTP server that notes what it gets."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.cli.import_server import Answer, ImportServer

from treadle import client as package
from treadle.client import (
    AsyncTreadleClient,
    OperatorError,
    PushRefusedError,
    RetriableError,
    TreadleClient,
    request_retry,
)
from treadle.client.receipt_follower import AcknowledgedRequest
from treadle.client.table_push import PushReceipt, Record, TablePush

REFUSED = b'{"error":"Record 1 did not conform to schema:\\n#/id: expected type: Integer\\n"}'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportServer]:
    monkeypatch.setattr(request_retry, "WAIT_SECONDS_FIRST", 0.01)
    with ImportServer() as started:
        yield started


def make_records(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "at": datetime(2026, 1, 1, tzinfo=UTC)} for number in range(count)]


def list_ids(server: ImportServer) -> list[int]:
    return sorted(record["data"]["id"] for record in server.records)


def test_every_name_of_the_package_is_there() -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError):
        package.nothing  # noqa: B018 - to look it up is the test


@pytest.mark.parametrize("count", [0, 1, 25])
def test_records_are_pushed_with_types_keys_and_a_token(server: ImportServer, count: int) -> None:
    seen: list[int] = []

    def produce() -> Iterator[dict[str, Any]]:
        for record in make_records(count):
            seen.append(threading.get_ident())
            yield record

    with TreadleClient(server.url, "at_x", batch_records=10) as client:
        pushed = client.push("orders", produce(), key=["id"])
        client.close()
    assert pushed.records == count
    assert set(seen) <= {threading.get_ident()}, "records are read in the thread of the caller"
    assert list_ids(server) == list(range(count))
    assert len(set(server.keys)) == len(server.requests) == -(-count // 10)
    for record in server.records:
        assert (record["table_name"], record["key_names"]) == ("orders", ["id"])
        assert record["schema"]["properties"]["at"]["format"] == "date-time"
    assert {token for _, token, _ in server.asked} <= {"Bearer at_x"}


def test_what_is_answered_too_late_is_sent_again_with_the_same_key(server: ImportServer) -> None:
    told: list[str | None] = []
    server.answers.extend([Answer(503), Answer(0), Answer(408)])
    with TreadleClient(server.url, "at_x", on_waiting=told.append) as client:
        client.push("t", [{"id": 1}])
    assert len(server.asked) == 4
    assert len(server.requests) == 1
    assert told[-1] is None
    assert "answers 503" in str(told[0])


def test_a_tls_handshake_that_breaks_off_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "WAIT_SECONDS_FIRST", 0.01)
    told: list[str | None] = []

    def report(reason: str | None) -> None:
        told.append(reason)
        if len(told) == 2:
            raise InterruptedError

    async def work() -> None:
        listener = await asyncio.start_server(lambda _, to: to.close(), "127.0.0.1", 0)
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with listener, AsyncTreadleClient(url, "at_x", on_waiting=report) as client:
            with pytest.raises(InterruptedError):
                await client.push("t", [{"id": 1}])

    asyncio.run(work())
    assert all("cannot be reached" in str(reason) for reason in told)


def test_a_refused_record_is_named(server: ImportServer) -> None:
    server.answers.extend([Answer(201, b'{"status":"OK"}'), Answer(400, REFUSED)])
    with (
        TreadleClient(server.url, "at_x", batch_records=2, connections=1) as client,
        pytest.raises(PushRefusedError, match=r"refuses record 4: 400 .*Record 1 did") as error,
    ):
        client.push("t", make_records(4))
    assert (error.value.status, error.value.place) == (400, 4)


def test_a_server_that_is_away_ends_the_push_after_the_time_given() -> None:
    with (
        TreadleClient("http://127.0.0.1:9", "at_x", retry_seconds=0.05) as client,
        pytest.raises(RetriableError, match="Record 1 could not be sent within"),
    ):
        client.push("t", [{"id": 1}])
    with pytest.raises(OperatorError, match="The URL of the server is not valid"):
        TreadleClient("http://x:y", "at_x")
    with pytest.raises(ValueError, match="from 1 to 20000"):
        TreadleClient("http://x", "at_x", batch_records=20_001)


def test_a_writer_sends_what_is_full_old_or_left(server: ImportServer) -> None:
    with (
        TreadleClient(server.url, "at_x", batch_records=10) as client,
        client.open_writer("t", key=["id"], flush_seconds=0.01) as writer,
    ):
        writer.add({"id": 0})
        assert server.taken.wait(60), "one record does not wait for others"
        for number in range(1, 25):
            writer.add({"id": number})
        writer.flush()
        assert writer.receipt.records == 25
        writer.add({"id": 25})
    assert list_ids(server) == list(range(26))


def test_a_writer_tells_of_a_refused_record(server: ImportServer) -> None:
    server.answers.append(Answer(400, REFUSED))
    with TreadleClient(server.url, "at_x", batch_records=2) as client:
        writer = client.open_writer("t")
        writer.send(make_records(2))
        with pytest.raises(PushRefusedError):
            writer.flush()


def test_the_same_with_asyncio(server: ImportServer) -> None:
    async def produce() -> AsyncIterator[dict[str, Any]]:
        for record in make_records(25):
            yield record

    async def work() -> None:
        async with AsyncTreadleClient(server.url, "at_x", batch_records=10) as client:
            first, second = await asyncio.gather(
                client.push("a", produce(), key=["id"]), client.push("b", make_records(3))
            )
            assert (first.records, second.records) == (25, 3)
            async with client.open_writer("c", flush_seconds=0.01) as writer:
                for record in make_records(12):
                    await writer.add(record)
            assert writer.receipt.records == 12

    asyncio.run(work())
    counts = dict.fromkeys("abc", 0)
    for record in server.records:
        counts[record["table_name"]] += 1
    assert counts == {"a": 25, "b": 3, "c": 12}


class HeldClient(AsyncTreadleClient):
    """Sends one record a request, and holds each until `go` is set.

    Attributes:
        sent: the records that came through, in order.
        refused: records of which the request fails.
    """

    def __init__(self, connections: int) -> None:
        super().__init__("http://t", "at_x", connections=connections, batch_records=1)
        self.go = asyncio.Event()
        self.sent: list[Any] = []
        self.refused: set[int] = set()

    async def send_records(self, begun: TablePush, records: Sequence[Record]) -> PushReceipt:
        await self.go.wait()
        await asyncio.sleep(0)
        for record in records:
            if record["id"] in self.refused:
                raise PushRefusedError("no", 400, 1)
            self.sent.append(record["id"])
        return PushReceipt((AcknowledgedRequest(None, len(records)),))


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("call", ["add", "flush"])
def test_who_is_cancelled_while_it_waits_loses_no_record(call: str) -> None:
    async def work() -> None:
        async with HeldClient(connections=1) as client:
            writer = client.open_writer("t")
            await writer.add({"id": 1})
            waits = asyncio.create_task(
                writer.flush() if call == "flush" else writer.add({"id": 2})
            )
            await settle()
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            client.go.set()
            await writer.flush()
            wanted = [1] if call == "flush" else [1, 2]
            assert client.sent == wanted
            assert writer.receipt.records == len(wanted)

    asyncio.run(work())


def test_a_full_request_goes_out_by_itself_when_the_add_that_filled_it_was_cancelled() -> None:
    async def work() -> None:
        async with HeldClient(connections=1) as client:
            writer = client.open_writer("t", flush_seconds=0.0)
            await writer.add({"id": 1})
            waits = asyncio.create_task(writer.add({"id": 2}))
            await settle()
            waits.cancel()
            client.go.set()
            await settle()
            assert client.sent == [1, 2], "without another call"

    asyncio.run(work())


def test_several_tasks_can_use_one_writer() -> None:
    async def work() -> None:
        async with HeldClient(connections=2) as client:
            writer = client.open_writer("t")

            async def add(first: int) -> None:
                for number in range(first, first + 4):
                    await writer.add({"id": number})

            adders = asyncio.gather(add(0), add(4))
            await settle()
            client.go.set()
            await adders
            await writer.flush()
            assert sorted(client.sent) == list(range(8))
            assert writer.receipt.records == 8

    asyncio.run(work())


@pytest.mark.parametrize("refused", [{1}, {2}, set[int]()])
def test_each_of_two_flushes_waits_for_all_and_is_told_of_a_fault(refused: set[int]) -> None:
    async def work() -> None:
        async with HeldClient(connections=3) as client:
            client.refused = refused
            writer = client.open_writer("t")
            await writer.add({"id": 1})
            await writer.add({"id": 2})
            both = [asyncio.create_task(writer.flush()) for _ in range(2)]
            await settle()
            assert not any(flush.done() for flush in both)
            client.go.set()
            found = await asyncio.gather(*both, return_exceptions=True)
            assert [isinstance(one, PushRefusedError) for one in found] == [bool(refused)] * 2
            assert {1, 2} - {*client.sent} == refused
            await writer.flush()
            assert writer.receipt.records == len(client.sent)

    asyncio.run(work())
