"""Heads that are remembered, and connections that take requests the short way."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tests.work_turns import ALONE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from treadle.errors import RetriableError
from treadle.http.deadline import get_deadline_timer
from treadle.http.refusal_log import RefusalLog
from treadle.http.stop_notice import StopNotice
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.body_threads import BodyThreads
from treadle.ingest.fastpath import body_buffer
from treadle.ingest.fastpath.connection import DRAIN_STATE, FastPathProtocol
from treadle.ingest.fastpath.connection_state import (
    DRAIN_SECONDS,
    FIRST_BYTE_SECONDS,
    HEAD_SECONDS,
    LINGER_SECONDS,
    WRITE_BYTES_MIN,
    WRITE_SECONDS,
)
from treadle.ingest.fastpath.connection_table import (
    CONNECTIONS_STATE,
    ConnectionLimits,
    ConnectionTable,
)
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, RequestHead, ResponseSink, read_head
from treadle.ingest.fastpath.head_memory import HEADS_LEARNED_MAX
from treadle.ingest.fastpath.head_template import HEAD_BYTES_MAX, HeadTemplate

HEAD = b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
TURNS = 50
SOURCE = 7
ROOM = 100_000
KEEP_ALIVE = 75
TOKEN = b"Authorization: Bearer at_1\r\n"


def request(body: bytes, head: bytes = HEAD + TOKEN, name: bytes = b"Content-Length") -> bytes:
    return head + name + b": %d\r\n\r\n" % len(body) + body


# --- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"x" * 1000, b"\r\n\r\n", b"content-length: 7\r\n\r\n"]
)
@pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
def test_a_head_finds_the_body_of_a_request_like_it(body: bytes, name: bytes) -> None:
    head = HeadTemplate.from_request(request(b"[1]", name=name))
    assert head is not None
    received = request(body, name=name)
    assert head.locate_body(received) == (len(received) - len(body), len(received))


def test_a_head_finds_where_a_body_ends_that_is_not_all_there_or_not_all() -> None:
    head = HeadTemplate.from_request(request(b"[1, 2]"))
    assert head is not None
    whole = request(b"[1]")
    for received in (whole, whole[:-1], whole[:-3], whole + b"P", whole * 2):
        assert head.locate_body(received) == (len(whole) - 3, len(whole))


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"\r\n",
        request(b"[1]")[:-4],  # not all of the head
        request(b"[1]", HEAD),  # no token
        request(b"[1]", HEAD + TOKEN.replace(b"1", b"2")),
        request(b"[1]", HEAD + TOKEN + b"Prefer: wait=1\r\n"),
        request(b"[1]", name=b"content-length"),
        request(b"[1]").replace(b": 3", b": "),
        request(b"[1]").replace(b": 3", b": +3"),
        request(b"[1]").replace(b": 3", b": 3 "),
        request(b"[1]").replace(b": 3", b": 3, 3"),
        request(b"[1]").replace(b": 3", b": 0000000003"),
        request(b"[1]").replace(b": 3", b": \xb2"),  # a digit of Latin-1
        request(b"[1]").replace(b": 3\r\n", b": 3\n"),
        request(b"[1]").replace(b": 3\r\n", b": 3\r\nExpect: 100-continue\r\n"),
        request(b"[1]").partition(b"3")[0],
    ],
)
def test_a_head_knows_only_what_is_like_it(received: bytes) -> None:
    head = HeadTemplate.from_request(request(b"[1, 2]"))
    assert head is not None
    assert head.locate_body(request(b"[1]")) is not None
    assert head.locate_body(received) is None


@pytest.mark.parametrize(
    "received",
    [
        b"",
        HEAD,
        HEAD + b"\r\n",
        request(b"[1]")[:-4],
        request(b"[1]") + b" ",
        request(b"[1]", HEAD + b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\n"),
        request(b"[1]", HEAD + b"Content-Length: 3\r\n"),
        HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 3\n\n[1]",
    ],
)
def test_only_heads_with_one_length_and_nothing_after_the_body_are_remembered(
    received: bytes,
) -> None:
    assert HeadTemplate.from_request(received) is None


@pytest.mark.parametrize("there", [0, 1, 3])
def test_a_head_is_remembered_before_its_body_is_all_there(there: int) -> None:
    whole = request(b"[1]")
    assert HeadTemplate.from_request(whole[: len(whole) - 3 + there]) == HeadTemplate.from_request(
        whole
    )


JSON = (b"content-type", b"application/json")
BEARER = (b"authorization", b"Bearer at_1")


@pytest.mark.parametrize("path", ["/v2/import/push", "/v2/import/batch"])
def test_what_a_plain_head_says(path: str) -> None:
    found = read_head(b"POST", path.encode(), [JSON, (b"accept", b"*/*"), BEARER])
    assert found is not None
    assert found.path == path


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"PUT", b"/v2/import/push", [JSON, BEARER]),
        (b"POST", b"/v2/import/validate", [JSON, BEARER]),
        (b"POST", b"/v2/import/push?dry_run=1", [JSON, BEARER]),
        (b"POST", b"/v2/import/push", [JSON]),
        (b"POST", b"/v2/import/push", [BEARER]),
        (b"POST", b"/v2/import/push", [JSON, BEARER, (b"content-type", b"text/csv")]),
        (b"POST", b"/v2/import/push", [BEARER, (b"content-type", b"application/transit+json")]),
        *(
            (b"POST", b"/v2/import/push", [JSON, BEARER, (name, b"x")])
            for name in (b"content-encoding", b"expect", b"idempotency-key", b"prefer")
        ),
        *(
            (b"POST", b"/v2/import/push", [JSON, BEARER, (name, b"x")])
            for name in (b"transfer-encoding", b"upgrade")
        ),
    ],
)
def test_heads_that_go_the_long_way(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    assert read_head(method, target, headers) is None


# --- connections ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may let pieces wait for a while."""
    monkeypatch.setattr(body_buffer, "ARRIVAL_SECONDS", 3600)


