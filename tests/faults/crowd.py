"""`python -m tests.faults.crowd`: strangers and a greedy tenant do their worst, and are measured.

Each cycle has two parts. In the first, 2,000 connections without a token do the worst things that
are known, all at once, while a tenant pushes small records: each must be answered 201, 99 of 100
within 250 ms, the worker stays below 400 MB, and the server stops within 20 s. In the second, one
source does the worst that its quota allows, while another pushes small records, of which 99 of 100
must be answered within 100 ms, and follows one after the other until it is loaded, within 5 s.

Whoever attacks runs on the same processors as the server, so these times mean something on a
machine that does nothing else.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from tests.faults.command import Tally, command, destinations, folder
from tests.schema_attacks import FINDINGS, OTHERS
from tests.servers.raw import GET, HEAD
from tests.servers.treadle import Client, TreadleServer

from treadle.errors import TreadleError

STRANGERS: Final = 2000
ATTACK_SECONDS: Final = 40.0
PUSH_PAUSE_SECONDS: Final = 0.02

STRANGER_P99_SECONDS: Final = 0.25
TENANT_P99_SECONDS: Final = 0.1
LOADED_SECONDS_MAX: Final = 5.0
WORKER_BYTES_MAX: Final = 400_000_000
STOP_SECONDS_MAX: Final = 20.0

CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
OPENAPI: Final = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
TRANSIT: Final = b'["~:' + b"k" * 50_000 + b'"' + b',"^0"' * 2_000 + b"]"

STRANGE: Final[tuple[tuple[bytes, bytes, float], ...]] = (
    (b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\n", b"", 5.0),
    (b"GET / HTTP/1.1\r\n", (b"X: " + b"a" * 1000 + b"\r\n") * 50, 1.0),
    (GET * 2000, b"", 2.0),
    (HEAD + b"Content-Length: 60000\r\n\r\n", b" " * 50_000, 10.0),
    (HEAD + b"Content-Length: 20000000\r\n\r\n", b" " * 200_000, 10.0),
    (OPENAPI * 20, b"", 10.0),
    (CHUNKED, b"1;a=b\r\n \r\n" * 5000, 5.0),
    (CHUNKED + b"1\r\n[\r\n0\r\n", b"X: a\r\n" * 2000, 1.0),
    (
        HEAD.replace(b"json", b"transit+json")
        + b"Content-Length: %d\r\n\r\n" % len(TRANSIT)
        + TRANSIT,
        b"",
        1.0,
    ),
    (HEAD + b"Authorization: Bearer %d\r\nContent-Length: 2\r\n\r\n[]", b"", 2.0),
)
"""What a stranger sends: first, then, and how long the connection is kept after that, seconds."""


def attack_as_strangers(port: int) -> None:
    """Do what STRANGE says over STRANGERS connections until the process is ended."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    numbers = itertools.count()

    async def attack(first: bytes, then: bytes, seconds: float) -> None:
        while True:
            with suppress(OSError, asyncio.TimeoutError):
                async with asyncio.timeout(20):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        writer.write(first % next(numbers) if b"%d" in first else first)
                        writer.write(then)
                        await writer.drain()
                        await asyncio.sleep(seconds)
                    finally:
                        writer.close()
            await asyncio.sleep(0.3)

    async def attack_all() -> None:
        async with asyncio.TaskGroup() as group:
            for _, what in zip(range(STRANGERS), itertools.cycle(STRANGE), strict=False):
                group.create_task(attack(*what))

    asyncio.run(attack_all())


