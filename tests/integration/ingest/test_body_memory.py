"""Bodies in memory are bounded, whatever arrives; other requests go on."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.cases import OK, compare, rec
from tests.servers.ingest import ImportServer

from treadle.ingest import body_memory as rooms

LIMIT = 1_000_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportServer]:
    monkeypatch.setattr(rooms.BodyMemoryBudget.__init__, "__defaults__", (2 * LIMIT,))
    server = ImportServer(tmp_path)
    with server.running():
        yield server
    server.store.close()


def of_size(size: int) -> bytes:
    return json.dumps([rec(data={"id": 1, "text": "x" * size})]).encode()


def busy(server: ImportServer, body: bytes, **headers: str) -> None:
    answer = server.post("/v2/import/push", body, headers=headers)
    compare(answer, 503, lambda said: said["status"] == "ERROR")
    assert answer.header("retry-after") == "2"


def test_more_than_fits_is_to_come_later(server: ImportServer) -> None:
    for _ in range(3):
        busy(server, of_size(LIMIT))
        compare(server.post("/v2/import/push", of_size(LIMIT - 10_000)), 201, OK)


def test_inflated_bodies_count(server: ImportServer) -> None:
    body = gzip.compress(of_size(LIMIT))
    busy(server, body, **{"Content-Encoding": "gzip"})
    compare(server.post("/v2/import/push", of_size(LIMIT - 10_000)), 201, OK)


def until(server: ImportServer, status: int) -> None:
    """Push until the answer is this: what other connections sent or closed takes its time."""
    deadline = time.monotonic() + 60
    while (found := server.post("/v2/import/push", of_size(LIMIT // 2)).status) != status:
        assert time.monotonic() < deadline, f"still answered {found}"
        time.sleep(0.05)


def test_slow_senders_hold_what_they_have_sent(server: ImportServer) -> None:
    head = (
        "POST /v2/import/push HTTP/1.1\r\nHost: treadle\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {LIMIT}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(head.encode())
        for _ in range(30):
            slow.sendall(b" " * 20_000)
        until(server, 503)
        busy(server, of_size(LIMIT // 2))
        compare(server.post("/v2/import/push", of_size(100)), 201, OK)
    until(server, 201)


def test_refused_bodies_are_let_go(server: ImportServer) -> None:
    for _ in range(3):
        answer = server.post("/v2/import/push", b"[" + b" " * (LIMIT // 2))
        assert answer.status == 400
    compare(server.post("/v2/import/push", of_size(LIMIT - 10_000)), 201, OK)