class Wire(asyncio.Transport):
    """What a connection writes, and what it does."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.sent = b""
        self.closed = False
        self.paused = False
        self.aborted = False
        self.ended = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.closed = True
        self.aborted = True

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Taker:
    """Takes every request, or none, and answers when the test says so.

    Attributes:
        patient: waits for a body that comes in pieces.
        known: knows every token.
        budget: counts what is there of it.
    """

    def __init__(self) -> None:
        self.willing = True
        self.patient = True
        self.known = True
        self.budget = BodyMemoryBudget(BodyThreads(ALONE), 2 * ROOM)
        self.bodies: list[bytes] = []
        self.repliers: list[ResponseSink] = []

    def find_account(self, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
        return 1 if self.known else None

    def find_sender(self, head: RequestHead, size: int) -> int | None:
        return SOURCE if self.patient else None

    def take(self, head: RequestHead, body: bytes, replier: ResponseSink) -> bool:
        if self.willing:
            self.bodies.append(body)
            self.repliers.append(replier)
        return self.willing

    def reply(self) -> None:
        self.repliers.pop(0).reply(Response(b"short", 201, {"x": "y"}))


class Rig:
    """A connection that has answered one request the long way."""

    def __init__(self, *, fast_path: bool = True) -> None:
        self.taker = Taker()
        self.long: list[bytes] = []
        self.impatient = False
        self.headers = {"x": "y"}
        self.began = self.gone = 0
        config = uvicorn.Config(
            self.app,
            interface="asgi3",
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"now")]
        self.loop = asyncio.get_running_loop()
        self._config = config
        self._app_state: dict[str, Any] = {FAST_PATH_STATE: self.taker} if fast_path else {}
        self.connection, self.wire = self.connect()

    def connect(self, table: ConnectionTable | None = None) -> tuple[FastPathProtocol, Wire]:
        """A new connection, of a worker with this table."""
        state = {**self._app_state, CONNECTIONS_STATE: table}
        wire = Wire()
        connection = FastPathProtocol(self._config, self.state, state, self.loop)
        connection.connection_made(wire)
        return connection, wire

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began += 1
        body, more = b"", not self.impatient
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body, more = body + message["body"], message["more_body"]
        self.long.append(body)
        await Response(b"long", 201, self.headers)(scope, receive, send)

    def check(self, seconds: float = 0.0) -> None:
        """Look at every deadline as it will be in so many seconds."""
        now = self.loop.time() + seconds
        for deadline in tuple(get_deadline_timer(self.loop)):
            deadline.check_deadline(now)

    async def settle(self) -> None:
        """Let what can go on go on; nothing here waits for anything but its turn."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def feed(self, data: bytes) -> bytes:
        """What the connection sends upon this."""
        before = len(self.wire.sent)
        self.connection.data_received(data)
        await self.settle()
        return self.wire.sent[before:]


