"""A tenant's schemas, however odd, delay no other tenant and do not fill memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.schema_attacks import FINDINGS, OTHERS
from tests.servers.treadle import Client, TreadleServer, eventually

MB = 1024 * 1024
ANSWER_BYTES_MAX = 80 * 1024
"""A text of 64 KB, and the backslashes of its quotes and line breaks."""

WAIT_SECONDS_MAX = 5.0
WAIT_PART_MAX = 1 / 3
"""The longest that another tenant's small push takes, on a machine that does much else: seconds, or
as a part of what is sent meanwhile, which takes the longer the more the machine does. A worker that
did that work itself would answer nobody before its end."""

WORKER_BYTES_MAX = 400 * MB
TASK_BYTES_MAX = 640 * MB
TASK_SECONDS_MAX = 90.0

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc"),
]


class Bystander:
    """Another tenant, which pushes one record after the other and notes how long that takes."""

    def __init__(self, client: Client, token: str) -> None:
        self.client = client
        self.token = token
        self.statuses: set[int] = set()
        self.longest = 0.0

    @contextmanager
    def pushing(self) -> Iterator[None]:
        stop = threading.Event()

        def push() -> None:
            while not stop.is_set():
                began = time.monotonic()
                answer = self.client.push(self.token, [{"id": 1}], table="small")
                self.longest = max(self.longest, time.monotonic() - began)
                self.statuses.add(answer.status_code)
                time.sleep(0.01)

        self.statuses, self.longest = set(), 0.0
        thread = threading.Thread(target=push)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    folder = tmp_path_factory.mktemp("attacks")
    settings = {"workers": "1", "load_age_seconds": "3600"}
    with TreadleServer(folder / "data", settings=settings, forked=False) as running:
        yield running


@pytest.fixture(scope="module")
def attacker(server: TreadleServer) -> tuple[Client, str]:
    client = Client(server, *server.account())
    return client, client.create_source("attacker")[1]


@pytest.fixture(scope="module")
def bystander(server: TreadleServer) -> Bystander:
    client = Client(server, *server.account())
    return Bystander(client, client.create_source("bystander")[1])


def send(attacker: tuple[Client, str], body: bytes) -> httpx.Response:
    client, token = attacker
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return client.http.post("/v2/import/batch", content=body, headers=headers)


def read_status(pid: int, name: str) -> int:
    """A number of bytes that the system knows of a process; 0 if that has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else 0


def list_children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


