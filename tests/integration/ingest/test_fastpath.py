"""Requests on a kept connection: the short way says and keeps what the long way does."""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.servers.cases import ENV, REC, env, msg, rec
from tests.servers.ingest import ImportServer
from tests.servers.treadle import eventually

from treadle.errors import InternalError, RetriableError
from treadle.ingest.fastpath import handler
from treadle.log.protocol import (
    AppendResult,
    AppendUnknownError,
    AppendWaiter,
    IdempotencyKey,
    NewEntry,
)

pytestmark = pytest.mark.usefixtures("patient")

PUSH, BATCH = "/v2/import/push", "/v2/import/batch"


class Wire:
    """A kept connection, looked at byte by byte."""

    def __init__(self, server: ImportServer, path: str, token: str | None = None) -> None:
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token or server.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._socket = socket.create_connection(("127.0.0.1", server.port), 120)
        self._rest = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def request(self, body: Any) -> bytes:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return f"{self._head}{len(raw)}\r\n\r\n".encode() + raw

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> bytes:
        """The next answer, without what differs from one to the next."""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        assert found is not None
        length = int(found[1])
        while len(self._rest) < length:
            self._rest += self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        assert re.search(rb"\r\ndate: [^\r]{29}(\r|$)", head)
        head = re.sub(rb"\r\ndate: [^\r]+", b"", head)
        return re.sub(rb"rc_[\w-]{8,}", b"rc_", head) + b"\r\n\r\n" + body

    def ask(self, body: Any) -> bytes:
        self.send(self.request(body))
        return self.answer()

    def _more(self) -> bytes:
        received = self._socket.recv(65_536)
        assert received, "the connection was closed"
        return received


MANY = [msg(sequence=number, data={"id": number, "name": "x" * 90}) for number in range(2_000)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PUSH, [REC]),
        (PUSH, [REC] * 50),
        (PUSH, [REC] * 2_000),
        (BATCH, ENV),
        (BATCH, env(messages=MANY)),
    ],
)
def test_both_ways_say_and_keep_the_same(
    server: ImportServer, taken: list[bool], path: str, body: Any
) -> None:
    with Wire(server, path) as wire:
        wire.ask(body)  # the first use of a token
        taken.clear()
        answers = [wire.ask(body) for _ in range(3)]
    assert taken == [True] * 3
    with Wire(server, path) as wire:
        answers.append(wire.ask(body))
    assert len(taken) == 3
    assert b"treadle-receipt: rc_" in answers[0]
    assert len(set(answers)) == 1
    kept = server.batches()
    assert len(kept) == 5
    assert all(batch == kept[0] for batch in kept)


def test_each_receipt_names_its_own_entries(server: ImportServer, taken: list[bool]) -> None:
    tables = [f"t{number}" for number in range(5)]
    with Wire(server, PUSH) as wire:
        for table in tables:
            wire.ask([rec(table_name=table), rec(table_name=f"{table} too")])
    assert taken == [True] * 4
    assert [batch.table_name for batch in server.batches()] == [
        name for table in tables for name in (table, f"{table} too")
    ]


WRONG = [
    (PUSH, b"nothing"),
    (PUSH, b"\xff"),
    (PUSH, b""),
    (PUSH, []),
    (PUSH, {}),
    (PUSH, [1]),
    (PUSH, [rec(client_id=1)]),
    (PUSH, [rec(), rec(client_id=1)]),
    (PUSH, [rec("data")]),
    (PUSH, [rec(sequence=2**63)]),
    (PUSH, [rec(table_name=" ")]),
    (PUSH, [rec(data={"name": "no key"})]),
    (PUSH, [rec(data={"id": None})]),
    (PUSH, [rec(data={"id": 1, "many": [0] * 10_001})]),
    (BATCH, b"nothing"),
    (BATCH, []),
    (BATCH, env(messages=[])),
    (BATCH, env(messages=[msg(data={"id": "text"})])),
    (BATCH, env(messages=[msg(data={"name": "no key"})])),
    (BATCH, env(schema={"properties": 1})),
    (BATCH, env(messages=[*MANY, msg(data={"id": "text"})])),
    (PUSH, [*[REC] * 2_000, rec(data={"id": None})]),
]


@pytest.mark.parametrize(("path", "body"), WRONG)
def test_what_is_wrong_is_refused_in_the_same_words(
    server: ImportServer, taken: list[bool], path: str, body: Any
) -> None:
    good = [REC] if path == PUSH else ENV
    with Wire(server, path) as wire:
        for _ in range(2):
            wire.ask(good)
        refused = wire.ask(body)
        assert taken == [True, False]
        assert b"201 Created" in wire.ask(good)
    with Wire(server, path) as wire:
        assert wire.ask(body) == refused
    assert refused.startswith(b"HTTP/1.1 4")
    assert server.accepted() == 3


UNUSUAL = [
    [rec(client_id="4321")],
    [rec(namespace=None)],
    [rec(action="switch_view", table_version=1)],
    [rec(data={"id": 1, "deep": [[[[[[]]]]]]})],
    [rec(data={"id": 2**70, "lone": "\ud800"})],
    [rec(key_names=['odd "name"'], data={'odd "name"': 1})],
    [rec(table_name="größe")],
]


@pytest.mark.parametrize("body", UNUSUAL)
def test_what_is_unusual_is_kept_the_same(server: ImportServer, body: Any) -> None:
    with Wire(server, PUSH) as wire:
        for _ in range(2):
            wire.ask([REC])
        answer = wire.ask(body)
    with Wire(server, PUSH) as wire:
        assert wire.ask(body) == answer
    *_, first, second = server.batches()
    assert first == second


