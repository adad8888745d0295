"""The same bytes on a fresh connection and on one that knows the head: the same answer and log.

What is sent is made here from bodies in order: each value in turn is left out, sent twice or put in
place of another, and the text is cut and damaged. Requests in order come in other heads and pieces.
"""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from tests.servers.cases import MSG, REC, env, msg, rec
from tests.servers.ingest import CLIENT, UNKNOWN_TOKEN, ImportServer
from tests.servers.treadle import eventually

from treadle.errors import RequestRefusedError
from treadle.log.protocol import AppendResult, AppendWaiter, IdempotencyKey, NewEntry
from treadle.records import batch, push
from treadle.records.message_batch import MessageBatch, decode_batch

pytestmark = pytest.mark.usefixtures("patient")

PUSH, BATCH = "/v2/import/push", "/v2/import/batch"
END: Final = b"GET /v2/import/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
"""A last request: after its answer the server closes the connection."""

STRIDE: Final = 3
"""One of so many bodies is sent, to take a few seconds; all 3,300 were when this was written."""


# --- the bodies -----------------------------------------------------------------------------------


class Members(list[tuple[str, Any]]):
    """A JSON object as its members, of which some may have the same name."""


def members(value: Any) -> Any:
    if isinstance(value, dict):
        return Members((name, members(its)) for name, its in value.items())
    return [members(each) for each in value] if isinstance(value, list) else value


