"""Bodies that are made to fill memory or to take time, from strangers and from tenants.

Each was found by attacking a server. What matters is what a worker may take, and that other tenants
are served meanwhile.
"""

import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import zstandard
from tests.kinds import some_at_release
from tests.servers.treadle import Client, TreadleServer, eventually

MB = 1024 * 1024
BODY = 20 * MB
JSON, TRANSIT = "application/json", "application/transit+json"
UNKNOWN = "at_" + "0" * 64
STRANGER_BYTES_MAX = 24 * MB
"""What a stranger's request may add to the memory of a worker, with what the allocator keeps."""
TENANT_BYTES_MAX = 320 * MB
CPU_SECONDS_MAX = 8.0
"""Processor time of one request on a slow and shared machine."""


class Attack(NamedTuple):
    """A request that is cheap to send."""

    make: Callable[[int], bytes]
    kind: str = JSON
    encoding: str | None = None


def in_record(client: int, data: str) -> bytes:
    head = f'"client_id":{client},"table_name":"t","sequence":1,"action":"upsert","key_names":[]'
    return f'[{{{head},"data":{{"a":{data}}}}}]'.encode()


def repeat(piece: bytes) -> bytes:
    """An array of as many pieces as fit."""
    count = (BODY - 20) // (len(piece) + 1)
    return b"[" + b",".join([piece] * count) + b"]"


ARRAYS = repeat(b"[]")


