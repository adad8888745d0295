"""A server that is told to stop ends in bounded time, whatever is under way."""

import gzip
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.servers.raw import HALF, HEAD, Tenant, connect
from tests.servers.treadle import TreadleServer

STOP_SECONDS = 60.0
"""A worker gives up after 12 s what it does, and is killed after 15, as its log says then."""


def hold_half_heads(server: TreadleServer, held: ExitStack) -> None:
    for _ in range(200):
        held.enter_context(connect(server)).sendall(HALF["a half head"])


def hold_slow_bodies(server: TreadleServer, held: ExitStack) -> None:
    tenant = Tenant(server)
    for _ in range(50):
        head = HEAD + f"Authorization: Bearer {tenant.token}\r\n".encode()
        held.enter_context(connect(server)).sendall(head + b"Content-Length: 9000000\r\n\r\n[")


def read_nothing(server: TreadleServer, held: ExitStack) -> None:
    tenant = Tenant(server)
    path = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n"
    for _ in range(20):
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", server.port))
        held.enter_context(wire).sendall((path + b"\r\n") * 100)
    assert tenant.push_anew() < 10


def inflate_for_long(server: TreadleServer, held: ExitStack) -> None:
    tenant = Tenant(server)
    body = gzip.compress(b"") * 250_000  # 5 MB
    head = HEAD + f"Authorization: Bearer {tenant.token}\r\nContent-Encoding: gzip\r\n".encode()
    for _ in range(7):
        wire = held.enter_context(connect(server))
        wire.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    time.sleep(1)


@pytest.mark.parametrize(
    "hold", [hold_half_heads, hold_slow_bodies, read_nothing, inflate_for_long]
)
def test_a_server_stops_in_time_whatever_is_under_way(
    tmp_path: Path, hold: Callable[[TreadleServer, ExitStack], None]
) -> None:
    with ExitStack() as held, TreadleServer(tmp_path / "data") as server:
        hold(server, held)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < STOP_SECONDS
        assert "and is killed" not in server.log.read_text()
        assert "Traceback" not in server.log.read_text()
