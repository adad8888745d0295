"""A server with its log in the data folder and its store on PostgreSQL, which goes away."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client, TreadleServer, eventually

STALE_SECONDS = 5.0


@pytest.fixture
def away() -> Iterator[PostgresServer]:
    """A server of its own, which the test stops."""
    with PostgresServer() as server:
        yield server


def name_store(data: Path, url: str, **further: object) -> None:
    """Write the settings, which every command on the folder reads."""
    data.mkdir(mode=0o700)
    settings = {"store": url, "store_durability": "none", **further}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (data / "treadle.toml").write_text("".join(lines))
    (data / "treadle.toml").chmod(0o600)


def push(client: Client, token: str, number: int) -> httpx.Response:
    return client.push(token, [{"id": number}], table="orders")


def ask_readiness(server: TreadleServer) -> tuple[int, dict[str, object]]:
    answer = httpx.get(f"{server.url}/readyz", timeout=60)
    return answer.status_code, answer.json()


def test_accepting_goes_on_for_a_while_without_the_store_and_loading_after_it(
    tmp_path: Path, away: PostgresServer
) -> None:
    name_store(tmp_path / "data", away.create_database(), token_stale_seconds=STALE_SECONDS)
    server = TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.1"})
    made = json.loads(server.treadle("init", "--json"))
    with server:
        assert "client id" not in server.said  # of the account that init made
        client = Client(server, made["stitch_client_id"], made["access_token"])
        _, token = client.create_source("web")
        assert push(client, token, 1).status_code == 201

        def count_rows() -> int:
            return int(server.query("select count(*) as n from web.orders")[0]["n"])

        eventually(lambda: count_rows() == 1)
        [line] = json.loads(server.treadle("ledger", "--json"))
        assert (line["accepted"], line["loaded"]) == (1, 1)
        assert ask_readiness(server)[0] == 200
        running = server.processes()

        away.stop(immediate=True)
        assert push(client, token, 2).status_code == 201
        assert ask_readiness(server)[0] == 200
        # What is not known cannot be asked for.
        assert push(client, "0" * 64, 3).status_code == 503
        assert client.http.get("/v4/sources", headers=client.account).status_code == 503

        eventually(lambda: push(client, token, 2).status_code == 503)
        refused = push(client, token, 2)
        assert int(refused.headers["Retry-After"]) >= 1
        status, told = ask_readiness(server)
        assert status == 503
        assert str(told["reason"]).startswith("tokens cannot be checked: the store was not")

        away.start()
        eventually(lambda: push(client, token, 3).status_code == 201)
        eventually(lambda: count_rows() == 3)
        assert ask_readiness(server)[0] == 200
        assert server.processes() == running  # nothing crashed
        assert "Traceback" not in server.log.read_text()
        assert client.http.get("/v4/sources", headers=client.account).status_code == 200
        client.http.close()
        assert server.stop() == 0
    url = away.url()
    assert away.password not in server.log.read_text()
    assert url not in server.said