WORD = "k" * 200_000
SURROGATES = "\\ud800" * (19 * MB // 6)
EMPTY_GZIP = gzip.compress(b"")
EMPTY_ZSTD = zstandard.ZstdCompressor().compress(b"")


def codes(first: str, piece: str, count: int = 15_000) -> bytes:
    """An array of something that is cached, and pieces that name it."""
    return f"[{first}{(',' + piece) * count}]".encode()


def codes_in_parts(client: int) -> bytes:
    """Records that are within the limit each, and large enough to be decoded one by one."""
    filling = '"' + "x" * 600_000 + '"'
    first = in_record(client, f'["~:{WORD}",{filling}]')
    rest = in_record(client, f"[{filling}{',{code}' * 300}]".replace("{code}", '"^0"'))
    return first[:-1] + (b"," + rest[1:-1]) * 25 + b"]"


def unknown_keys(client: int) -> bytes:
    names = b"".join(b',"%x":1' % number for number in range(1_500_000))
    return in_record(client, "1")[:-2] + names + b"}]"


def unknown_keys_of_many_records(client: int) -> bytes:
    names = b",".join(b'"%x":0' % number for number in range(0x400, 0x400 + 1000))
    return repeat(b'{"client_id":%d,%s}' % (client, names))


def unknown_keys_in_transit(client: int) -> bytes:
    names = b",".join(b'"%x",0' % number for number in range(0x400, 0x400 + 1000))
    return repeat(b'["^ ","client_id",%d,%s]' % (client, names))


ATTACKS = {
    "codes": Attack(lambda _: codes(f'"~:{WORD}"', '"^0"'), TRANSIT),
    "codes of 500 KB": Attack(lambda _: codes(f'"~:{WORD * 2}"', '"^0"', 20_000), TRANSIT),
    "codes as keys": Attack(lambda _: codes(f'["^ ","{WORD}",1]', '["^ ","^0",1]'), TRANSIT),
    "codes as verbose keys": Attack(lambda _: codes(f'{{"{WORD}":1}}', '{"^0":1}'), TRANSIT),
    "codes in a record": Attack(
        lambda client: in_record(client, codes(f'"~:{WORD}"', '"^0"').decode()), TRANSIT
    ),
    "codes in many parts": Attack(codes_in_parts, TRANSIT),
    "codes of a long number as keys": Attack(
        lambda _: codes(f'["^ ","~f{"9" * 100_000}",1]', '["^ ","^0",1]'), TRANSIT
    ),
    "codes of a tag": Attack(lambda _: codes(f'["~#{WORD}",1]', '["^0",1]'), TRANSIT),
    "gzip members": Attack(lambda _: EMPTY_GZIP * 60_000, encoding="gzip"),
    "gzip members of 20 MB": Attack(lambda _: EMPTY_GZIP * (BODY // 20), encoding="gzip"),
    "zstd frames": Attack(lambda _: EMPTY_ZSTD * (BODY // len(EMPTY_ZSTD)), encoding="zstd"),
    "zstd skippable frames": Attack(
        lambda _: b"\x50\x2a\x4d\x18\0\0\0\0" * (BODY // 8), encoding="zstd"
    ),
    "objects": Attack(lambda _: repeat(b"{}")),
    "objects in transit": Attack(lambda _: repeat(b"{}"), TRANSIT),
    "surrogates": Attack(lambda _: f'["{SURROGATES}"]'.encode()),
    "surrogates in a record": Attack(lambda client: in_record(client, f'"{SURROGATES}"')),
    "surrogates in transit": Attack(lambda client: in_record(client, f'"{SURROGATES}"'), TRANSIT),
    "backslashes": Attack(lambda _: b'["\\ud800' + b"\\\\" * (BODY // 2 - 10) + b'"]'),
    "a tagged array of arrays": Attack(lambda _: b'["~#set",' + ARRAYS + b"]", TRANSIT),
    "an object of arrays": Attack(lambda _: b'{"a":' + ARRAYS + b"}"),
    "an object of arrays in transit": Attack(lambda _: b'{"a":' + ARRAYS + b"}", TRANSIT),
    "unknown keys": Attack(unknown_keys),
    "unknown keys of many records": Attack(unknown_keys_of_many_records),
    "unknown keys of many records in transit": Attack(unknown_keys_in_transit, TRANSIT),
    "an unknown key of 19 MB": Attack(
        lambda client: in_record(client, "1")[:-2] + b',"' + b"k" * (19 * MB) + b'":1}]'
    ),
}

LIKE_SURROGATES = ("surrogates in a record", "surrogates in transit", "backslashes")
MANY_UNKNOWN = ("unknown keys of many records", "unknown keys of many records in transit")
"""A unit test counts what of their keys is kept."""
STRANGERS_DAILY = [name for name in ATTACKS if name not in MANY_UNKNOWN]
TENANTS_DAILY = [name for name in STRANGERS_DAILY if name not in LIKE_SURROGATES]


class Worker(NamedTuple):
    """The only worker of a server, a source that attacks, and its neighbour."""

    client: Client
    token: str
    neighbour: str

    @property
    def process(self) -> Path:
        return Path("/proc") / str(self.client.server.processes()["worker 1"])

    def memory(self, name: str) -> int:
        lines = (self.process / "status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(name)]
        return int(line.split()[1]) * 1024

    def seconds(self) -> float:
        """Processor time so far, of all threads."""
        fields = (self.process / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, attack: Attack, token: str) -> int | None:
        """The status; None where the connection was closed before all was sent."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": attack.kind}
        if attack.encoding is not None:
            headers["Content-Encoding"] = attack.encoding
        body = attack.make(self.client.client_id)
        assert len(body) <= BODY
        try:
            with httpx.Client(base_url=self.client.server.url, timeout=300) as http:
                return http.post("/v2/import/push", content=body, headers=headers).status_code
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            return None


pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"),
]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    settings = {"workers": "1", "load_age_seconds": "3600"}
    folder = tmp_path_factory.mktemp("hostile")
    with TreadleServer(folder / "data", settings=settings, forked=False) as server:
        client = Client(server, *server.account())
        made = Worker(client, client.create_source("one")[1], client.create_source("two")[1])
        for token in (made.token, made.neighbour):
            assert client.push(token, [{"id": 1}], table="t").status_code == 201
        yield made


@pytest.mark.parametrize("name", [*STRANGERS_DAILY, *some_at_release(*MANY_UNKNOWN)])
def test_a_stranger_costs_a_worker_next_to_nothing(worker: Worker, name: str) -> None:
    (worker.process / "clear_refs").write_text("5")
    before, began = worker.memory("VmRSS"), worker.seconds()
    assert worker.send(ATTACKS[name], UNKNOWN) in (400, 401, None)
    assert worker.seconds() - began < 1.0
    assert worker.memory("VmHWM") - before < STRANGER_BYTES_MAX
    assert worker.client.push(worker.neighbour, [{"id": 2}], table="t").status_code == 201


@pytest.mark.parametrize(
    "name", [*TENANTS_DAILY, *some_at_release(*LIKE_SURROGATES, *MANY_UNKNOWN)]
)
def test_a_tenant_costs_a_worker_what_its_body_is_worth(worker: Worker, name: str) -> None:
    (worker.process / "clear_refs").write_text("5")
    before, began = worker.memory("VmRSS"), worker.seconds()
    assert worker.send(ATTACKS[name], worker.token) in (201, 400, 413, 422)
    assert worker.seconds() - began < CPU_SECONDS_MAX
    assert worker.memory("VmHWM") - before < TENANT_BYTES_MAX


@pytest.mark.parametrize("token", ["stranger", "tenant"])
def test_senders_that_leave_hold_up_nobody(worker: Worker, token: str) -> None:
    """Large bodies whose senders are gone, while health, receipts and pushes are asked for."""
    secret = UNKNOWN if token == "stranger" else worker.token
    body = gzip.compress(b"") * 250_000
    for kind, coded, content in (
        (JSON, "Content-Encoding: gzip\r\n", body),
        (JSON, "", f'["{SURROGATES}"]'.encode()),
        (TRANSIT, "", repeat(b'["^ ","a",[1]]')[: 4 * MB].rpartition(b",")[0] + b"]"),
    ):
        for _ in range(7):
            with socket.create_connection(("127.0.0.1", worker.client.server.port)) as one:
                head = (
                    "POST /v2/import/push HTTP/1.1\r\nHost: a\r\n"
                    f"Authorization: Bearer {secret}\r\nContent-Type: {kind}\r\n{coded}"
                    f"Content-Length: {len(content)}\r\n\r\n"
                )
                try:
                    one.sendall(head.encode() + content)
                except OSError:
                    assert token == "stranger"
        with httpx.Client(base_url=worker.client.server.url, timeout=60) as http:
            assert http.get("/v2/import/status").status_code == 200
            push = worker.client.push(worker.neighbour, [{"id": 3}], table="t")
            assert push.status_code == 201
            receipt = http.get(
                f"/v1/receipts/{push.headers['treadle-receipt']}",
                headers={"Authorization": f"Bearer {worker.neighbour}"},
            )
            assert receipt.status_code == 200

    def is_idle() -> bool:
        began = worker.seconds()
        time.sleep(0.5)
        return worker.seconds() - began < 0.2

    eventually(is_idle)


def test_bodies_of_one_tenant_do_not_stand_before_those_of_another(worker: Worker) -> None:
    """A queue of large bodies, and a neighbour's single one."""
    slow = Attack(lambda _: f'["{SURROGATES}"]'.encode())
    threads = [
        threading.Thread(target=worker.send, args=(slow, worker.token), daemon=True)
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    records = [{"id": number, "text": "x" * 90} for number in range(9_000)]
    statuses = {
        worker.client.push(worker.neighbour, records, table="t").status_code for _ in range(3)
    }
    assert statuses == {201}
    for thread in threads:
        thread.join(300)


def test_a_server_with_work_that_nobody_waits_for_stops(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data", settings={"workers": "1"}) as server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        assert client.push(token, [{"id": 1}], table="t").status_code == 201
        content = f'["{SURROGATES}"]'.encode()
        head = (
            f"POST /v2/import/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {JSON}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as one:
                one.sendall(head.encode() + content)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 60
        assert "did not end within 15 s and is killed" not in server.log.read_text()
