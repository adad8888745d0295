"""A treadle server per test, loading into each kind of destination.

With STORE_TESTS=postgres in the environment each of them keeps its store on PostgreSQL, with
LOG_TESTS=postgres its store and its log.
"""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import WITHOUT_VACUUM
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client, TreadleServer

from treadle.config import Config
from treadle.log.remote_registry import POSTGRES, make_remote_log
from treadle.store.key_files import load_cipher
from treadle.store.store import Store

STORES_VARIABLE = "STORE_TESTS"
LOGS_VARIABLE = "LOG_TESTS"


@pytest.fixture(scope="session")
def store_server() -> Iterator[PostgresServer]:
    """PostgreSQL for the stores, with connections for several servers at once."""
    with PostgresServer(settings={**WITHOUT_VACUUM, "max_connections": "200"}) as server:
        yield server


@pytest.fixture(autouse=True)
def _store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the stores of this test where the environment says."""
    has_log = os.environ.get(LOGS_VARIABLE) == "postgres"
    if not has_log and os.environ.get(STORES_VARIABLE) != "postgres":
        yield
        return
    if request.node.get_closest_marker("file_store"):
        pytest.skip("this is about the file of a store")
    if has_log and request.node.get_closest_marker("file_log"):
        pytest.skip("this is about the file of a log")
    server: PostgresServer = request.getfixturevalue("store_server")
    made: list[str] = []

    def make_store(data: Path) -> None:
        path = data / "treadle.toml"
        if (data / "secret.key").exists() or (path.exists() and "store =" in path.read_text()):
            return
        config = Config(data=data)
        config.make_data_folder()
        made.append(server.create_database())
        there = path.read_text() if path.exists() else ""
        chosen = {"store": made[-1], "store_durability": "none", "log_durability": "none"}
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in chosen.items()]
        path.write_text("".join([*lines, there]))
        path.chmod(0o600)
        with closing(Store.open(made[-1], load_cipher(config.key_path))) as store:
            if has_log:
                log_id = make_remote_log(made[-1], 1, store.installation_id)
                store.logs.add_log(log_id, POSTGRES, made[-1])

    monkeypatch.setattr(TreadleServer, "make_store", staticmethod(make_store))
    yield
    for url in made:
        server.drop_database(url)


@pytest.fixture(params=["duckdb", "postgres"])
def destination_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The destination to serve with: None for the embedded default."""
    if request.param == "duckdb":
        return None
    if request.param == "mysql":
        return str(request.getfixturevalue("mariadb_url"))
    if request.param == "clickhouse":
        return str(request.getfixturevalue("clickhouse_url"))
    if request.param == "iceberg":
        return f"iceberg+sql://{tmp_path / 'lake.db'}"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
def server(tmp_path: Path, destination_url: str | None) -> Iterator[TreadleServer]:
    """A server on an empty data folder."""
    with TreadleServer(tmp_path / "data", destination_url) as running:
        yield running


@pytest.fixture
def client(server: TreadleServer) -> Client:
    """The account that was made at the first start."""
    return Client(server, *server.account())