def text(value: Any) -> str:
    """JSON of what `members` gives; bytes stand for themselves."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(name)}:{text(its)}" for name, its in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    return json.dumps(value)


VALUES: Final[Sequence[Any]] = [
    b"null", b"true", b"0", b"-1", b"1.0", b"1e2", b"1E400", b"-0", b"9223372036854775807",
    b"9223372036854775808", b"-9223372036854775809", b"1" * 4301, b"01", b"NaN",
    b'""', b'" "', b'"1"', b'"upsert"', b'"activate_version"', b'"switch_view"', b'"2020-01-14"',
    b'"2020-01-14T00:00:00Z"', b'"\\ud800"', b'"\\u0000"', b'"\xc3\xa4"', b'"\xff"',
    b'"\xed\xa0\x80"', b"[]", b'["id"]', b'["id","id"]', b'["name","id"]', b"[1]", b"{}",
    b'{"id":2}', b'{"id":1,"id":"x"}', b'{"id":null}', b'{"type":"object"}', b'{"properties":{}}',
    b'{"id":' + b"[" * 600 + b"]" * 600 + b"}",
    b'{"id":1,"x":' + b"[" * 252 + b"]" * 252 + b"}",
]  # fmt: skip
FURTHER: Final = (
    "x", "namespace", "table_version", "time_extracted", "vintage", "bookmark_names", "key_names",
)  # fmt: skip


def changed(value: Any) -> Iterator[Any]:
    """A value with one thing in it changed, in many ways."""
    if isinstance(value, Members):
        for at, (name, its) in enumerate(value):
            before, after = value[:at], value[at + 1 :]
            yield Members(before + after)
            yield Members([*after, (name, its), *before])
            for other in changed(its):
                yield Members([*before, (name, other), *after])
            yield Members([*value, (name, b"7")])
            yield Members([(name, b"7"), *value])
            yield Members([*before, (name.upper(), its), *after])
        for name in FURTHER:
            for other in (b"null", b"1", b'"a"', b'""', b'["id"]'):
                yield Members([*value, (name, other)])
        yield from VALUES
    elif isinstance(value, list):
        for at, its in enumerate(value):
            yield value[:at] + value[at + 1 :]
            for other in changed(its):
                yield [*value[:at], other, *value[at + 1 :]]
        yield [*value, *value[:1]]
        yield from VALUES
    else:
        yield from VALUES


def damaged(body: bytes) -> Iterator[bytes]:
    """A body with its bytes changed."""
    step = max(1, len(body) // 40)
    for at in range(0, len(body), step):
        yield body[:at]
        yield body[:at] + body[at + 1 :]
        yield body[:at] + b"\xff" + body[at:]
        yield body[:at] + b"\x00" + body[at:]
    for before, after in ((b"\xef\xbb\xbf", b""), (b"\xef\xbb\xbf" * 2, b""), (b"\r\n ", b"\n"),
                          (b"", b"]"), (b"", b"{}"), (b"", b"\x00"), (b"[", b"]")):  # fmt: skip
        yield before + body + after


def bodies(path: str) -> list[bytes]:
    good = [rec(), rec(sequence=2)] if path == PUSH else env(messages=[MSG, msg(sequence=2)])
    whole = json.dumps(good).encode()
    made = [text(each).encode("latin-1") for each in changed(members(good))]
    return list(dict.fromkeys([whole, *made, *damaged(whole)]))


def expected(path: str, body: bytes) -> list[MessageBatch]:
    """What is kept of a body by the general way of the decoders; nothing when it is refused."""
    try:
        if path == BATCH:
            return batch.check_body(batch.decode_body(body))
        return push.check_body_exactly(push.decode_body(body, transit=False), CLIENT)
    except RequestRefusedError:
        return []


# --- the server -----------------------------------------------------------------------------------


class Log:
    """A log in memory."""

    log_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self) -> None:
        self._kept: list[tuple[bool, NewEntry]] = []

    async def append(self, entries: Sequence[NewEntry]) -> int:
        return self._keep(entries)

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        return AppendResult(self._keep(entries, once=True), once.digest, duplicate=False)

    def find_refusal(self) -> str | None:
        return None

    def find_silence(self) -> float:
        return 0.0

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        stored = AppendResult(self._keep(entries), b"", duplicate=False)
        asyncio.get_running_loop().call_soon(waiter.set_result, stored)

    async def aclose(self) -> None:
        pass

    def _keep(self, entries: Sequence[NewEntry], *, once: bool = False) -> int:
        self._kept += [(once, entry) for entry in entries]
        return len(self._kept) + 1 - len(entries)

    def taken(self) -> list[tuple[bool, int, str, int, MessageBatch]]:
        """What was kept since the last time: whether once, and of which source, table and size."""
        kept, self._kept = self._kept, []
        return [
            (once, entry.source_id, entry.table_name, entry.records, decode_batch(entry.payload))
            for once, entry in kept
        ]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def server(tmp_path: Path, log: Log) -> Iterator[ImportServer]:
    server = ImportServer(tmp_path)
    with server.running(log):
        yield server
        eventually(holds(server, 0))
    server.store.close()


class Wire:
    """A connection, looked at byte by byte."""

    def __init__(self, server: ImportServer) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def ask(self, *pieces: bytes) -> bytes:
        """The next answer, after these were sent."""
        self.send(*pieces)
        while True:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            size = int(length[1]) if length is not None else 0
            if found and len(rest) >= size:
                self._rest = rest[size:]
                return plain(head + found + rest[:size])
            assert self._more(), "the connection was closed"

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def end(self) -> bytes:
        """All that comes until the connection is closed."""
        while self._more():
            pass
        return plain(self._rest)

    def _more(self) -> bool:
        received = self._socket.recv(65_536)
        self._rest += received
        return received != b""


def plain(answers: bytes) -> bytes:
    """Answers without what differs from one to the next."""
    return re.sub(rb"rc_[\w-]{8,}", b"rc_", re.sub(rb"\r\ndate: [^\r]+", b"", answers))


def head_of(server: ImportServer, path: str = PUSH) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.token}\r\n"
        "Content-Type: application/json\r\n"
    ).encode()


def request(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def holds(server: ImportServer, count: int) -> Callable[[], bool]:
    """Whether so many bytes of bodies are in memory."""
    return lambda: server.ingest.fast_path.budget._held_bytes == count


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PUSH, BATCH])
def test_bodies(server: ImportServer, log: Log, taken: list[bool], path: str) -> None:
    head = head_of(server, path)
    sent = bodies(path)[::STRIDE]
    statuses = set()
    with Wire(server) as kept:
        kept.ask(request(head, sent[0]))
        for body in sent:
            whole = request(head, body)
            log.taken()
            with Wire(server) as fresh:
                answer = fresh.ask(whole)
            entries = log.taken()
            assert [entry[-1] for entry in entries] == expected(path, body), body
            cut = len(whole) - len(body) // 2
            for pieces in ([whole], [whole[:cut], whole[cut:]]):
                assert kept.ask(*pieces) == answer, body
                assert log.taken() == entries, body
            statuses.add(answer[9:12])
    assert len(taken) == 2 * len(sent)
    assert taken.count(True) > 2 * len(sent) // 8
    assert statuses >= {b"201", b"400"}


BODY: Final = json.dumps([REC]).encode()
LARGE: Final = json.dumps([rec(data={"id": 1, "name": "x" * 90_000})]).encode()


OFFER: Final = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
)
"""What Java's client sends with every request to a plain port."""


