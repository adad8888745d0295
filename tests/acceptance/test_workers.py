"""Several ingest processes behave as one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

from treadle.ingest.store_watch import POLL_SECONDS

WORKERS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TreadleServer]:
    with TreadleServer(tmp_path / "data", settings={"workers": str(WORKERS)}) as running:
        yield running


@pytest.fixture
def client(server: TreadleServer) -> Client:
    return Client(server, *server.account())


def record(client: Client, number: int) -> list[dict[str, object]]:
    return [
        {
            "client_id": client.client_id,
            "table_name": "t",
            "sequence": number,
            "action": "upsert",
            "key_names": ["id"],
            "data": {"id": number},
        }
    ]


def statuses(client: Client, token: str, count: int) -> list[int]:
    """Statuses of pushes, each on a connection of its own, so that every worker gets some."""

    def one(number: int) -> int:
        answer = httpx.post(
            f"{client.server.url}/v2/import/push",
            json=record(client, number),
            headers={"Authorization": f"Bearer {token}", "Connection": "close"},
            timeout=PATIENCE_SECONDS,
        )
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def told(server: TreadleServer) -> dict[str, float]:
    """Some of the metrics, as whichever worker gives them."""
    answer = httpx.get(f"{server.url}/metrics", headers={"Connection": "close"}, timeout=30)
    assert answer.status_code == 200
    wanted = ("records_accepted_total{", "records_loaded_total{", 'requests_total{endpoint="push"')
    lines = [line for line in answer.text.splitlines() if any(word in line for word in wanted)]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_several_processes_accept_is_loaded_once(
    server: TreadleServer, client: Client
) -> None:
    _, token = client.create_source()
    assert set(statuses(client, token, 300)) == {201}
    eventually(
        lambda: (
            server.query("select count(*) as n, count(distinct id) as ids from import_api.t")
            == [{"n": 300, "ids": 300}]
        )
    )
    assert told(server) == {
        'treadle_records_accepted_total{source="import_api",source_id="2",table="t"}': 300.0,
        'treadle_records_loaded_total{source="import_api",source_id="2",table="t"}': 300.0,
        'treadle_http_requests_total{endpoint="push",status="201"}': 300.0,
    }
    names = set(server.processes())
    workers = {f"worker {number}" for number in range(1, WORKERS + 1)}
    assert names == workers | {"loader"}  # desk and courier rest until there is something for them


def test_a_revoked_token_and_a_paused_source_are_refused_by_all(client: Client) -> None:
    """Within a second: that is how often every process asks, and no clock of a busy machine."""
    assert POLL_SECONDS <= 0.5
    source_id, token = client.create_source()
    second = client.http.post(f"/v4/sources/{source_id}/tokens", headers=client.account).json()
    assert set(statuses(client, token, 60)) == {201}
    assert set(statuses(client, second["access_token"], 60)) == {201}

    tokens = client.http.get(f"/v4/sources/{source_id}/tokens", headers=client.account).json()
    first_id = min(row["token_id"] for row in tokens)
    client.http.delete(f"/v4/sources/{source_id}/tokens/{first_id}", headers=client.account)
    eventually(lambda: set(statuses(client, token, 60)) == {401})
    assert set(statuses(client, second["access_token"], 60)) == {201}

    client.http.put(
        f"/v4/sources/{source_id}",
        json={"paused_at": "2026-01-01T00:00:00Z"},
        headers=client.account,
    )
    eventually(lambda: set(statuses(client, second["access_token"], 60)) == {401})
    client.http.put(f"/v4/sources/{source_id}", json={"paused_at": None}, headers=client.account)
    eventually(lambda: set(statuses(client, second["access_token"], 60)) == {201})
    assert set(statuses(client, token, 60)) == {401}