def run(test: Callable[[Rig], Any], *, warm: bool = True, fast_path: bool = True) -> None:
    async def running() -> None:
        rig = Rig(fast_path=fast_path)
        if warm:
            assert b"long" in await rig.feed(request(b"[0]"))
        await test(rig)

    asyncio.run(running())


def test_the_answer_is_to_the_byte_that_of_the_long_way() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.willing = False
        slow = await rig.feed(request(b"[1]"))
        rig.taker.willing = True
        assert await rig.feed(request(b"[12]")) == b""
        before = len(rig.wire.sent)
        rig.taker.reply()
        fast = rig.wire.sent[before:]
        expected = slow.replace(b"content-length: 4", b"content-length: 5")
        assert fast == expected.replace(b"long", b"short")
        assert rig.taker.bodies == [b"[12]"]
        assert rig.long == [b"[0]", b"[1]"]
        assert rig.state.total_requests == 3

    run(test)


def test_a_head_that_does_not_come_at_once_goes_the_long_way() -> None:
    async def test(rig: Rig) -> None:
        whole = request(b"[1]")
        for cut in (1, 40, len(whole) - 4):
            assert await rig.feed(whole[:cut]) == b""
            assert b"long" in await rig.feed(whole[cut:])
        assert rig.long == [b"[0]", *[b"[1]"] * 3]
        await rig.feed(whole)
        assert rig.taker.bodies == [b"[1]"]

    run(test)


@pytest.mark.parametrize("size", [1, 3, 30_000])
def test_a_body_that_comes_in_pieces_is_put_together(size: int) -> None:
    body = b"[" + b"1," * 45_000 + b"1]"

    async def test(rig: Rig) -> None:
        for sent in (b"[1, 2, 3]", b"[1, 2, 3]", *([body] if size > 3 else [])):
            whole = request(sent)
            begin = len(whole) - len(sent)
            await rig.feed(whole[:begin])
            for start in range(begin, len(whole), size):
                await rig.feed(whole[start : start + size])
            assert rig.taker.bodies[-1] == sent
            rig.taker.budget.reserve(SOURCE, ROOM)  # nothing of it counts any more
            rig.taker.budget.release(SOURCE, ROOM)
            rig.taker.reply()
        assert rig.long == [b"[0]"]

    run(test)


def test_a_head_is_learned_from_a_request_that_comes_in_pieces() -> None:
    async def test(rig: Rig) -> None:
        whole = request(b"[1]")
        await rig.feed(whole[:-2])
        assert b"long" in await rig.feed(whole[-2:])
        await rig.feed(whole[:-1])
        await rig.feed(whole[-1:])
        assert rig.taker.bodies == rig.long == [b"[1]"]

    run(test, warm=False)


def test_nobody_waits_for_what_is_not_expected() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.patient = False
        whole = request(b"[1]")
        await rig.feed(whole[:-1])
        assert b"long" in await rig.feed(whole[-1:])
        assert rig.taker.bodies == []

    run(test)


def test_what_is_not_taken_after_all_goes_the_long_way_as_a_whole() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.willing = False
        whole = request(b"[1]")
        await rig.feed(whole[:-2])
        assert b"long" in await rig.feed(whole[-2:])
        rig.taker.willing = True
        await rig.feed(whole)
        assert rig.long == [b"[0]", b"[1]"]
        assert rig.taker.bodies == [b"[1]"]

    run(test)


def test_a_request_with_another_one_behind_its_last_piece_goes_the_long_way() -> None:
    async def test(rig: Rig) -> None:
        whole = request(b"[1]")
        await rig.feed(whole[:-2])
        assert b"long" in await rig.feed(whole[-2:] + request(b"[2]"))
        assert rig.long == [b"[0]", b"[1]"]
        assert rig.taker.bodies == [b"[2]"]

    run(test)