def heads(head: bytes) -> Iterator[bytes]:
    """Requests whose heads say something more than the usual one, or something else."""
    size = len(BODY)
    for length in ("00%d", "+%d", "-%d", " %d", "%d ", "%d, 1", "%d\0", "0x%x", "0" * 9 + "%d"):
        yield head + b"Content-Length: " + (length % size).encode() + b"\r\n\r\n" + BODY
    for length in ("", "\xb2", "99999999999", "18446744073709551616", "21000000"):
        yield head + b"Content-Length: " + length.encode("latin-1") + b"\r\n\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n" % (size, BODY)
    for body in (
        chunked + b"\r\n", chunked + b"X: y\r\n\r\n",
        chunked + b"Authorization: Bearer x\r\n\r\n",
        chunked + b"Host: a\r\n\r\n", chunked + b"X: y\r\n" * 101 + b"\r\n",
        chunked + b"X: " + b"x" * 17_000,
        chunked.replace(b"\r\n", b";a=b\r\n", 1) + b"\r\n",
        chunked.replace(b"\r\n", b"\n", 1) + b"\r\n",
        b"0" + chunked + b"\r\n", b"+" + chunked + b"\r\n", b"0x" + chunked + b"\r\n",
        b" " + chunked + b"\r\n",
        b"1;" + b"x" * 17_000 + b"\r\n", b"f" * 17 + b"\r\n", b"\r\n", b"-1\r\n",
    ):  # fmt: skip
        yield head + b"Transfer-Encoding: chunked\r\n\r\n" + body
    yield request(head + b"Transfer-Encoding: chunked\r\n", BODY)
    for more in (
        f"Content-Length: {size}", "Content-Length: 1", "Transfer-Encoding: identity",
        "Connection: close", "Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c",
        "Authorization: Bearer x", "Content-Type: text/plain", "Content-Encoding: gzip",
        "Content-Encoding: identity", "Content-Encoding: br", "Idempotency-Key: a",
        "Idempotency-Key: ", "Prefer: wait=0", "X: \0", "X: \xff", "X: a\r\n b", ": a",
        "Content-Length : 1", "X: " + "x" * 5_000, "X: " + "x" * 17_000, "X: y\r\n" * 99 + "X: y",
        "Host: a", "hOST: b", "Host:", "authorization: Bearer x",
        f"AUTHORIZATION: Bearer {UNKNOWN_TOKEN}",
        "Content-Type: application/json", "Content-Length: 3",
        "Idempotency-Key: a\r\nidempotency-key: a",
        "Content-Encoding: gzip\r\nContent-Encoding: gzip", "User-Agent: a\r\nUser-Agent: b",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Expect: a\r\nExpect: b", "Cookie: a\r\nCookie: b",
        "X-Forwarded-For: a\r\nX-Forwarded-For: b",
    ):  # fmt: skip
        yield request(head + more.encode("latin-1") + b"\r\n", BODY)
    for before, after in (
        ("1.1", "1.0"), ("1.1", "2.0"), ("1.1", "0.9"), ("1.1", "1.2"), ("1.1", "1.10"),
        (" HTTP/1.1", ""),
        ("HTTP/", "http/"), ("HTTP/", "HTTPS/"), ("Host: a", "Host: a, b"),
        ("Host: a", "Host: a b"),
        ("Host: a", "Host: http://a/"), ("Host: a", "Host: [::1]:80"), ("Host: a", "Host:"),
        ("Host: a", "Host: a:x"),
        ("push", "push?" + "a" * 8_200), ("push", "push?" + "a" * 17_000), ("Host: a\r\n", ""),
        ("Host: a\r\n", "Host: a\n"),
        ("Host", "hOST"), ("Bearer ", "bEARER   "), ("Bearer ", "Bearer\r\n "),
        ("Bearer", "Basic"),
        ("json", "json; charset=latin1"), ("json", "transit+json"), ("json", "JSON"),
        ("Content-Type: application/json\r\n", ""), ("push", "push?dry_run=true"),
        ("push", "push?"), ("push", "%70ush"), ("push", "push/"), ("push", "validate"),
        (" /", " http://a/"), (" /", " //"), ("POST", "PUT"), ("POST", "GET"), ("POST", "post"),
        ("POST", "OPTIONS"), ("POST", "\r\nPOST"), ("POST", " POST"), ("\r\n", "\n"),
    ):  # fmt: skip
        yield request(head.replace(before.encode(), after.encode()), BODY)


