"""The Singer target: a state comes out only when every record before it is durable, or loaded."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from treadle.client.request_retry import RequestRetry
from treadle.client.request_sender import PushRefusedError
from treadle.errors import OperatorError
from treadle.singer.messages import SingerInputError, parse_message
from treadle.singer.target import SingerTarget, TargetOptions, read_lines

ACCEPTED = {"status": "OK", "message": "Batch Accepted!"}


def schema(stream: str, *keys: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": properties},
        "key_properties": list(keys),
    }


def record(stream: str, number: int, **further: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": stream, "record": {"id": number}, **further}


def state(value: Any) -> dict[str, Any]:
    return {"type": "STATE", "value": value}


def activation(stream: str, version: int) -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


class Server:
    """Takes batches.

    Attributes:
        bodies: of the requests, in the order in which they are answered.
        events: "push" and "state" with what came, in order.
        held: tables whose requests are answered when their event is set.
        faults: raised by the next states, one each.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.events: list[tuple[str, Any]] = []
        self.held: dict[str, asyncio.Event] = {}
        self.refused: set[int] = set()
        self.faults: list[OSError] = []
        self.receipts: dict[str, str] = {}
        self.emitted = asyncio.Event()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            status = self.receipts.get(request.url.path.rpartition("/")[2], "loaded")
            table = {"loaded": 1, "superseded": 0, "rejected": [], "error": "no connection"}
            return httpx.Response(200, json={"status": status, "tables": [table]})
        assert request.url.path == "/v2/import/batch"
        body = json.loads(await request.aread())
        if body["table_name"] in self.held:
            await self.held[body["table_name"]].wait()
        ids = [one["data"]["id"] for one in body["messages"] if "data" in one]
        for index, number in enumerate(ids):
            if number in self.refused:
                text = f"Record {index} did not conform to schema:\n#/id: wrong\n"
                return httpx.Response(400, json={"error": text})
        self.bodies.append(body)
        self.keys.append(request.headers["Idempotency-Key"])
        self.events.append(("push", (body["table_name"], ids)))
        return httpx.Response(
            201, json=ACCEPTED, headers={"Treadle-Receipt": f"rc_{len(self.bodies)}"}
        )

    def take_state(self, raw: bytes) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.events.append(("state", json.loads(raw)))
        self.emitted.set()

    @property
    def states(self) -> list[Any]:
        return [value for kind, value in self.events if kind == "state"]


def run(
    server: Server,
    messages: list[Any],
    *,
    during: Callable[[Server], Awaitable[None]] | None = None,
    **options: Any,
) -> SingerTarget:
    """Give messages to a target; bytes are given as they are, as a line of their own."""

    async def lines() -> AsyncIterator[tuple[int, list[bytes]]]:
        for number, message in enumerate(messages, 1):
            if callable(message):
                await message()
            else:
                line = message if isinstance(message, bytes) else json.dumps(message).encode()
                yield number, [line]
        if during is not None:
            await during(server)

    async def work() -> SingerTarget:
        transport = httpx.MockTransport(server.answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            target = SingerTarget(
                client,
                RequestRetry("http://t", 0.0, lambda _: None),
                TargetOptions(**options),
                run_id="run",
                first_sequence=1_000,
                emit=server.take_state,
            )
            await target.run(lines())
            return target

    return asyncio.run(work())


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_records_are_sent_as_batches_with_the_schema_and_the_last_state_comes_out() -> None:
    server = Server()
    price = {"type": "number", "multipleOf": 0.01}
    raw = (
        b'{"type":"RECORD","stream":"orders","record":{"id":2,"price":10.50},"time_extracted":"x"}'
    )
    target = run(
        server,
        [schema("orders", "id", price=price), record("orders", 1), raw, state(1), state({"a": 2})],
    )
    assert server.states == [{"a": 2}]
    assert (target.records, target.streams) == (2, 1)
    (body,) = server.bodies
    assert body == {
        "table_name": "orders",
        "key_names": ["id"],
        "schema": {"properties": {"price": price}},
        "messages": [
            {"action": "upsert", "sequence": 1_000, "data": {"id": 1}},
            {
                "action": "upsert",
                "sequence": 1_001,
                "time_extracted": "x",
                "data": {"id": 2, "price": 10.5},
            },
        ],
    }


def test_a_state_waits_for_the_records_of_every_stream_before_it() -> None:
    server = Server()

    async def hold() -> None:
        server.held["slow"] = asyncio.Event()

    async def look() -> None:
        await settle()
        assert server.events == [("push", ("quick", [1]))]

    async def release(_: Server) -> None:
        await settle()
        assert server.events[1:] == [("push", ("quick", [2]))]
        server.held["slow"].set()

    run(
        server,
        [
            hold,
            schema("slow", "id"),
            schema("quick", "id"),
            record("slow", 5),
            record("quick", 1),
            state(1),
            look,
            record("quick", 2),
            state(2),
        ],
        during=release,
        records_max=1,
        connections=3,
    )
    assert server.events[2:] == [("push", ("slow", [5])), ("state", 2)]


def test_a_state_without_anything_before_it_comes_out_at_once() -> None:
    server = Server()

    async def look() -> None:
        assert server.states == [0]

    run(server, [state(0), look])


@pytest.mark.parametrize("further", [[], [record("t", 2), state(2)]])
def test_a_state_that_nobody_takes_ends_the_run_and_no_later_one_comes_out(
    further: list[Any],
) -> None:
    server = Server()
    server.faults.append(OSError(28, "No space left on device"))
    messages = [schema("t", "id"), record("t", 1), state(1), *further]
    with pytest.raises(OSError, match="No space left"):
        run(server, messages, records_max=1, connections=1)
    assert server.states == []


def test_what_waits_long_enough_is_sent_while_the_tap_is_silent() -> None:
    server = Server()

    async def wait() -> None:
        await server.emitted.wait()

    run(server, [schema("t", "id"), record("t", 1), state(1), wait], flush_seconds=0.0)


def test_an_activation_comes_after_all_that_its_stream_sent_before_it() -> None:
    server = Server()

    async def hold() -> None:
        server.held["t"] = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, server.held["t"].set)

    run(
        server,
        [
            hold,
            schema("t", "id"),
            record("t", 1, version=7),
            record("t", 2, version=7),
            activation("t", 7),
            record("t", 3, version=7),
            state(1),
        ],
        records_max=1,
        connections=4,
    )
    assert [ids for _, (_, ids) in server.events[:-1]][2:] == [[], [3]]
    assert server.bodies[2]["messages"] == [{"action": "activate_version", "sequence": 1_002}]
    assert {body["table_version"] for body in server.bodies} == {7}
    assert server.states == [1]
    assert len(set(server.keys)) == 4