def test_a_body_that_takes_long_goes_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_buffer, "ARRIVAL_SECONDS", 0)

    async def test(rig: Rig) -> None:
        whole = request(b"[123]")
        await rig.feed(whole[:-4])
        rig.check()
        await rig.feed(whole[-4:-2])
        assert b"long" in await rig.feed(whole[-2:])
        assert rig.long == [b"[0]", b"[123]"]
        assert rig.taker.bodies == []

    run(test)


def test_a_body_for_which_there_is_no_room_goes_the_long_way() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.budget.reserve(SOURCE, ROOM // 2)
        body = b" " * (ROOM - 10_000)
        whole = request(body)
        await rig.feed(whole[: -ROOM // 2])
        await rig.feed(whole[-ROOM // 2 : -1])
        rig.taker.budget.reserve(SOURCE, ROOM // 2)  # what was there counts no more
        assert b"long" in await rig.feed(whole[-1:])
        assert rig.long == [b"[0]", body]

    run(test)


def test_who_goes_away_in_the_middle_holds_nothing() -> None:
    async def test(rig: Rig) -> None:
        whole = request(b" " * (ROOM - 1))
        await rig.feed(whole[:-1])
        with pytest.raises(RetriableError):
            rig.taker.budget.reserve(SOURCE, ROOM // 2)
        rig.connection.connection_lost(None)
        rig.taker.budget.reserve(SOURCE, ROOM)
        assert rig.taker.bodies == []

    run(test)


def test_a_server_that_stops_answers_what_is_still_arriving() -> None:
    async def test(rig: Rig) -> None:
        whole = request(b"[1]")
        await rig.feed(whole[:-1])
        rig.connection.shutdown()
        assert not rig.wire.closed
        answer = await rig.feed(whole[-1:])
        assert b"connection: close" in answer
        assert answer.endswith(b"long")
        assert rig.wire.closed

    run(test)


@pytest.mark.parametrize("patient", [True, False])
def test_the_end_of_one_request_is_not_taken_for_another(*, patient: bool) -> None:
    async def test(rig: Rig) -> None:
        rig.taker.patient = patient
        inner = request(b"[1]")  # a body that looks like a request
        outer = request(inner)
        await rig.feed(outer[: -len(inner)])
        await rig.feed(inner)
        assert rig.taker.bodies == ([inner] if patient else [])
        assert rig.long == ([b"[0]"] if patient else [b"[0]", inner])

    run(test)


def test_requests_that_come_before_the_answer_wait_for_it() -> None:
    async def test(rig: Rig) -> None:
        await rig.feed(request(b"[1]"))
        later = request(b"[2]")
        await rig.feed(later[:30])
        assert rig.wire.paused
        await rig.feed(later[30:])
        assert rig.taker.bodies == [b"[1]"]
        rig.taker.reply()
        await rig.settle()
        assert not rig.wire.paused
        assert rig.taker.bodies == [b"[1]", b"[2]"]
        await rig.feed(request(b"[3]") + request(b"[4]"))
        rig.taker.reply()
        await rig.settle()
        assert rig.long == [b"[0]", b"[3]"]
        assert rig.taker.bodies == [b"[1]", b"[2]", b"[4]"]
        rig.taker.reply()
        assert rig.wire.sent.count(b"HTTP/1.1 201 Created") == 5
        assert rig.wire.sent.index(b"short") < rig.wire.sent.rindex(b"long")

    run(test)


def test_a_request_waits_for_the_answer_to_one_that_goes_the_long_way() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.willing = False
        rig.connection.data_received(request(b"[1]"))
        rig.taker.willing = True
        rig.connection.data_received(request(b"[2]"))
        assert rig.wire.paused
        assert rig.long == [b"[0]"]
        await rig.settle()
        assert not rig.wire.paused
        assert rig.long == [b"[0]", b"[1]"]
        assert rig.taker.bodies == [b"[2]"]

    run(test)


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"1.1", b"1.0") + TOKEN,
        HEAD + TOKEN + b"Connection: close\r\n",
        HEAD + TOKEN + b"Expect: 100-continue\r\n",
        HEAD,
    ],
)
def test_heads_that_are_not_remembered(head: bytes) -> None:
    async def test(rig: Rig) -> None:
        assert b"long" in await rig.feed(request(b"[1]", head))
        if not rig.wire.closed:
            assert b"long" in await rig.feed(request(b"[2]", head))
        assert rig.taker.bodies == []

    run(test, warm=False)


def test_a_connection_stops_to_learn_heads_that_all_differ() -> None:
    async def test(rig: Rig) -> None:
        for number in range(HEADS_LEARNED_MAX + 5):
            head = HEAD + TOKEN + b"Trace: %d\r\n" % number
            assert b"long" in await rig.feed(request(b"[1]", head))
        assert b"long" in await rig.feed(request(b"[1]", head))
        last = HEAD + TOKEN + b"Trace: %d\r\n" % (HEADS_LEARNED_MAX - 1)
        await rig.feed(request(b"[2]", last))
        assert rig.taker.bodies == [b"[2]"]

    run(test, warm=False)


def test_a_server_that_stops_lets_the_answer_out() -> None:
    async def test(rig: Rig) -> None:
        await rig.feed(request(b"[1]"))
        rig.connection.shutdown()
        assert not rig.wire.closed
        rig.taker.reply()
        assert rig.wire.sent.endswith(b"\r\nconnection: close\r\n\r\nshort")
        assert rig.wire.closed

    run(test)


def test_a_server_that_stops_closes_a_connection_without_a_request() -> None:
    async def test(rig: Rig) -> None:
        await rig.feed(request(b"[1]"))
        rig.taker.reply()
        rig.connection.shutdown()
        assert rig.wire.closed

    run(test)


@pytest.mark.parametrize("short", [True, False])
def test_before_a_stop_a_connection_ends_with_its_next_answer(*, short: bool) -> None:
    async def test(rig: Rig) -> None:
        rig.taker.willing = short
        rig.connection.end_after_answer()
        assert not rig.wire.closed
        before = len(rig.wire.sent)
        await rig.feed(request(b"[1]"))
        if short:
            rig.taker.reply()
        answer = rig.wire.sent[before:]
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert answer.count(b"connection: close\r\n") == 1
        assert answer.endswith(b"short" if short else b"long")
        assert rig.wire.closed

    run(test)


def test_before_a_stop_an_answer_that_ends_its_connection_says_so_once() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.willing = False
        rig.headers = {"Connection": "close"}
        rig.connection.end_after_answer()
        answer = await rig.feed(request(b"[1]"))
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert answer.count(b"connection: close\r\n") == 1
        assert rig.wire.closed

    run(test)


def test_a_connection_that_comes_before_a_stop_has_one_answer() -> None:
    async def test(rig: Rig) -> None:
        notice = StopNotice()
        notice.announce()
        rig._app_state[DRAIN_STATE] = notice
        rig.connection, rig.wire = rig.connect()
        answer = await rig.feed(request(b"[1]"))
        assert b"\r\nconnection: close\r\n" in answer
        assert rig.wire.closed

    run(test)


def test_nothing_is_written_to_who_is_gone() -> None:
    async def test(rig: Rig) -> None:
        await rig.feed(request(b"[1]"))
        before = rig.wire.sent
        rig.connection.connection_lost(None)
        rig.taker.reply()
        assert rig.wire.sent == before

    run(test)


def test_every_request_goes_the_long_way_where_the_short_one_is_turned_off() -> None:
    async def test(rig: Rig) -> None:
        offered = request(b"[4]", HEAD + TOKEN + b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
        for whole in (request(b"[1]"), request(b"[2]") + request(b"[3]"), offered, offered):
            assert b"long" in await rig.feed(whole)
        assert rig.long == [b"[0]", b"[1]", b"[2]", b"[3]", b"[4]", b"[4]"]
        assert rig.taker.bodies == []

    run(test, fast_path=False)


def test_the_server_knows_the_connection_from_its_begin_to_its_end() -> None:
    async def test(rig: Rig) -> None:
        assert rig.state.connections == {rig.connection}
        rig.connection.connection_lost(None)
        assert rig.state.connections == set()

    run(test)


def test_the_server_below_is_built_and_stopped_as_uvicorn_does_it() -> None:
    """These are all names of uvicorn that a connection uses: see fastpath/README.md."""
    names = list(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert names == ["self", "config", "server_state", "app_state", "_loop"]
    assert list(inspect.signature(HttpToolsProtocol.shutdown).parameters) == ["self"]
    state = ServerState()
    assert state.total_requests == 0
    assert state.connections == set()
    assert state.default_headers == []
    config = uvicorn.Config("treadle:none", timeout_keep_alive=7)
    assert config.timeout_keep_alive == 7
    assert config.loaded is False
    assert "loaded_app" in uvicorn.Config.load.__code__.co_names


# --- what a sender may use ------------------------------------------------------------------------

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 10, 10_000])
@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"GET /" + b"a" * 20_000, b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"400"),
        (request(b"[1]", HEAD + TOKEN + TOKEN), b"400"),
        (request(b"[1]").replace(b"1.1", b"2.0"), b"505"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
    ],
)
def test_a_refusal_is_an_answer_and_the_sender_gets_to_read_it(
    received: bytes, status: bytes, size: int
) -> None:
    async def test(rig: Rig) -> None:
        before = len(rig.wire.sent)
        # What is far below every bound comes at once: 20,000 pieces take longer than a head may.
        begin = max(0, min(len(received), 16_000) - 2_000)
        await rig.feed(received[:begin])
        for at in range(begin, len(received), size):
            await rig.feed(received[at : at + size])
        answer = rig.wire.sent[before:]
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert answer.count(b"\r\nconnection: close\r\n") == 1
        assert b"\r\ncontent-length: " in answer
        lingers = rig.wire.ended and not rig.wire.closed
        assert lingers or rig.wire.closed
        await rig.feed(request(b"[9]"))  # is dropped
        assert rig.wire.sent[before:] == answer
        assert rig.long == [b"[0]"]
        rig.check()
        rig.check(LINGER_SECONDS)
        assert rig.wire.closed

    run(test)


def test_a_damaged_body_is_answered_and_its_reader_told() -> None:
    async def test(rig: Rig) -> None:
        assert await rig.feed(HEAD + TOKEN + b"Transfer-Encoding: chunked\r\n\r\n") == b""
        answer = await rig.feed(b"x\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert rig.gone == 1
        assert rig.wire.ended

    run(test)


def test_one_request_is_under_way_at_a_time() -> None:
    async def test(rig: Rig) -> None:
        rig.connection.data_received(request(b"[1]", HEAD) + request(b"[2]", HEAD) * 99)
        assert rig.wire.paused
        assert rig.began == 0
        for _ in range(TURNS):
            await asyncio.sleep(0)
            assert rig.began <= len(rig.long) + 1
        await rig.settle()
        for _ in range(20):
            await rig.settle()
        assert rig.long == [b"[1]", *[b"[2]"] * 99]
        assert not rig.wire.paused

    run(test, warm=False)


def test_a_stranger_who_sends_ahead_gets_one_answer() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.known = False
        answer = await rig.feed(GET * 5_000)
        assert answer.count(b"HTTP/1.1 201 ") == 1
        assert b"\r\nconnection: close\r\n" in answer
        assert rig.wire.ended
        assert rig.connection._ahead.size == 0

    run(test, warm=False)


def test_a_stranger_may_send_a_few_requests_ahead() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.known = False
        answer = await rig.feed(GET * 20)
        for _ in range(5):
            await rig.settle()
        answer = rig.wire.sent
        assert answer.count(b"HTTP/1.1 201 ") == 20
        assert not rig.wire.closed

    run(test, warm=False)


def test_nothing_is_remembered_of_a_stranger() -> None:
    async def test(rig: Rig) -> None:
        rig.taker.known = False
        for _ in range(3):
            assert b"long" in await rig.feed(request(b"[1]"))
        assert rig.connection._heads.template is rig.connection._heads.passed is None
        rig.connection.sender.mark_known(1)  # as an endpoint does that looked the token up
        assert b"long" in await rig.feed(request(b"[1]"))
        await rig.feed(request(b"[2]"))
        assert rig.taker.bodies == [b"[2]"]

    run(test, warm=False)


@pytest.mark.parametrize(
    ("before", "received", "seconds", "answer"),
    [
        ([], b"", FIRST_BYTE_SECONDS, b""),
        ([], b"\r\n", FIRST_BYTE_SECONDS, b""),
        ([], b"G", HEAD_SECONDS, b"HTTP/1.1 408 "),
        ([], GET[:-1], HEAD_SECONDS, b"HTTP/1.1 408 "),
        ([GET], b"", KEEP_ALIVE, b""),
        ([GET], b"\r\n", KEEP_ALIVE, b""),
        ([GET], GET[:-1], HEAD_SECONDS, b"HTTP/1.1 408 "),
        ([], request(b"[12]")[:-2], 35.0, b"HTTP/1.1 408 "),
    ],
)
def test_every_state_has_a_deadline(
    before: list[bytes], received: bytes, seconds: float, answer: bytes
) -> None:
    async def test(rig: Rig) -> None:
        for each in before:
            await rig.feed(each)
        rig.check()
        said = len(rig.wire.sent)
        if received:
            await rig.feed(received)
        rig.check()
        rig.check(seconds - 1)
        assert not rig.wire.closed
        assert rig.wire.sent[said:] == b""
        rig.check(seconds + 1)
        await rig.settle()
        assert rig.wire.sent[said:].startswith(answer)
        assert rig.wire.closed or rig.wire.ended

    run(test, warm=False)


def test_the_head_of_a_request_does_not_get_more_time_by_more_bytes() -> None:
    async def test(rig: Rig) -> None:
        rig.check()
        for at in range(10):
            await rig.feed(GET[at : at + 1])
            rig.check(at * HEAD_SECONDS / 9)
            rig.check(at * HEAD_SECONDS / 9)
        rig.check(HEAD_SECONDS + 1)
        assert b"HTTP/1.1 408 " in rig.wire.sent

    run(test, warm=False)


def test_what_is_left_of_an_answered_body_is_read_for_a_while() -> None:
    async def test(rig: Rig) -> None:
        rig.impatient = True
        whole = request(b"[1, 2, 3]", HEAD)
        assert b"long" in await rig.feed(whole[:-5])
        rig.check()
        await rig.feed(whole[-5:-3])
        assert b"long" in await rig.feed(whole[-3:] + whole)  # the connection goes on
        await rig.feed(whole[:-5])
        rig.check()
        rig.check(DRAIN_SECONDS + 1)
        assert rig.wire.aborted

    run(test, warm=False)


def test_a_client_that_does_not_read_is_given_up() -> None:
    async def test(rig: Rig) -> None:
        await rig.feed(GET)
        rig.wire.unsent = 200_000
        rig.check()
        rig.wire.unsent -= WRITE_BYTES_MIN  # it reads
        rig.check(WRITE_SECONDS)
        rig.check(2 * WRITE_SECONDS - 1)
        assert not rig.wire.aborted
        rig.wire.unsent -= 1  # too little
        rig.check(2 * WRITE_SECONDS)
        assert rig.wire.aborted

    run(test, warm=False)


def test_no_request_begins_while_answers_are_not_read() -> None:
    async def test(rig: Rig) -> None:
        await rig.feed(request(b"[1]"))
        rig.connection.pause_writing()
        rig.taker.reply()
        await rig.feed(request(b"[2]"))
        assert rig.taker.bodies == [b"[1]"]
        assert rig.wire.paused
        rig.connection.resume_writing()
        await rig.settle()
        assert rig.taker.bodies == [b"[1]", b"[2]"]
        assert not rig.wire.paused

    run(test)


def test_a_connection_without_a_place_is_closed_at_once() -> None:
    async def test(rig: Rig) -> None:
        limits = ConnectionLimits(1, 0, 1, 1)
        log = RefusalLog(logging.getLogger("test"), lambda: 0.0)
        table = ConnectionTable(limits, log, lambda *_: None)
        first, second, third = (rig.connect(table) for _ in range(3))
        assert [wire.aborted for _, wire in (first, second, third)] == [True, True, False]
        third[0].sender.mark_known(1)
        assert rig.connect(table)[1].aborted
        third[0].connection_lost(None)
        assert not rig.connect(table)[1].aborted

    run(test)


def test_a_server_that_stops_drops_what_came_ahead() -> None:
    async def test(rig: Rig) -> None:
        rig.connection.data_received(request(b"[1]", HEAD) + request(b"[2]", HEAD))
        rig.connection.shutdown()
        await rig.settle()
        assert rig.long == [b"[1]"]
        assert b"\r\nconnection: close\r\n" in rig.wire.sent
        assert rig.wire.ended

    run(test, warm=False)