DAILY: Final = {
    "a key a million times",
    "an enum of 100,000 values",
    "huge numbers",
    "many alternatives",
    "references to ancestors",
    "slow compilation",
    "slow matches, a few",
    "unique arrays in unique arrays",
}
"""What is sent with each change. How the effort of each is bounded is tested on values."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in DAILY else pytest.mark.release)
        for name in (*FINDINGS, *OTHERS)
    ],
)
def test_no_schema_delays_another_tenant(
    server: TreadleServer, attacker: tuple[Client, str], bystander: Bystander, name: str
) -> None:
    body = {**FINDINGS, **OTHERS}[name]()
    assert len(body) < 20 * MB
    worker = server.processes()["worker 1"]
    with bystander.pushing():
        began = time.monotonic()
        answer = send(attacker, body)
        took = time.monotonic() - began
    assert answer.status_code in (201, 400), answer.text[:200]
    assert len(answer.content) < ANSWER_BYTES_MAX
    assert took < TASK_SECONDS_MAX
    assert bystander.statuses == {201}
    assert bystander.longest < max(WAIT_SECONDS_MAX, WAIT_PART_MAX * took)
    assert server.processes()["worker 1"] == worker
    assert read_status(worker, "VmHWM") < WORKER_BYTES_MAX
    held = sum(read_status(child, "VmRSS") for child in list_children(worker))
    assert held < TASK_BYTES_MAX


@pytest.mark.slow
@pytest.mark.release
def test_the_kept_schemas_do_not_fill_memory(
    server: TreadleServer, attacker: tuple[Client, str]
) -> None:
    """Hundreds of schemas with patterns, each of which may stay in memory."""
    worker = server.processes()["worker 1"]
    for number in range(100):
        patterns = {f"p{n}": {"pattern": rf"^\p{{L}}{{9}}{number}-{n}$"} for n in range(10)}
        schema: dict[str, object] = {"properties": patterns}
        message = {"action": "upsert", "sequence": 1, "data": {"id": 1}}
        client, token = attacker
        answer = client.http.post(
            "/v2/import/batch",
            json={"table_name": "t", "schema": schema, "messages": [message]},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 201, answer.text
    assert read_status(worker, "VmHWM") < WORKER_BYTES_MAX
    assert sum(read_status(child, "VmRSS") for child in list_children(worker)) < TASK_BYTES_MAX


@pytest.mark.slow
def test_attackers_that_leave_end_their_tasks(
    server: TreadleServer, attacker: tuple[Client, str], bystander: Bystander
) -> None:
    body = OTHERS["references to ancestors"]()
    _, token = attacker
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    worker = server.processes()["worker 1"]
    with bystander.pushing():
        first = time.monotonic()
        for _ in range(10):
            with (
                httpx.Client(base_url=server.url, timeout=httpx.Timeout(60, read=0.3)) as impatient,
                pytest.raises(httpx.ReadTimeout),
            ):
                impatient.post("/v2/import/batch", content=body, headers=headers)
        # What each of them asked for would take half a minute.
        began = time.monotonic()
        assert send(attacker, FINDINGS["pointer bomb"]()).status_code == 400
        assert time.monotonic() - began < 30
        took = time.monotonic() - first
    assert bystander.longest < max(WAIT_SECONDS_MAX, WAIT_PART_MAX * took)
    assert server.processes()["worker 1"] == worker


@pytest.mark.slow
def test_a_server_stops_while_tasks_run(tmp_path: Path) -> None:
    """Runs on a server of its own."""
    with TreadleServer(tmp_path / "data", settings={"workers": "1"}) as server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        body = OTHERS["references to ancestors"]()

        def attack() -> None:
            try:
                send((Client(server, *server.account()), token), body)
            except httpx.HTTPError:
                return

        threads = [threading.Thread(target=attack) for _ in range(6)]
        for thread in threads:
            thread.start()
        worker = server.processes()["worker 1"]
        eventually(lambda: list_children(worker) != [])
        children = list_children(worker)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 60
        for thread in threads:
            thread.join()
        assert [child for child in children if Path(f"/proc/{child}").exists()] == []


POISON: Final[dict[str, dict[str, Any]]] = {
    "products": {"allOf": [{"anyOf": [{"type": "string"}, {"type": "integer"}]}] * 60},
    "itself": {"additionalProperties": {"$ref": "#"}},
    "patterns": {"patternProperties": {"^(a+)+$": {"type": "integer"}, r"\p{L}": {}}},
    "places": {"enum": [1], "anyOf": [{"$ref": "#/anyOf/²"}]},
}
"""Schemas of a field that a batch may have, and that the loader reads as well."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "destination", ["duckdb", pytest.param("postgres", marks=pytest.mark.release)]
)
def test_no_accepted_schema_stops_the_loader(
    tmp_path: Path, destination: str, request: pytest.FixtureRequest
) -> None:
    url = None if destination == "duckdb" else request.getfixturevalue("postgres_database")
    with TreadleServer(tmp_path / "data", url, {"load_age_seconds": "0.2"}) as server:
        client = Client(server, *server.account())
        _, token = client.create_source("attacker")
        _, other = client.create_source("bystander")
        headers = {"Authorization": f"Bearer {token}"}
        for name, schema in POISON.items():
            whole = {"properties": {"id": {"type": "integer"}, "v": schema}, **schema}
            for table, given in ((name, whole), (f"{name}2", {"properties": {"v": schema}})):
                data = {"id": 1, "v": 1, "a" * 40 + "!": {"a" * 40 + "!": 1}}
                message = {"action": "upsert", "sequence": 1, "data": data}
                body = {"table_name": table, "schema": given, "messages": [message]}
                answer = client.http.post("/v2/import/batch", json=body, headers=headers)
                assert answer.status_code == 201 or table == name, answer.text
        assert client.push(other, [{"id": 7}], table="small").status_code == 201
        eventually(lambda: server.query("SELECT id FROM bystander.small") == [{"id": 7}], 120)

        def all_loaded() -> bool:
            ledger = client.http.get("/v1/ledger", headers=client.account).json()
            return bool(ledger["total"]["waiting"] == 0)

        eventually(all_loaded, 120)
        assert "Traceback" not in server.log.read_text()


def test_nothing_of_this_was_the_servers_fault(server: TreadleServer) -> None:
    """Runs last on purpose."""
    said = server.log.read_text()
    assert "Traceback" not in said
    assert said.count("worker 1 started") == 1
