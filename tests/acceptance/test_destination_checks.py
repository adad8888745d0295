"""A destination is checked before it is loaded into (connect-rest.md A5), whatever is killed."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.checks import add_destination, change_destination, is_usable
from tests.servers.postgres import PostgresServer
from tests.servers.processes import runs
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.config import Config
from treadle.destinations.registry import make_destination
from treadle.store.key_files import load_cipher
from treadle.store.store import Store

RECORDS = [{"id": number} for number in range(50)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TreadleServer]:
    with TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.2"}) as running:
        yield running


@pytest.fixture
def store(server: TreadleServer) -> Iterator[Store]:
    """The store of the running server."""
    cipher = load_cipher(server.data / "secret.key", None, None)
    opened = Store.open(Config.read({"data": str(server.data)}, {}).store_url, cipher)
    yield opened
    opened.close()


class Scene:
    """A source whose destination was not checked yet, and whose records wait for it."""

    def __init__(self, server: TreadleServer, store: Store, url: str) -> None:
        self.server, self.store = server, store
        self.client = Client(server, *server.account())
        self.source_id, self.token = self.client.create_source()
        self.check = add_destination(store, self.client.client_id, url)
        self.destination_id = self.check.destination_id
        store.sources.update_source(None, self.source_id, destination_id=self.destination_id)
        answer = self.client.push(self.token, RECORDS, table="t")
        assert answer.status_code == 201
        self.receipt = answer.headers["Treadle-Receipt"]

    def last_check(self) -> dict[str, Any]:
        path = f"/v4/destinations/{self.destination_id}/last-connection-check"
        answer = self.client.http.get(path, headers=self.client.account)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    def receipt_status(self) -> dict[str, Any]:
        path = f"/v1/receipts/{self.receipt}"
        found: dict[str, Any] = self.client.http.get(path, headers=self.client.account).json()
        return found

    def await_end(self, seconds: float = 120.0) -> dict[str, Any]:
        eventually(lambda: self.last_check()["status"] != "running", seconds)
        return self.last_check()

    def require_loaded_once(self, url: str) -> None:
        eventually(lambda: self.receipt_status()["status"] == "loaded")
        with make_destination(url).open(read_only=True) as session:
            rows = session.query('select count(*), count(distinct id) from "import_api"."t"').rows
        assert rows == [(len(RECORDS), len(RECORDS))]


@pytest.fixture(params=[pytest.param("duckdb", marks=pytest.mark.release), "postgres"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """A URL that is wrong, the right one, and what the sentence says of the wrong one."""
    if request.param == "duckdb":
        (tmp_path / "wrong.duckdb").write_bytes(b"no database" * 1000)
        wrong, right = (f"duckdb://{tmp_path / name}.duckdb" for name in ("wrong", "right"))
        return wrong, right, "is not a DuckDB database"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    right = request.getfixturevalue("postgres_database")
    wrong = server.url(right.rpartition("/")[2], password="a-wrong-pa55word")
    return wrong, right, "password authentication failed"


def test_a_wrong_destination_fails_and_the_right_one_gets_all_that_waits(
    server: TreadleServer, store: Store, urls: tuple[str, str, str]
) -> None:
    wrong, right, sentence = urls
    scene = Scene(server, store, wrong)
    found = scene.await_end()
    check = store.checks.find_check(scene.check.id)
    assert check is not None
    assert check.claims == 1  # the first answer was enough
    assert (found["status"], found["error"], found["discovery_exit_status"]) == ("failed", True, 1)
    assert sentence in found["discovery_error_message"]
    assert found["discovery_error_message"].endswith(".")
    told = scene.receipt_status()
    assert told["status"] == "waiting"
    assert "is loaded into after its first check that succeeds" in told["tables"][0]["error"]
    assert not is_usable(store, scene.destination_id)

    change_destination(store, scene.destination_id, right)
    found = scene.await_end()
    assert (found["status"], found["error"], found["discovery_error_message"]) == (
        "succeeded", False, None,
    )  # fmt: skip
    scene.require_loaded_once(right)
    assert "a-wrong-pa55word" not in server.log.read_text() + json.dumps(found)

    # By hand, over the API and on the command line, beside the running loader.
    path = f"/v1/destinations/{scene.destination_id}/check"
    answer = scene.client.http.post(path, headers=scene.client.account)
    assert answer.status_code == 200
    assert scene.await_end()["name"] == answer.json()["name"]
    said = server.treadle("destination", "check", str(scene.destination_id))
    assert f"A load into {make_destination(right).kind} ({scene.destination_id}) is possible." in (
        said
    )


@contextlib.contextmanager
def gate(port: int) -> Iterator[tuple[int, threading.Event]]:
    """A port that takes connections to another one, and passes nothing on before an event."""
    opened, listening = threading.Event(), socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listening]

    def pass_on(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(1 << 16):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)

    def serve(one: socket.socket) -> None:
        opened.wait(300)
        with contextlib.suppress(OSError):
            other = socket.create_connection(("127.0.0.1", port))
            sockets.append(other)
            threading.Thread(target=pass_on, args=(other, one), daemon=True).start()
            pass_on(one, other)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = listening.accept()
                sockets.append(one)
                threading.Thread(target=serve, args=(one,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1], opened
    finally:
        opened.set()
        for each in sockets:
            each.close()


@contextlib.contextmanager
def held(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """The URL of a destination that cannot be used before a function was called."""
    if kind == "duckdb":
        connection = duckdb.connect(str(tmp_path / "held.duckdb"))
        try:
            yield f"duckdb://{tmp_path / 'held.duckdb'}", connection.close
        finally:
            connection.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = request.getfixturevalue("postgres_database").rpartition("/")[2]
    with gate(server.port) as (port, opened):
        url = server.url(name).replace(f":{server.port}/", f":{port}/")
        yield f"{url}?connect_timeout=50", opened.set


def tasks(desk: int) -> list[int]:
    """The task processes of a desk; each was started by one of its threads."""
    files = Path(f"/proc/{desk}/task").glob("*/children")
    return [int(number) for file in files for number in file.read_text().split()]


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("postgres", marks=pytest.mark.release)])
def test_a_desk_that_is_killed_in_a_check_leaves_it_to_the_next_one(
    kind: str,
    server: TreadleServer,
    store: Store,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    with held(kind, request, tmp_path) as (url, release):
        scene = Scene(server, store, url)

        def claims() -> int:
            check = store.checks.find_check(scene.check.id)
            assert check is not None
            return check.claims

        eventually(lambda: "desk" in server.processes())
        desk = server.processes()["desk"]
        eventually(lambda: claims() == 1 and len(tasks(desk)) == 1)
        [task] = tasks(desk)
        os.kill(desk, signal.SIGKILL)
        eventually(lambda: claims() == 2)
        eventually(lambda: not runs(task))
        assert scene.last_check()["status"] == "running"
        release()
        found = scene.await_end()
        assert (found["status"], found["name"]) == ("succeeded", scene.check.name)
        scene.require_loaded_once(url)
    assert server.processes()["desk"] != desk


def test_a_check_without_a_server_is_done_by_the_command(tmp_path: Path) -> None:
    server = TreadleServer(tmp_path / "data")
    with server:
        client_id, _ = server.account()
    cipher = load_cipher(server.data / "secret.key", None, None)
    store = Store.open(Config.read({"data": str(server.data)}, {}).store_url, cipher)
    (tmp_path / "wrong.duckdb").write_bytes(b"no database" * 1000)
    check = add_destination(store, client_id, f"duckdb://{tmp_path / 'wrong.duckdb'}")
    words = ("destination", "check", str(check.destination_id))
    found = json.loads(server.treadle(*words, "--json", check=False))
    assert found["status"] == "failed"
    assert [each["phase"] for each in found["phases"]] == ["connect"]
    change_destination(store, check.destination_id, f"duckdb://{tmp_path / 'right.duckdb'}")
    assert "is possible" in server.treadle(*words)
    assert is_usable(store, check.destination_id)
    store.close()
