"""What senders without a token can do to a server, over a socket: little, and never for long.

The server may have 1,024 files open, as many systems have it, so that connections are scarce.
"""

import re
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.servers.few_files import OPEN_FILES
from tests.servers.raw import GET, HALF, HEAD, PROMPT_SECONDS_MAX, Tenant, connect, read_all
from tests.servers.treadle import TreadleServer

MIB = 1 << 20
GROWTH_MAX = 64 * MIB
"""How much memory the worst of these may cost a worker."""


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    """Let this process open more connections than the server has places."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * OPEN_FILES:
        pytest.skip("this process may not open enough connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * OPEN_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    data = tmp_path_factory.mktemp("strangers") / "data"
    with TreadleServer(data, program="tests.servers.few_files") as server:
        yield server


@pytest.fixture(scope="module")
def tenant(server: TreadleServer) -> Tenant:
    return Tenant(server)


def memory(server: TreadleServer, line: str = "VmRSS") -> int:
    """Bytes of memory of the worker."""
    path = Path(f"/proc/{server.processes()['worker 1']}/status")
    if not path.exists():
        pytest.skip("this system does not say what a process took")
    found = re.search(rf"{line}:\s+(\d+) kB", path.read_text())
    assert found is not None
    return int(found[1]) * 1024


def send_until_refused(wire: socket.socket, begin: bytes, piece: bytes, size: int) -> bytes:
    """Send on until an answer comes; the answer."""
    wire.sendall(begin)
    sent = 0
    while sent < size and not select.select([wire], [], [], 0)[0]:
        sent += wire.send(piece)
    return read_all(wire)


def push_over(wire: socket.socket, tenant: Tenant) -> None:
    """Push a small record over a connection that stays open; its answer may come in pieces."""
    wire.sendall(tenant.encode_push())
    answer = b""
    while not answer.endswith(b'"Batch Accepted!"}'):
        received = wire.recv(65_536)
        assert received, answer
        answer += received
    assert answer.startswith(b"HTTP/1.1 201 ")


ENDLESS = {
    "headers": (b"GET / HTTP/1.1\r\n", b"X: " + b"a" * 1000 + b"\r\n", b"431"),
    "a header": (b"GET / HTTP/1.1\r\nX: ", b"a" * 10_000, b"431"),
    "short headers": (b"GET / HTTP/1.1\r\n", b"a:\r\n" * 2_000, b"431"),
    "a target": (b"GET /", b"a" * 10_000, b"414"),
    "a query": (b"GET /?", b"a=b&" * 2_000, b"414"),
    "a method": (b"", b"A" * 10_000, b"400"),
    "empty lines": (b"", b"\r\n" * 5_000, b"431"),
    "trailers": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n0\r\n", b"X: a\r\n" * 2_000, b"431"
    ),
    "a chunk extension": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 10_000, b"431"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_is_refused_and_takes_no_memory(server: TreadleServer, what: str) -> None:
    begin, piece, status = ENDLESS[what]
    before = memory(server)
    with connect(server) as wire:
        answer = send_until_refused(wire, begin, piece, 100 * MIB)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert memory(server) - before < GROWTH_MAX


def test_the_answer_to_a_head_that_is_too_large_can_be_read(server: TreadleServer) -> None:
    """A socket that is closed with bytes unread resets the connection, and the answer is lost."""
    for size in (17_000, 60_000, 200_000, 1_000_000):
        with connect(server) as wire:
            wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * size + b"\r\n\r\n")
            answer = read_all(wire)
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert b"\r\nconnection: close\r\n" in answer
            assert answer.endswith(b"bytes.")


def test_requests_without_end_and_without_a_reader_take_no_memory(
    server: TreadleServer, tenant: Tenant
) -> None:
    before = memory(server)
    with connect(server, 2) as wire:
        with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            for _ in range(150):
                wire.sendall(GET * 5_000)
        assert tenant.push_anew() < PROMPT_SECONDS_MAX
        assert memory(server) - before < GROWTH_MAX
    before = memory(server)
    authorized = GET.replace(
        b"\r\n\r\n", f"\r\nAuthorization: Bearer {tenant.token}\r\n\r\n".encode()
    )
    with connect(server, 2) as wire:
        with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            for _ in range(1_000):
                wire.sendall(authorized * 1_000)
        assert tenant.push_anew() < PROMPT_SECONDS_MAX
        assert memory(server) - before < GROWTH_MAX


@pytest.mark.parametrize("what", HALF)
def test_connections_of_strangers_keep_nobody_out(
    server: TreadleServer, tenant: Tenant, what: str
) -> None:
    before = memory(server)
    with connect(server) as kept, ExitStack() as held:
        push_over(kept, tenant)
        for number in range(1_100):
            wire = held.enter_context(connect(server))
            with suppress(BrokenPipeError, ConnectionResetError):
                wire.sendall(HALF[what])
            if number % 100 == 99:
                assert tenant.push_anew() < PROMPT_SECONDS_MAX
        assert tenant.http.get("/v2/import/status").status_code == 200
        kept.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert b"\r\nconnection: close\r\n" in read_all(kept)  # not closed for a stranger
        assert memory(server) - before < 2 * GROWTH_MAX
    assert "without a known token was closed" in server.log.read_text()


def test_connections_of_a_tenant_keep_no_other_out(server: TreadleServer, tenant: Tenant) -> None:
    """A tenant has at most as many places as it leaves free, and answers all the same."""
    other = Tenant(server)
    modest = connect(server)
    with modest, ExitStack() as wires:
        push_over(modest, other)
        for _ in range(OPEN_FILES):
            push_over(wires.enter_context(connect(server)), tenant)
        push_over(modest, other)  # its place was not taken
        for _ in range(5):
            assert other.push_anew() < PROMPT_SECONDS_MAX


def test_refusals_do_not_fill_the_log(server: TreadleServer) -> None:
    before = len(server.log.read_text().splitlines())
    began = time.monotonic()
    refused = 0
    # Longer than a second: a refusal of another test may have had the line of the first one.
    while refused < 500 or time.monotonic() - began < 2:
        with connect(server) as wire:
            wire.sendall(b"no request\r\n\r\n")
            assert read_all(wire).startswith(b"HTTP/1.1 400 ")
        refused += 1
    lines = server.log.read_text().splitlines()[before:]
    assert 1 <= len(lines) <= 2 * (time.monotonic() - began) + 3
    assert any("the latest from 127.0.0.1" in line for line in lines)


REFUSED = [
    (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
    (HEAD + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", b"400"),
    (HEAD + b"Content-Length: " + b"0" * 5_000 + b"\r\n\r\n", b"400"),
    (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", b"400"),
    (b"GET /v4/sources HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: b\r\n\r\n",
     b"400"),
]  # fmt: skip


@pytest.mark.parametrize(("received", "status"), REFUSED)
def test_ambiguous_heads(server: TreadleServer, received: bytes, status: bytes) -> None:
    with connect(server) as wire:
        wire.sendall(received)
        assert read_all(wire).startswith(b"HTTP/1.1 " + status)


def test_nothing_of_this_was_the_servers_fault(server: TreadleServer) -> None:
    """Runs after the tests above on purpose."""
    assert "Traceback" not in server.log.read_text()
    assert server.log.read_text().count("worker 1 started") == 1