def test_a_token_that_is_revoked_is_refused(server: ImportServer, taken: list[bool]) -> None:
    token = server.store.tokens.create_token(4321, server.source_id)
    with Wire(server, PUSH, token.secret) as wire:
        for _ in range(3):
            assert b"201 Created" in wire.ask([REC])
        server.store.tokens.revoke_token(4321, server.source_id, token.id)
        server.ingest.token_cache.invalidate()
        assert b"401 Unauthorized" in wire.ask([REC])
    assert taken == [True, False]


def test_a_paused_source_is_refused(server: ImportServer, taken: list[bool]) -> None:
    with Wire(server, PUSH, server.paused_token) as wire:
        answers = {wire.ask([REC]) for _ in range(3)}
    assert taken == [False, False]
    [answer] = answers
    assert b"Connection is not active." in answer


def test_uses_are_counted_on_both_ways(server: ImportServer) -> None:
    with Wire(server, PUSH) as wire:
        for _ in range(4):
            wire.ask([REC])
    asyncio.run(server.ingest.token_cache.flush_uses())
    [token] = server.store.tokens.list_tokens(server.source_id)
    assert token.uses == 4


def test_requests_sent_ahead_are_answered_in_order(server: ImportServer) -> None:
    bodies = [[rec(sequence=number)] for number in range(20)]
    with Wire(server, PUSH) as wire:
        wire.ask(bodies[0])
        wire.send(wire.request(bodies[1]))
        wire.send(b"".join(map(wire.request, bodies[2:])))
        answers = {wire.answer() for _ in bodies[1:]}
    assert len(answers) == 1
    assert [batch.sequences for batch in server.batches()] == [[number] for number in range(20)]


class Log:
    """A log that says what the test tells it to."""

    log_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.refuses = False
        self.silent = False
        self.owed: list[Callable[[], object]] = []

    async def append(self, entries: Sequence[NewEntry]) -> int:
        if self.error is not None:
            raise self.error
        return 1

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        raise AssertionError("nothing here has a key")

    def find_refusal(self) -> str | None:
        return None

    def find_silence(self) -> float:
        return 0.0

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        if self.refuses:
            raise self.error or RetriableError("full")
        loop = asyncio.get_running_loop()
        if self.error is not None:
            loop.call_soon(waiter.set_exception, self.error)
        elif self.silent:
            stored = AppendResult(1, b"", duplicate=False)
            self.owed.append(partial(loop.call_soon_threadsafe, waiter.set_result, stored))
        else:
            loop.call_soon(waiter.set_result, AppendResult(1, b"", duplicate=False))

    async def aclose(self) -> None:
        pass


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[tuple[ImportServer, Log]]:
    server, log = ImportServer(tmp_path), Log()
    with server.running(log):
        yield server, log
    server.store.close()


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RetriableError("full"), b"503 Service"),
        (AppendUnknownError("no answer"), b"504 Gateway"),
        (InternalError("broken"), b"500 Internal"),
    ],
)
def test_a_log_that_fails_is_answered_as_ever(
    failing: tuple[ImportServer, Log], *, error: Exception, status: bytes, refuses: bool
) -> None:
    server, log = failing
    with Wire(server, PUSH) as wire:
        for _ in range(2):
            assert b"201 Created" in wire.ask([REC])
        log.error, log.refuses = error, refuses
        answer = wire.ask([REC])
        assert answer.startswith(b"HTTP/1.1 " + status)
    with Wire(server, PUSH) as wire:
        assert wire.ask([REC]) == answer
    expected = 200 if isinstance(error, InternalError) else 503
    assert server.send("GET", "/v2/import/status").status == expected


def test_a_log_that_does_not_answer_is_not_waited_for_for_ever(
    failing: tuple[ImportServer, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, log = failing
    monkeypatch.setattr(handler, "APPEND_SECONDS_MAX", 0.1)
    log.silent = True
    with Wire(server, PUSH) as wire, Wire(server, PUSH) as other:
        for one in (wire, other):
            one.ask([REC])
            one.send(one.request([REC]))
        for one in (wire, other):
            answer = one.answer()
            assert answer.startswith(b"HTTP/1.1 504 ")
            assert answer.endswith(
                b'{"status":"ERROR","message":"Gateway timeout. Try again later."}'
            )
        log.silent = False
        monkeypatch.setattr(handler, "APPEND_SECONDS_MAX", 60)
        assert b"201 Created" in wire.ask([REC])


def test_bodies_beyond_what_is_read_at_once_go_the_long_way(
    server: ImportServer, taken: list[bool]
) -> None:
    body = env(messages=MANY * 3)
    with Wire(server, BATCH) as wire:
        answers = {wire.ask(ENV), wire.ask(body), wire.ask(body)}
    assert not any(taken)
    [answer] = answers
    assert b"201 Created" in answer
    assert [len(batch) for batch in server.batches()] == [1, 6_000, 6_000]


def test_large_bodies_count_until_they_are_answered(
    failing: tuple[ImportServer, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, log = failing
    large = env(messages=MANY)
    size = len(json.dumps(large).encode())
    monkeypatch.setattr(server.ingest.fast_path.budget, "_limit", 4 * size)
    with Wire(server, BATCH) as wire, Wire(server, BATCH) as other, Wire(server, BATCH) as third:
        for one in (wire, other, third):
            one.ask(ENV)
        log.silent = True
        for one in (wire, other):
            one.send(one.request(large))
        eventually(lambda: len(log.owed) == 2)
        log.silent = False
        busy = third.ask(large)
        assert busy.startswith(b"HTTP/1.1 503 ")
        assert b"201 Created" in third.ask(ENV)
        for answer in log.owed:
            answer()
        assert b"201 Created" in wire.answer()
        assert b"201 Created" in other.answer()
        assert b"201 Created" in third.ask(large)
