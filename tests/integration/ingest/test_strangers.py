"""Senders without a known token: a little of a body is looked at, and nothing more is read."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tests.servers.cases import rec
from tests.servers.ingest import UNKNOWN_TOKEN, ImportServer
from tests.servers.treadle import eventually

from treadle.errors import RetriableError
from treadle.ingest import body_memory
from treadle.ingest.stranger_allowance import STRANGER_MEMORY_BYTES

KB = 1024
SMALL = 64 * KB
TRANSIT = "application/transit+json"
NOT_AUTHENTICATED = {"status": "ERROR", "error": "Not Authenticated.", "errors": None}
both_paths = pytest.mark.parametrize("path", ["/v2/import/push", "/v2/import/validate"])
every_path = pytest.mark.parametrize(
    "path",
    [
        "/v2/import/push",
        "/v2/import/validate",
        "/v2/import/batch",
        f"/v1/clients/4321/token/{UNKNOWN_TOKEN}",
        "/v1/tables/t/records",
    ],
)


class Stranger:
    """A connection whose token is unknown."""

    def __init__(self, server: ImportServer, path: str, *headers: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), 60)
        head = [f"POST {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {UNKNOWN_TOKEN}"]
        self.send("\r\n".join([*head, *headers, "", ""]).encode())

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def is_closed_soon(self) -> tuple[int, Any]:
        """The status and the body of the answer, behind which the connection has to end."""
        received = b""
        try:
            while more := self._socket.recv(65_536):
                received += more
        except ConnectionResetError:
            pass  # what was not read is there still
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


JSON = "Content-Type: application/json"


@both_paths
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"[{", "application/json", 400),
        (b"", "application/json", 400),
        (b"{}", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" + b" " * (SMALL - 2) + b"]", "application/json", 400),
        (b'[["^ ","^5",1]]', TRANSIT, 400),
        (b"[1]", "text/plain", 415),
        (b"[1]", "application/json", 401),
        (json.dumps([rec()]).encode(), "application/json", 401),
    ],
)
def test_the_documented_order_is_kept_for_small_bodies(
    server: ImportServer, path: str, body: bytes, content_type: str, status: int
) -> None:
    known = server.post(path, body, content_type=content_type)
    answer = server.post(path, body, token=UNKNOWN_TOKEN, content_type=content_type)
    assert answer.status == status
    assert answer.header("connection") is None
    if status == 401:
        assert answer.json() == NOT_AUTHENTICATED
    else:
        assert (answer.status, answer.body) == (known.status, known.body)


@both_paths
@pytest.mark.parametrize("size", [SMALL + 1, 19_000_000, 20_971_520])
def test_a_larger_body_is_not_read(server: ImportServer, path: str, size: int) -> None:
    with Stranger(server, path, JSON, f"Content-Length: {size}") as stranger:
        assert stranger.is_closed_soon() == (401, NOT_AUTHENTICATED)


@both_paths
def test_a_body_without_a_length_is_read_up_to_the_same_size(
    server: ImportServer, path: str
) -> None:
    with Stranger(server, path, JSON, "Transfer-Encoding: chunked") as stranger:
        for _ in range(SMALL // 1000):
            stranger.send(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        stranger.send(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert stranger.is_closed_soon() == (401, NOT_AUTHENTICATED)
    with Stranger(
        server, path, JSON, "Transfer-Encoding: chunked", "Connection: close"
    ) as stranger:
        stranger.send(b"2\r\n[{\r\n0\r\n\r\n")
        assert stranger.is_closed_soon()[0] == 400


@both_paths
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_becomes_large_is_not_inflated(
    server: ImportServer, path: str, encoding: str
) -> None:
    compress = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[encoding]
    answers = []
    for size in (SMALL - 2, SMALL, 20_000_000):
        raw = compress(b"{" + b" " * size + b"}")
        assert len(raw) < SMALL
        answer = server.post(path, raw, token=UNKNOWN_TOKEN, headers={"Content-Encoding": encoding})
        answers.append((answer.status, answer.header("connection")))
    assert answers == [(400, None), (401, "close"), (401, "close")]


@every_path
def test_a_declared_length_above_the_limit_ends_the_connection(
    server: ImportServer, path: str
) -> None:
    with Stranger(server, path, JSON, "Content-Length: 20971521") as stranger:
        assert stranger.is_closed_soon()[0] == 413


@every_path
def test_a_large_body_ends_the_connection_everywhere(server: ImportServer, path: str) -> None:
    for length in ("Content-Length: 70000", "Transfer-Encoding: chunked"):
        with Stranger(server, path, JSON, length) as stranger:
            if "chunked" in length:
                stranger.send((b"3e8\r\n" + b" " * 1000 + b"\r\n") * 70)
            assert stranger.is_closed_soon()[0] == 401


@pytest.mark.parametrize("token", ["unknown", "revoked"])
def test_who_has_no_token_is_a_stranger(server: ImportServer, token: str) -> None:
    sent = UNKNOWN_TOKEN if token == "unknown" else server.revoked_token
    assert server.post("/v2/import/push", b"[{", token=sent).status == 400
    answer = server.post("/v2/import/push", b" " * (SMALL + 1), token=sent)
    assert (answer.status, answer.header("connection")) == (401, "close")


def test_callers_with_a_token_see_the_documented_order_whatever_the_size(
    server: ImportServer,
) -> None:
    broken = b"[" + b" " * 1_000_000
    for token in (server.token, server.paused_token, server.other_token):
        answer = server.post("/v2/import/push", broken, token=token)
        assert (answer.status, answer.header("connection")) == (400, None)
        assert server.post("/v2/import/push", broken, token=token, content_type="a/b").status == 415


def test_strangers_share_a_little_memory(server: ImportServer) -> None:
    """Half bodies of many strangers; tenants push, and another stranger is refused at once."""
    waiting = [
        Stranger(server, "/v2/import/push", JSON, f"Content-Length: {SMALL}")
        for _ in range(STRANGER_MEMORY_BYTES // SMALL + 4)
    ]
    try:
        for one in waiting:
            one.send(b" " * (SMALL - 1))
        deadline = time.monotonic() + 60
        while True:
            answer = server.post("/v2/import/push", b"[" * 4_000, token=UNKNOWN_TOKEN)
            if answer.status == 401:
                break
            assert time.monotonic() < deadline
        assert answer.header("connection") == "close"
        assert server.post("/v2/import/push", [rec()]).status == 201
        assert (
            server.post("/v2/import/push", [rec(data={"id": 1, "t": "x" * 9_000_000})]).status
            == 201
        )
    finally:
        for one in waiting:
            one.__exit__()
    deadline = time.monotonic() + 60
    while server.post("/v2/import/push", b"[" * 4_000, token=UNKNOWN_TOKEN).status != 400:
        assert time.monotonic() < deadline


def test_strangers_share_a_little_time(server: ImportServer) -> None:
    """Small bodies that take long to read are looked at now and then only."""
    slow = b'["' + b"\\ud800" * 10_000 + b'",' + b"[[]]," * 900
    statuses = [
        server.post("/v2/import/push", slow, token=UNKNOWN_TOKEN).status for _ in range(3_000)
    ]
    assert statuses[0] == 400
    assert set(statuses) == {400, 401}
    assert server.post("/v2/import/push", [rec()]).status == 201


def test_while_the_store_cannot_be_asked_nobody_knows_who_is_a_stranger(
    server: ImportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RetriableError("the store is locked")

    monkeypatch.setattr(type(server.store.tokens), "find_sender", fail)
    for path, status in (("/v2/import/push", 503), ("/v2/import/validate", 504)):
        assert server.post(path, b"[{", token=UNKNOWN_TOKEN).status == 400
        assert server.post(path, [rec()], token=UNKNOWN_TOKEN).status == status
        assert server.post(path, b" " * 100_000, token=UNKNOWN_TOKEN).status == status
    assert server.post("/v2/import/push", [rec()]).status == 201


# --- tenants among each other ---------------------------------------------------------------------

LIMIT = 4_000_000


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportServer]:
    monkeypatch.setattr(body_memory.BodyMemoryBudget.__init__, "__defaults__", (LIMIT,))
    server = ImportServer(tmp_path)
    with server.running():
        yield server
    server.store.close()


def test_a_source_that_holds_all_it_can_get_leaves_room_for_others(narrow: ImportServer) -> None:
    _, other = narrow.make_source("neighbour")
    large = json.dumps([rec(data={"id": 1, "text": "x" * 900_000})]).encode()
    waiting = []
    try:
        for _ in range(2):
            one = socket.create_connection(("127.0.0.1", narrow.port), 60)
            one.sendall(
                f"POST /v2/import/push HTTP/1.1\r\nHost: a\r\n{JSON}\r\nContent-Length: {LIMIT}\r\n"
                f"Authorization: Bearer {narrow.token}\r\n\r\n".encode()
            )
            one.sendall(b" " * 900_000)
            waiting.append(one)
        budget = narrow.ingest.fast_path.budget
        eventually(lambda: budget._held_bytes == 1_800_000, 60)
        busy = narrow.post("/v2/import/push", large)
        assert (busy.status, busy.header("retry-after")) == (503, "2")
        for _ in range(5):
            assert narrow.post("/v2/import/push", large, token=other).status == 201
            assert narrow.post("/v2/import/push", [rec()]).status == 201
    finally:
        for one in waiting:
            one.close()
    deadline = time.monotonic() + 60
    while narrow.post("/v2/import/push", large).status != 201:
        assert time.monotonic() < deadline
