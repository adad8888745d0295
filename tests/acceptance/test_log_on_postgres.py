"""A server with its store and two logs on PostgreSQL, and nothing of either in its data folder."""

import json
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client, TreadleServer, eventually

BAD = 10**30
"""No column of the destination holds it."""


def name_databases(data: Path, url: str) -> None:
    """Write the settings, which every command on the folder reads."""
    data.mkdir(mode=0o700)
    settings = {"store": url, "log": url, "store_durability": "none", "log_durability": "none"}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (data / "treadle.toml").write_text("".join(lines))
    (data / "treadle.toml").chmod(0o600)


class Shop:
    """An account with two sources, each on a log of its own."""

    def __init__(self, server: TreadleServer, made: dict[str, Any]) -> None:
        self.server = server
        self.client = Client(server, made["stitch_client_id"], made["access_token"])
        self.tokens = [self.client.create_source(name)[1] for name in ("first", "second")]

    def push(self, which: int, records: list[dict[str, Any]], **headers: str) -> httpx.Response:
        body = [
            {
                "client_id": self.client.client_id,
                "table_name": "orders",
                "sequence": record["id"],
                "action": "upsert",
                "key_names": ["id"],
                "data": record,
            }
            for record in records
        ]
        answer = self.client.http.post(
            "/v2/import/push", json=body, headers=self.own(which) | headers
        )
        assert answer.status_code == 201, answer.text
        return answer

    def try_push(self, which: int, number: int) -> int:
        """The status of a push of one record; the log may be away."""
        return self.client.push(self.tokens[which], [{"id": number}], table="orders").status_code

    def ids(self, schema: str) -> list[int]:
        found = self.server.query(f"SELECT DISTINCT id FROM {schema}.orders ORDER BY id")
        return [one["id"] for one in found]

    def own(self, which: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[which]}"}

    def settle(self, which: int, pushed: httpx.Response) -> dict[str, Any]:
        """The answer about a request's receipt once all of it is loaded."""
        found: dict[str, Any] = self.client.http.get(
            f"/v1/receipts/{pushed.headers['treadle-receipt']}",
            params={"wait": 60},
            headers=self.own(which),
        ).json()
        return found

    def rows(self, schema: str) -> list[dict[str, Any]]:
        return self.server.query(f"SELECT id, n FROM {schema}.orders ORDER BY id")


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def test_a_server_takes_and_loads_with_its_logs_on_postgresql(
    tmp_path: Path, postgres_database: str
) -> None:
    url = postgres_database
    name_databases(tmp_path / "data", url)
    settings = {"load_age_seconds": "0.1", "retention_days": "0", "workers": "1"}
    server = TreadleServer(tmp_path / "data", settings=settings)
    made = json.loads(server.treadle("init", "--logs", "2", "--json"))
    with server:
        shop = Shop(server, made)
        check_requests(shop)
        check_rejected_record(shop)
        check_views(shop)
        check_restart(shop, url)
        assert server.stop() == 0
    assert not list((tmp_path / "data").glob("log*.sqlite*"))
    password = psycopg.conninfo.conninfo_to_dict(url)["password"]
    assert str(password) not in server.log.read_text() + server.said
    assert "Traceback" not in server.log.read_text()


@pytest.mark.release
def test_while_a_log_is_away_the_others_are_served(tmp_path: Path, postgres_database: str) -> None:
    name_databases(tmp_path / "data", postgres_database)
    server = TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.1"})
    made = json.loads(server.treadle("init", "--json"))
    with PostgresServer() as away:
        with server:
            running = server.processes()
            # A log that is added while the server runs is taken to.
            server.treadle("log", "add", "--log", away.create_database())
            shop = Shop(server, made)
            eventually(lambda: shop.try_push(1, 1) == 201)
            assert shop.try_push(0, 1) == 201
            eventually(lambda: shop.ids("first") == shop.ids("second") == [1])

            away.stop(immediate=True)
            for number in (2, 3):
                assert shop.try_push(0, number) == 201
            eventually(lambda: shop.ids("first") == [1, 2, 3])
            assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
            eventually(lambda: shop.try_push(1, 2) == 503)
            assert shop.try_push(0, 4) == 201
            eventually(lambda: shop.ids("first") == [1, 2, 3, 4])
            listed = json.loads(server.treadle("log", "list", "--json"))
            assert [one["trouble"] is None for one in listed] == [True, False]

            away.start()
            eventually(lambda: shop.try_push(1, 5) == 201)
            eventually(lambda: shop.ids("second")[-1:] == [5])
            assert server.processes() == running  # nothing crashed
            assert server.stop() == 0

            # It starts without that log, too, and takes to it when it is there.
            away.stop(immediate=True)
            server.start()
            assert shop.try_push(0, 6) == 201
            eventually(lambda: shop.ids("first")[-1:] == [6])
            assert shop.try_push(1, 7) == 503
            away.start()
            eventually(lambda: shop.try_push(1, 7) == 201)
            eventually(lambda: shop.ids("second")[-1:] == [7])
        assert "Traceback" not in server.log.read_text()
    assert away.password not in server.log.read_text()