def test_heads(server: ImportServer, log: Log) -> None:
    usual = request(head_of(server), BODY)
    for whole in heads(head_of(server)):
        ways = []
        for known in ([], [usual, usual]):
            with Wire(server) as wire:
                for each in known:
                    assert wire.ask(each).startswith(b"HTTP/1.1 201 ")
                log.taken()
                ways.append((wire.ask(whole), log.taken()))
        assert ways[0] == ways[1], whole


def test_heads_that_come_again(server: ImportServer, log: Log) -> None:
    for whole in heads(head_of(server)):
        with Wire(server) as wire:
            first = wire.ask(whole), log.taken()
            if b"connection: close" in first[0] or b" 413 " in first[0]:
                continue
            for _ in range(2):
                assert (wire.ask(whole), log.taken()) == first, whole


def test_the_answers_are_the_same_where_the_fast_path_is_turned_off(
    server: ImportServer, log: Log, taken: list[bool], tmp_path: Path
) -> None:
    requests = [*heads(head_of(server)), request(head_of(server) + OFFER, BODY)]
    (tmp_path / "off").mkdir()
    other = ImportServer(tmp_path / "off")
    with other.running(log, fast_path=False):
        for whole in requests:
            ways = []
            for each in (server, other):
                taken.clear()
                sent = whole.replace(server.token.encode(), each.token.encode())
                with Wire(each) as wire:
                    for _ in range(2):
                        wire.ask(request(head_of(each), BODY))
                    assert taken == ([True] if each is server else [])
                    log.taken()
                    ways.append((wire.ask(sent), log.taken()))
            assert ways[0] == ways[1], whole
    other.store.close()


def test_an_expectation_is_met(server: ImportServer) -> None:
    usual = request(head_of(server), BODY)
    whole = request(head_of(server) + b"Expect: 100-continue\r\n", BODY)
    with Wire(server) as wire:
        for _ in range(2):
            answer = wire.ask(usual)
        for _ in range(2):
            assert wire.ask(whole[: -len(BODY)]) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert wire.ask(BODY) == answer
        assert wire.ask(usual) == answer