def attack_as_tenant(url: str, client_id: int, token: str) -> None:
    """Do the worst that a quota allows until the process is ended."""
    numbers = itertools.count(1)

    def records(tables: int, text: str = "") -> bytes:
        return json.dumps(
            [
                {
                    "client_id": client_id,
                    "table_name": f"t{table}",
                    "sequence": next(numbers),
                    "action": "upsert",
                    "key_names": ["id"],
                    "data": {"id": table, "text": text},
                }
                for table in range(tables)
            ]
        ).encode()

    def loop(path: str, make: Callable[[], bytes], pause: float = 0.0) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
            while True:
                with suppress(httpx.HTTPError):
                    http.post(path, content=make())
                time.sleep(pause)

    large = records(1, "x" * 20_000_000)
    schemas = itertools.cycle([make() for make in (*FINDINGS.values(), *OTHERS.values())])
    dry = records(100)
    loops = [
        ("/v2/import/push", lambda: records(20_000), 5.0),
        *[("/v2/import/push?dry_run=1", lambda: dry, 0.0)] * 4,
        *[("/v2/import/push", lambda: large, 0.0)] * 3,
        *[("/v2/import/batch", lambda: next(schemas), 0.0)] * 2,
        *[("/v2/import/push", lambda: records(1), 0.0)] * 4,
    ]
    threads = [threading.Thread(target=loop, args=one, daemon=True) for one in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def attacking(attack: Callable[..., None], *about: object) -> Iterator[None]:
    """Attack from a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=attack, args=about, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


@dataclass(slots=True)
class SmallPushes:
    """Small records of one source, pushed one after the other over one connection.

    Attributes:
        port: of the server.
        head: of each request, up to its length.
        body: of each request.
        seconds: what each took, from sending to the whole answer.
        statuses: of the answers.
    """

    port: int
    head: bytes
    body: bytes
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def run(self, until: float, between: Callable[[], None] = lambda: None) -> None:
        """Push until a time of the monotonic clock."""
        request = self.head + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body
        with (
            socket.create_connection(("127.0.0.1", self.port), 60) as wire,
            wire.makefile("rb") as answers,
        ):
            while time.monotonic() < until:
                began = time.perf_counter()
                wire.sendall(request)
                status = int(answers.readline().split()[1])
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answers.read(length)
                self.seconds.append(time.perf_counter() - began)
                self.statuses[status] += 1
                between()
                time.sleep(PUSH_PAUSE_SECONDS)

    def judge(self, p99_max: float) -> list[str]:
        """What is wrong with the answers."""
        found = []
        if set(self.statuses) != {201}:
            found.append(f"a small push was answered {dict(self.statuses)}")
        if (p99 := measure_percentile(self.seconds, 0.99)) > p99_max:
            found.append(f"p99 of {len(self.seconds)} small pushes is {p99 * 1000:.0f} ms")
        return found


def measure_percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the others does not pass."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def small_pushes(server: TreadleServer, client: Client, token: str) -> SmallPushes:
    """Pushes of a record with the key 1."""
    record = {
        "client_id": client.client_id,
        "table_name": "small",
        "sequence": 1,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": 1},
    }
    head = HEAD + f"Authorization: Bearer {token}\r\n".encode()
    return SmallPushes(server.port, head, json.dumps([record]).encode())


def measure_memory(server: TreadleServer) -> int:
    """Bytes that the first worker holds."""
    status = Path(f"/proc/{server.processes()['worker 1']}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def face_strangers(server: TreadleServer, tally: Tally) -> list[str]:
    """Push small records while strangers attack; what is wrong."""
    client = Client(server, *server.account())
    _, token = client.create_source("tenant")
    pushes = small_pushes(server, client, token)
    pushes.run(time.monotonic() + 1)
    pushes.seconds.clear()
    peak = 0

    def look() -> None:
        nonlocal peak
        if len(pushes.seconds) % 10 == 0:
            peak = max(peak, measure_memory(server))

    with attacking(attack_as_strangers, server.port):
        pushes.run(time.monotonic() + ATTACK_SECONDS, look)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(120)
        stopped = time.monotonic() - began
    report("strangers", pushes, f"worker at most {peak / 1e6:.0f} MB, stopped in {stopped:.1f} s")
    found = pushes.judge(STRANGER_P99_SECONDS)
    if peak > WORKER_BYTES_MAX:
        found.append(f"the worker took {peak / 1e6:.0f} MB")
    if stopped > STOP_SECONDS_MAX:
        found.append(f"the server took {stopped:.0f} s to stop")
    tally.add(**{"pushes beside strangers": len(pushes.seconds)})
    return found


def face_greedy(server: TreadleServer, tally: Tally) -> list[str]:
    """Push and follow small records while another source does its worst; what is wrong."""
    client = Client(server, *server.account())
    _, greedy = client.create_source("greedy")
    _, token = client.create_source("modest")
    pushes = small_pushes(server, client, token)
    loaded: list[float] = []
    over = threading.Event()

    def follow() -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
            while not over.is_set():
                began = time.monotonic()
                answer = http.post("/v2/import/push", content=pushes.body)
                receipt = f"/v1/receipts/{answer.headers['Treadle-Receipt']}?wait=60"
                while http.get(receipt).json()["status"] == "waiting":
                    pass
                loaded.append(time.monotonic() - began)

    follower = threading.Thread(target=follow)
    with attacking(attack_as_tenant, server.url, client.client_id, greedy):
        pushes.run(time.monotonic() + 5)
        pushes.seconds.clear()
        follower.start()
        try:
            pushes.run(time.monotonic() + ATTACK_SECONDS)
        finally:
            over.set()
            follower.join(120)
    slowest = max(loaded, default=0.0)
    report("greedy", pushes, f"{len(loaded)} records followed, loaded in {slowest:.1f} s at most")
    found = pushes.judge(TENANT_P99_SECONDS)
    if not loaded or slowest > LOADED_SECONDS_MAX:
        found.append(f"of {len(loaded)} records the slowest was loaded in {slowest:.1f} s")
    tally.add(**{"pushes beside a greedy source": len(pushes.seconds)})
    return found


def report(title: str, pushes: SmallPushes, more: str) -> None:
    """Say what was measured."""
    p50, p99 = (measure_percentile(pushes.seconds, share) * 1000 for share in (0.5, 0.99))
    line = f"{title}: {len(pushes.seconds)} small pushes, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    print(f"{line}, {more}", flush=True)  # noqa: T201 - the command's report


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Run the cycles."""
    with destinations(arguments.destination) as make_url:
        for cycle in range(arguments.cycles):
            for kind in arguments.destination:
                for part in (face_strangers, face_greedy):
                    with folder() as path:
                        server = TreadleServer(path / "data", make_url(kind))
                        try:
                            found = part(server.start(), tally)
                        except (OSError, TreadleError) as error:
                            found = [repr(error)]
                        finally:
                            with suppress(ProcessLookupError):  # it was stopped
                                server.kill()
                        tally.note(f"{part.__name__} {kind} {cycle}", found)


if __name__ == "__main__":
    sys.exit(command("crowd", __doc__ or "", run, cycles=1))