def check_requests(shop: Shop) -> None:
    """Push, receipt, row."""
    for which in (0, 1):
        told = shop.settle(which, shop.push(which, [{"id": 1, "n": which}]))
        assert told["status"] == "loaded", told
    assert [shop.rows(schema) for schema in ("first", "second")] == [
        [{"id": 1, "n": 0}],
        [{"id": 1, "n": 1}],
    ]


def check_rejected_record(shop: Shop) -> None:
    """A record that no column holds is named by its log, and is sent again when it is repaired."""
    told = shop.settle(1, shop.push(1, [{"id": 3, "n": BAD}]))
    assert [len(one["rejected"]) for one in told["tables"]] == [1]
    [row] = json.loads(shop.server.treadle("rejects", "list", "--json"))
    assert row["id"] == "2-2.0"
    [sent] = json.loads(
        shop.server.treadle("rejects", "resend", row["id"], "--set", "n=3", "--json")
    )
    assert sent["receipt"].startswith("rc_")
    eventually(lambda: [one["n"] for one in shop.rows("second")] == [1, 3])


def check_views(shop: Shop) -> None:
    """What shows the log goes to both of them."""
    ledger = json.loads(shop.server.treadle("ledger", "--json"))
    assert sorted((one["source"], one["accepted"], one["loaded"]) for one in ledger) == [
        ("first", 1, 1),
        ("second", 3, 2),
    ]
    requests = shop.client.http.get("/v1/requests", headers=shop.client.account).json()["requests"]
    assert len([one for one in requests if one["receipt"]]) == 4
    health = shop.client.http.get("/v1/health", headers=shop.client.account)
    assert health.json()["log"]["bytes"] > 0
    assert health.json()["log"]["oldest_kept_at"]
    assert httpx.get(f"{shop.server.url}/readyz", timeout=60).status_code == 200

    def list_logs() -> list[tuple[int, int, int]]:
        listed = json.loads(shop.server.treadle("log", "list", "--json"))
        return [(one["log"], one["sources"], one["records_waiting"]) for one in listed]

    # What was loaded is marked in the log each second.
    eventually(lambda: list_logs() == [(1, 1, 0), (2, 1, 0)])
    assert json.loads(shop.server.treadle("log", "stats", "--json")) == []
    assert shop.server.treadle("audit", "--json")


def check_restart(shop: Shop, url: str) -> None:
    """A key is known after everything was killed; the keeper drops a segment that is loaded."""
    once = {"Idempotency-Key": "once"}
    pushed = [shop.push(which, [{"id": 5, "n": 5}], **once) for which in (0, 1)]
    for which in (0, 1):
        assert shop.settle(which, pushed[which])["status"] == "loaded"
    ask(url, "UPDATE treadle_log.segments SET made_at = 0 WHERE segment = 1")  # it is old
    shop.server.kill()
    shop.server.start()
    for which in (0, 1):
        again = shop.push(which, [{"id": 5, "n": 5}], **once)
        assert again.headers["treadle-receipt"] == pushed[which].headers["treadle-receipt"]
    left = "SELECT count(*) FROM treadle_log.segments WHERE segment = 1"
    eventually(lambda: ask(url, left) == [(0,)])
    told = shop.settle(0, shop.push(0, [{"id": 9, "n": 9}]))
    assert told["status"] == "loaded"
    assert shop.rows("first") == [{"id": 1, "n": 0}, {"id": 5, "n": 5}, {"id": 9, "n": 9}]
