"""One machine goes into the databases of a cluster: nothing is lost, nothing is loaded twice."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.servers.treadle import Client, TreadleServer

from treadle.cli.main import main

AT_ONCE = {"load_age_seconds": "0.1"}
LATER = {"load_age_seconds": "86400"}


def push(client: Client, token: str, first: int, key: str | None = None) -> str:
    """Push three records; return the receipt."""
    body = [{"id": number} for number in range(first, first + 3)]
    headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
    answer = client.http.post("/v1/tables/orders/records", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["treadle-receipt"])


def ask(client: Client, token: str, receipt: str, wait: int = 60) -> Any:
    own = {"Authorization": f"Bearer {token}"}
    answer = client.http.get(f"/v1/receipts/{receipt}", params={"wait": wait}, headers=own)
    assert answer.status_code == 200, answer.text
    return answer.json()


def read_ids(url: str) -> list[int]:
    """The rows of the table, which has no key: one that is loaded twice is there twice."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM shop.orders ORDER BY id")]


@pytest.mark.release
@pytest.mark.file_store
def test_what_one_machine_took_is_loaded_once_by_a_cluster(
    tmp_path: Path, postgres_server: Any, postgres_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_url = postgres_server.lend_database()
    server = TreadleServer(tmp_path / "data", rows_url, AT_ONCE)
    with server:
        account = server.account()
        client = Client(server, *account)
        _, token = client.create_source("Shop")
        loaded = push(client, token, 1, "first")
        assert ask(client, token, loaded)["status"] == "loaded"
    server.settings = LATER
    with server:
        client = Client(server, *account)
        waiting = [push(client, token, 4, "second"), push(client, token, 7)]
        assert ask(client, token, waiting[0], wait=0)["status"] != "loaded"
        refused = run_import(server.data, postgres_database)
        assert (refused, "A server runs on" in capsys.readouterr().err) == (2, True)
    assert run_import(server.data, postgres_database) == 0
    done = json.loads(capsys.readouterr().out)
    [log] = done["logs"]
    assert (log["records"], log["keys"], log["damaged"]) == (9, 2, 0)
    # The old folder is not served any more; what was done is not done again.
    assert main(["status", "--data", str(server.data)]) == 2
    assert "was moved to postgresql://" in capsys.readouterr().err
    assert run_import(server.data, postgres_database) == 0
    assert json.loads(capsys.readouterr().out)["was_done"] is True
    # Another machine has the key, and nothing else of the first one.
    other = TreadleServer(
        tmp_path / "other",
        rows_url,
        AT_ONCE
        | {"store": postgres_database, "store_durability": "none", "log_durability": "none"},
        {"TREADLE_SECRET_KEY": (server.data / "secret.key").read_text()},
    )
    with other:
        client = Client(other, *account)
        for receipt in (loaded, *waiting):
            assert ask(client, token, receipt)["status"] == "loaded"
        assert push(client, token, 1, "first") == loaded
        assert push(client, token, 4, "second") == waiting[0]
        assert ask(client, token, push(client, token, 10))["status"] == "loaded"
        assert read_ids(rows_url) == list(range(1, 13))
    postgres_server.take_back(rows_url)


def run_import(data: Path, url: str) -> int:
    words = ["cluster", "import", "--data", str(data), "--store", url, "--log", url, "--json"]
    return main([*words, "--store-durability", "none", "--log-durability", "none"])
