"""The limits of a request, over a socket: what is just within is accepted, the rest is refused."""

import base64
import http.client
import json
import os
import random
import re
import select
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from tests.servers.treadle import Client, TreadleServer

BYTES = 20_971_520
RECORDS = 20_000
POINTS = 10_000
GIB = 1 << 30
MIB = 1 << 20
MEMORY_MAX = 512 * MIB
SECONDS_MAX = 5.0
"""Of the worker's processor time: how long it takes by the clock is up to the machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    with TreadleServer(tmp_path_factory.mktemp("limits") / "data", forked=False) as running:
        yield running


class Sender(Client):
    """A source, and the doors it has."""

    token: str

    def url(self, door: str) -> str:
        return {
            "push": "/v2/import/push",
            "validate": "/v2/import/validate",
            "batch": "/v2/import/batch",
            "webhook": f"/v1/clients/{self.client_id}/token/{self.token}",
            "tables": "/v1/tables/large/records?key=id",
        }[door]

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def send(self, door: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(self.url(door), content=body, headers=self.headers() | headers)

    def body(self, door: str, records: list[dict[str, Any]]) -> bytes:
        """The records as a door takes them."""
        upsert = {"action": "upsert", "sequence": 1}
        match door:
            case "push" | "validate":
                head = {"client_id": self.client_id, "table_name": "large", "key_names": ["id"]}
                body: Any = [{**head, **upsert, "data": record} for record in records]
            case "batch":
                messages = [{**upsert, "data": record} for record in records]
                body = {"table_name": "large", "schema": {}, "messages": messages}
            case _:
                body = records
        return json.dumps(body, separators=(",", ":")).encode()

    def of_size(self, door: str, size: int) -> bytes:
        """A body of exactly so many bytes that would be accepted."""
        frame = self.body(door, [{"id": 1, "text": ""}])
        return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')


@pytest.fixture(scope="module")
def sender(server: TreadleServer) -> Sender:
    sender = Sender(server, *server.account())
    _, sender.token = sender.create_source()
    return sender


DOORS = ["push", "validate", "batch", "webhook", "tables"]
every_door = pytest.mark.parametrize("door", DOORS)
SUCCESS = {"push": 201, "validate": 200, "batch": 201, "webhook": 200, "tables": 201}


def worker(server: TreadleServer) -> Path:
    """Where the system says what the worker takes."""
    process = Path(f"/proc/{server.processes()['worker 1']}")
    if not process.exists():
        pytest.skip("this system does not say what a process took")
    return process


def busy_seconds(process: Path) -> float:
    """Processor time of a process so far, of all its threads."""
    fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@every_door
def test_20_000_records_are_accepted(sender: Sender, door: str) -> None:
    body = sender.body(door, [{"id": number} for number in range(RECORDS)])
    answer = sender.send(door, body)
    assert answer.status_code == SUCCESS[door], answer.text


@every_door
def test_20_001_records_are_not(sender: Sender, door: str) -> None:
    answer = sender.send(door, sender.body(door, [{"id": 1}] * (RECORDS + 1)))
    assert answer.status_code == 400
    if door == "batch":
        assert answer.json() == {
            "error": "Request failed validation:#/messages: "
            "expected maximum item count: 20000, found: 20001\n"
        }
    else:
        message = "The batch contains more than 20000 records"
        assert answer.json() == {"status": "ERROR", "message": message}


@every_door
@pytest.mark.parametrize("points", [POINTS, POINTS + 1])
def test_10_000_data_points_and_one_more(sender: Sender, door: str, points: int) -> None:
    record = {"id": 1, "values": list(range(points - 1))}
    answer = sender.send(door, sender.body(door, [record]))
    if points == POINTS:
        assert answer.status_code == SUCCESS[door], answer.text
    elif door == "batch":
        message = "Record 0 cannot contain more than 10000 data points"
        assert (answer.status_code, answer.json()) == (400, {"error": message})
    else:
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        message = "data cannot contain more than 10000 data points"
        assert error == {"reason": {"data": [message]}}


@every_door
@pytest.mark.parametrize("framed", ["declared", "chunked"])
def test_a_body_of_20_mb_is_accepted(sender: Sender, door: str, framed: str) -> None:
    body = sender.of_size(door, BYTES)
    assert len(body) == BYTES
    answer = sender.send(door, body if framed == "declared" else pieces(body))
    assert answer.status_code == SUCCESS[door], answer.text


@every_door
def test_a_body_of_20_mb_and_a_byte_is_refused_where_it_is_counted(
    sender: Sender, door: str
) -> None:
    answer = sender.send(door, pieces(sender.of_size(door, BYTES + 1)))
    assert answer.status_code == 413
    message = "Request rejected: request size (20971521 bytes) exceeds the maximum"
    assert answer.json() == {"status": "ERROR", "message": message}


def pieces(body: bytes) -> Iterator[bytes]:
    """A body of unknown length, as chunks."""
    for start in range(0, len(body), MIB):
        yield body[start : start + MIB]


@every_door
def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(
    sender: Sender, door: str
) -> None:
    """Nothing of the body comes; a server that waited for it would answer 408."""
    with head(sender, door, f"Content-Length: {BYTES + 1}") as sock:
        answer = answer_on(sock)
    message = "Request rejected: request size (20971521 bytes) exceeds the maximum"
    assert answer == (413, {"status": "ERROR", "message": message})


def head(sender: Sender, door: str, *fields: str) -> socket.socket:
    """A connection on which the head of a request was sent."""
    lines = [f"POST {sender.url(door)} HTTP/1.1", "Host: treadle", *fields]
    lines += [f"{name}: {value}" for name, value in sender.headers().items()]
    sock = socket.create_connection(("127.0.0.1", sender.server.port), timeout=300)
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return sock


def answer_on(sock: socket.socket) -> tuple[int, Any]:
    """Status and body of the answer that comes on a connection."""
    with http.client.HTTPResponse(sock) as response:
        response.begin()
        return response.status, json.loads(response.read())


def gzip_bomb() -> bytes:
    """One member of 1 GiB of blanks."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(b" " * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(GIB // MIB):
        check = zlib.crc32(b" " * MIB, check)
    trailer = b"\x03\x00" + struct.pack("<II", check, GIB % (1 << 32))
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * (GIB // MIB) + trailer


def gzip_members() -> bytes:
    """1,024 members of 1 MiB each."""
    packer = zlib.compressobj(9, wbits=31)
    return (packer.compress(b" " * MIB) + packer.flush()) * (GIB // MIB)


def zstd_bomb() -> bytes:
    """One frame of 1 GiB that does not state its size."""
    packer = zstandard.ZstdCompressor().compressobj()
    parts = [packer.compress(b" " * MIB) for _ in range(GIB // MIB)]
    return b"".join([*parts, packer.flush()])


def zstd_frames() -> bytes:
    """1,024 frames of 1 MiB each, which state their sizes."""
    return zstandard.ZstdCompressor().compress(b" " * MIB) * (GIB // MIB)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", gzip_bomb),
    "gzip-members": ("gzip", gzip_members),
    "zstd": ("zstd", zstd_bomb),
    "zstd-frames": ("zstd", zstd_frames),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_gigabyte_in_little(sender: Sender, name: str) -> None:
    encoding, make = BOMBS[name]
    bomb = make()
    assert len(bomb) < 2 * MIB
    process = worker(sender.server)
    for door in DOORS:
        before = busy_seconds(process)
        answer = sender.send(door, bomb, **{"Content-Encoding": encoding})
        assert busy_seconds(process) - before < SECONDS_MAX
        assert answer.status_code == 413, answer.text
        message = answer.json()["message"]
        assert message.startswith("Request rejected: request size (")
        assert message.endswith(" bytes) exceeds the maximum")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize(("size", "status"), [(BYTES, 201), (BYTES + 1, 413)])
def test_the_limit_holds_for_the_inflated_size(
    sender: Sender, encoding: str, size: int, status: int
) -> None:
    body = sender.of_size("push", size)
    packed = (
        zlib.compress(body, 1, wbits=31)
        if encoding == "gzip"
        else zstandard.ZstdCompressor().compress(body)
    )
    answer = sender.send("push", packed, **{"Content-Encoding": encoding})
    assert answer.status_code == status, answer.text


def test_many_large_bodies_at_once_stay_within_the_memory(sender: Sender) -> None:
    """Each is accepted or asked to come again; runs after the tests above on purpose.

    The bodies cannot be compressed, so that the log's side of them is as large as it can be.
    """
    noise = base64.b64encode(random.Random(5).randbytes(BYTES))
    body = re.sub(rb"x{9,}", lambda found: noise[: len(found[0])], sender.of_size("push", BYTES))
    assert len(body) == BYTES
    statuses: list[int] = []

    def push() -> None:
        with httpx.Client(base_url=sender.server.url, timeout=300) as http:
            answer = http.post(sender.url("push"), content=body, headers=sender.headers())
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 8
    assert set(statuses) <= {201, 503}
    assert 201 in statuses
    said = (worker(sender.server) / "status").read_text()
    [peak] = [line for line in said.splitlines() if line.startswith("VmHWM:")]
    assert int(peak.split()[1]) * 1024 < MEMORY_MAX, peak


@pytest.mark.slow
def test_slow_senders_are_given_up_and_hold_up_nobody(sender: Sender) -> None:
    said: dict[str, tuple[int, Any]] = {}

    def stall(door: str) -> None:
        with head(sender, door, "Content-Length: 1000") as sock:
            sock.sendall(b"[")
            said[door] = answer_on(sock)

    def trickle() -> None:
        with head(sender, "push", "Content-Length: 1000") as sock:
            while not select.select([sock], [], [], 0.5)[0]:
                sock.sendall(b" ")
            said["trickle"] = answer_on(sock)

    threads = [threading.Thread(target=stall, args=[door], daemon=True) for door in DOORS]
    threads.append(threading.Thread(target=trickle, daemon=True))
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert sender.send("push", sender.body("push", [{"id": 1}])).status_code == 201
    for thread in threads:
        thread.join(300)
    assert said.keys() == {*DOORS, "trickle"}
    message = "The request body arrived too slowly. Send it again."
    for answer in said.values():
        assert answer == (408, {"status": "ERROR", "message": message})


def test_nothing_of_this_was_the_servers_fault(server: TreadleServer) -> None:
    """Runs last on purpose."""
    assert "Traceback" not in server.log.read_text()
    assert server.log.read_text().count("worker 1 started") == 1