def test_another_schema_or_version_begins_a_request() -> None:
    server = Server()
    run(
        server,
        [
            schema("t", "id"),
            record("t", 1),
            schema("t", "id"),
            record("t", 2),
            schema("t", "id", x={"type": "string"}),
            record("t", 3),
            record("t", 4, version=2),
        ],
        connections=1,
    )
    assert [ids for _, (_, ids) in server.events] == [[1, 2], [3], [4]]


def test_a_refused_record_is_named_and_no_state_behind_it_comes_out() -> None:
    server = Server()
    server.refused = {3}

    async def look() -> None:
        await settle()

    with pytest.raises(PushRefusedError) as error:
        run(
            server,
            [
                schema("t", "id"),
                record("t", 1),
                record("t", 2),
                state(1),
                look,
                record("t", 4),
                record("t", 3),
                state(2),
                look,
                state(3),
            ],
            records_max=2,
        )
    assert str(error.value).startswith("The server refuses record 4 of stream t (line 7): 400 {")
    assert server.states == [1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello", "Line 4 of the tap is no Singer message"),
        (b'{"type":"BATCH","stream":"t"}', "turn batches off in the tap"),
        (b'{"type":"NEW"}', "expected one of SCHEMA, RECORD, STATE, ACTIVATE_VERSION"),
        (b'{"type":"RECORD","stream":"t"}', "a RECORD message needs 'record'"),
        (b'{"type":"RECORD","stream":"u","record":{}}', "comes before its SCHEMA"),
    ],
)
def test_what_came_before_a_bad_line_is_kept_and_its_state_comes_out(
    line: bytes, said: str
) -> None:
    server = Server()
    with pytest.raises(SingerInputError, match=said):
        run(server, [schema("t", "id"), record("t", 1), state(1), line, state(2)])
    assert server.events == [("push", ("t", [1])), ("state", 1)]


def test_a_state_waits_for_loads_if_asked_and_a_stopped_table_ends_the_run() -> None:
    server = Server()
    target = run(server, [schema("t", "id"), record("t", 1), state(1)], loaded=True)
    assert (target.outcome.loaded, server.states) == (1, [1])
    server = Server()
    server.receipts["rc_1"] = "stopped"
    with pytest.raises(OperatorError, match="The table is stopped: no connection"):
        run(server, [schema("t", "id"), record("t", 1), state(1)], loaded=True)
    assert server.states == []


def test_lines_are_numbered_and_a_cut_last_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.singer.target.CHUNK_BYTES", 30)
    whole = "".join(json.dumps(state(number)) + "\n" for number in range(5)).encode()
    found = list(read_lines(io.BytesIO(whole + b"\n")))
    lines = {first + at: line for first, lines in found for at, line in enumerate(lines)}
    assert [bytes(parse_message(lines[n], n).value) for n in range(1, 6)] == [
        b"%d" % number for number in range(5)
    ]
    cut = [line for _, lines in read_lines(io.BytesIO(whole[:-1])) for line in lines]
    assert cut == whole.splitlines(), "without a line end the last message is whole"
    with pytest.raises(SingerInputError, match="ends in the middle of line 5; was it killed"):
        list(read_lines(io.BytesIO(whole[:-4])))
