"""A source is moved to another destination of a running server, whatever is killed."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.faults.serve import MODULE, VARIABLE
from tests.servers.keyless_sender import BATCH, KeylessSender, count_ids
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.failpoint import FailpointPlan

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Pair:
    """The URLs of two destinations; the first one is the default."""

    first: str
    second: str


# All three pairs are in tests/integration/maintenance/test_history.py.
@pytest.fixture(
    params=[
        "duckdb postgres",
        pytest.param("postgres duckdb", marks=pytest.mark.release),
        pytest.param("postgres postgres", marks=pytest.mark.release),
    ]
)
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[Pair]:
    urls = []
    with ExitStack() as stack:
        for number, kind in enumerate(request.param.split()):
            if kind == "duckdb":
                urls.append(f"duckdb://{tmp_path / f'{number}.duckdb'}")
                continue
            urls.append(postgres_server.lend_database())
            stack.callback(postgres_server.take_back, urls[-1])
        yield Pair(*urls)


def add_lake(server: TreadleServer, folder: Path, url: str) -> None:
    file = folder / "url.txt"
    file.write_text(url)
    words = ("--url-file", str(file), "--name", "Lake", "--ignore-unmapped-sources")
    server.treadle("destination", "create", *words)
    server.treadle("destination", "check", "Lake")


def test_a_history_is_moved_while_records_arrive_and_the_loader_is_killed(
    tmp_path: Path, pair: Pair
) -> None:
    settings = {"load_age_seconds": "0.1", "load_rows": "200"}
    with TreadleServer(tmp_path / "data", pair.first, settings=settings) as server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        sender = KeylessSender(client, token)
        sender.start()
        eventually(lambda: count_ids(pair.first).total() >= 10 * BATCH)
        add_lake(server, tmp_path, pair.second)
        server.kill_part("loader")
        told = server.treadle("destination", "move", "import_api", "Lake", "--with-history")
        server.kill_part("loader")
        before = sender.acknowledged
        eventually(lambda: sender.acknowledged >= before + 5 * BATCH)
        sender.stop()
        expected = Counter(range(sender.acknowledged))
        eventually(lambda: count_ids(pair.second) == expected)
        former = count_ids(pair.first)
        assert former <= expected
        assert "Not copied" not in told
        assert "What was loaded before stays in " in told
        # Nothing waits, and nothing is told as lost.
        eventually(lambda: client.http.get("/v2/import/status").json()["reason"] is None)
        assert count_ids(pair.first) == former


@pytest.mark.release
@pytest.mark.parametrize("pair", ["duckdb postgres"], indirect=True)
def test_what_was_committed_before_kill_9_is_not_loaded_into_the_next_destination(
    tmp_path: Path, pair: Pair
) -> None:
    plan = tmp_path / "plan"
    server = TreadleServer(
        tmp_path / "data",
        pair.first,
        settings={"load_age_seconds": "0.1"},
        environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", VARIABLE: str(plan)},
        program=MODULE,
    )
    with server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        sender = KeylessSender(client, token)
        sender.push()
        eventually(lambda: count_ids(pair.first).total() == BATCH)
        # Committed, and known to the destination alone.
        plan.write_bytes(msgspec.json.encode(FailpointPlan("loader.after-load", whole=True)))
        sender.push()
        server.process.wait(60)
        del server.environment[VARIABLE]
        assert server.process.stdout is not None
        server.process.stdout.close()
        add_lake(server, tmp_path, pair.second)
        server.treadle("destination", "move", "import_api", "Lake")
        server.start()
        sender.push()
        everything = Counter(range(3 * BATCH))
        eventually(lambda: count_ids(pair.first) + count_ids(pair.second) == everything)
        assert count_ids(pair.second) == Counter(range(2 * BATCH, 3 * BATCH))


def test_a_source_is_moved_over_the_api(tmp_path: Path, postgres_database: str) -> None:
    with TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.1"}) as server:
        client = Client(server, *server.account())
        source_id, token = client.create_source()
        sender = KeylessSender(client, token)
        sender.push()
        first = f"duckdb://{tmp_path / 'data' / 'warehouse.duckdb'}"
        eventually(lambda: count_ids(first).total() == BATCH)
        add_lake(server, tmp_path, postgres_database)
        rows = client.http.get("/v4/destinations", headers=client.account).json()
        lake = rows[-1]["id"]
        moved = client.http.put(
            f"/v4/sources/{source_id}", json={"destination_id": lake}, headers=client.account
        )
        assert moved.status_code == 200
        done = f"import_api is loaded into destination {lake} now"
        eventually(lambda: done in server.log.read_text())
        sender.push()
        eventually(lambda: count_ids(postgres_database) == Counter(range(BATCH, 2 * BATCH)))
        assert count_ids(first) == Counter(range(BATCH))
        trail = client.http.get("/v1/trail?action=move_source", headers=client.account).json()
        assert "move_source" in str(trail)