@pytest.mark.parametrize("body", [BODY, LARGE, b"[1]", b""])
def test_an_offer_of_another_protocol_is_ignored(
    server: ImportServer, log: Log, body: bytes
) -> None:
    head = head_of(server)
    size = len(body)
    chunked = (b"%x\r\n%s\r\n" % (size, body) if body else b"") + b"0\r\n\r\n"
    offers = (
        request(head + OFFER, body),
        request(head.replace(b"\r\n", b"\r\n" + OFFER, 1), body),
        head + OFFER + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
    )
    with Wire(server) as wire:
        answer, kept = wire.ask(request(head, body)), log.taken()
    for whole in offers:
        begin = whole.find(b"\r\n\r\n") + 4
        for cut in (len(whole), 9, begin - 1, begin, begin + 1, len(whole) - 1):
            with Wire(server) as wire:
                for _ in range(3):
                    assert wire.ask(whole[:cut], whole[cut:]) == answer
                    assert log.taken() == kept
                wire.send(whole * 5 + END)
                assert wire.end().startswith(answer * 5)
                log.taken()


def test_requests_behind_each_other(server: ImportServer, log: Log) -> None:
    head = head_of(server)
    usual, large = request(head, BODY), request(head, LARGE)
    wrong, empty = request(head, b"[1]"), request(head, b"")
    other = request(head + b"Connection: keep-alive\r\n", BODY)
    status = b"GET /v2/import/nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    for several in (
        [usual] * 9, [usual, wrong, usual], [wrong, usual, empty], [empty, empty, usual],
        [usual, status, usual], [status, usual, usual], [large, large], [large, usual, large],
        [usual, large, wrong], [other, usual, other], [usual, b"\r\n", usual],
        [request(head, usual), usual], [usual, request(head, usual)],
    ):  # fmt: skip
        ways = []
        data = b"".join(several) + END
        for known in ([], [usual, usual]):
            for step in (len(data), len(usual) - 9, len(usual) + 9):
                with Wire(server) as wire:
                    for each in known:
                        wire.ask(each)
                    log.taken()
                    wire.send(*(data[at : at + step] for at in range(0, len(data), step)))
                    ways.append((wire.end(), log.taken()))
        assert len(ways[0][1]) + 1 <= ways[0][0].count(b"HTTP/1.1 ")
        assert all(way == ways[0] for way in ways), several


def test_who_goes_away_before_the_end(server: ImportServer, log: Log) -> None:
    head = head_of(server)
    for body, there in ((BODY, 0), (BODY, 99), (LARGE, 0), (LARGE, 1), (LARGE, len(LARGE) - 1)):
        with Wire(server) as wire:
            for _ in range(2):
                wire.ask(request(head, BODY))
            log.taken()
            whole = request(head, body)
            wire.send(whole[: len(whole) - len(body) + there])
            eventually(holds(server, there if body is LARGE else 0))
        eventually(holds(server, 0))
        assert log.taken() == []


@pytest.mark.parametrize("body", [BODY, LARGE])
def test_a_token_that_is_revoked_before_the_end(
    server: ImportServer, log: Log, body: bytes
) -> None:
    token = server.store.tokens.create_token(CLIENT, server.source_id)
    assert token.secret is not None
    head = head_of(server).replace(server.token.encode(), token.secret.encode())
    whole = request(head, body)
    with Wire(server) as wire:
        for _ in range(2):
            wire.ask(request(head, BODY))
        log.taken()
        wire.send(whole[:-20])
        if body is LARGE:  # a part of it has arrived
            eventually(holds(server, len(body) - 20))
        server.store.tokens.revoke_token(CLIENT, server.source_id, token.id)
        server.ingest.token_cache.invalidate()
        answer = wire.ask(whole[-20:])
    with Wire(server) as fresh:
        assert fresh.ask(whole) == answer
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert log.taken() == []
