"""Destinations that an account names, on a running server (connect-rest.md A.2.2)."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.servers.database_server import free_port
from tests.servers.receiver import receiving
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

LOCAL = {"destinations_local": "true", "load_age_seconds": "0.2"}
COUNT = "select count(*) as n, count(distinct id) as d from import_api.orders"


def name_postgres(url: str, **changes: Any) -> dict[str, Any]:
    """The properties of a PostgreSQL URL."""
    found = conninfo_to_dict(url)
    return {
        "host": found["host"],
        "port": found["port"],
        "username": found["user"],
        "password": found["password"],
        "database": found["dbname"],
        "ssl": False,
    } | changes


class Account:
    """Calls about destinations of one account, whose answers are kept."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answers: list[str] = []

    def call(self, method: str, path: str = "", body: object = None) -> httpx.Response:
        answer = self.client.http.request(
            method,
            f"/v4/destinations{path}",
            headers=self.client.account,
            json=body,
        )
        self.answers.append(answer.text)
        return answer

    def make(self, type_: str, properties: dict[str, Any]) -> int:
        answer = self.call("POST", "", {"type": type_, "properties": properties})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    def list_ids(self) -> list[int]:
        return [row["id"] for row in self.call("GET").json()]

    def delete(self, id_: int) -> None:
        answer = self.call("DELETE", f"/{id_}")
        assert (answer.status_code, answer.text) == (200, "{}")

    def read_reason(self) -> str:
        status = self.client.http.get("/v2/import/status")
        assert status.status_code == 200
        return str(status.json()["reason"])


def push_orders(client: Client, token: str, first: int, count: int) -> None:
    """Push records without a key, so that one that is loaded twice is there twice."""
    records = [{"id": number} for number in range(first, first + count)]
    assert client.push(token, records, table="orders", keys=[]).status_code == 201


def test_a6_what_waits_for_a_deleted_destination_is_in_the_next_one_once(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data", settings=LOCAL) as server:
        client = Client(server, *server.account())
        account = Account(client)
        _, token = client.create_source()
        [default] = account.list_ids()
        account.delete(default)
        gone = account.make(
            "postgres", name_postgres("postgresql://me:x@127.0.0.1:1/d", port=free_port())
        )
        push_orders(client, token, 0, 10_000)
        eventually(lambda: f"destination {gone} (postgres)" in account.read_reason())
        account.delete(gone)
        eventually(lambda: "no destination (1 source has none)" in account.read_reason())
        account.make("duckdb", {"path": "second.duckdb"})
        eventually(lambda: server.query(COUNT) == [{"n": 10_000, "d": 10_000}])
        eventually(lambda: account.read_reason() == "None")
        assert (tmp_path / "data" / "second.duckdb").exists()
        assert not (tmp_path / "data" / "warehouse.duckdb").exists()
        # A further start changes nothing: what comes goes on to the same file.
        server.stop()
        server.start()
        push_orders(client, token, 10_000, 5)
        eventually(lambda: server.query(COUNT) == [{"n": 10_005, "d": 10_005}])
        assert not (tmp_path / "data" / "warehouse.duckdb").exists()


def test_a7_who_owns_the_default_destination(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    def check(destination: str | None, path: str | None, *, held: bool) -> None:
        """One run of the server: what the destination is, and who may change it."""
        with TreadleServer(folder, destination) as server:
            if "client id" in server.said:
                client_id, token = server.account()
                tokens.append((client_id, token))
            account = Account(Client(server, *tokens[0]))
            [row] = account.call("GET").json()
            assert row["properties"] == {"path": path or "warehouse.duckdb"}
            changed = account.call("PUT", f"/{row['id']}", {"properties": {"path": "mine.duckdb"}})
            if not held:
                assert changed.json()["properties"] == {"path": "mine.duckdb"}
                return
            for answer in (changed, account.call("DELETE", f"/{row['id']}")):
                assert answer.status_code == 400
                assert answer.json() == (
                    f"destination {row['id']} is set by the server's configuration"
                )

    tokens: list[tuple[int, str]] = []
    check(None, None, held=False)
    check(f"duckdb://{tmp_path}/configured.duckdb", "configured.duckdb", held=True)
    # Without the setting, what it said last stays, and is the account's to change.
    check(None, "configured.duckdb", held=False)
    check(None, "mine.duckdb", held=False)


def test_a8_a_wrong_password_loads_nothing_and_is_told_nowhere(
    tmp_path: Path, postgres_database: str
) -> None:
    """Mails quote what the store keeps, in which the passwords are looked for, too."""
    wrong, right = "wr0ng-secret", str(conninfo_to_dict(postgres_database)["password"])
    settings = LOCAL | {"hook_urls": "any"}
    with receiving() as receiver, TreadleServer(tmp_path / "data", settings=settings) as server:
        client = Client(server, *server.account())
        account = Account(client)
        _, token = client.create_source()
        [default] = account.list_ids()
        account.delete(default)
        id_ = account.make("postgres", name_postgres(postgres_database, password=wrong))
        server.treadle("hook", "create", receiver.url, "--hook-urls", "any")
        push_orders(client, token, 0, 1_000)
        eventually(lambda: f"destination {id_} (postgres)" in account.read_reason())
        with psycopg.connect(postgres_database) as connection:
            assert not connection.execute(
                "SELECT 1 FROM pg_namespace WHERE nspname = 'import_api'"
            ).fetchall()
        answer = account.call("PUT", f"/{id_}", {"properties": {"password": right}})
        assert answer.status_code == 200
        eventually(lambda: server.query(COUNT) == [{"n": 1_000, "d": 1_000}])
        eventually(lambda: bool(receiver.seen))
        account.call("PUT", f"/{id_}", {"properties": {"port": "x", "password": right}})
        account.call("GET", f"/{id_}")
        trail = client.http.get("/v1/trail", headers=client.account).text
        shown = [
            server.treadle("destination", "list", "--json"),
            server.treadle("destination", "show", str(id_)),
            server.treadle("trail"),
        ]
        server.stop()
        kept = b"".join(
            path.read_bytes() for path in (tmp_path / "data").glob("store.sqlite*")
        ).decode("latin-1")
        sent = [str(one.raw) for one in receiver.seen]
        told = "\n".join([*account.answers, trail, *shown, *sent, server.log.read_text(), kept])
        assert "change_destination" in told
        for secret in (wrong, right):
            assert secret not in told


@pytest.mark.parametrize(
    ("settings", "host"),
    [({}, "localhost"), (LOCAL, "169.254.169.254")],
)
def test_an_account_does_not_lead_the_server_to_this_machine_or_a_link(
    tmp_path: Path, settings: dict[str, str], host: str
) -> None:
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        client = Client(server, *server.account())
        account = Account(client)
        [default] = account.list_ids()
        account.delete(default)
        account.make("postgres", name_postgres("postgresql://me:x@h:1/d", host=host))
        _, token = client.create_source()
        push_orders(client, token, 0, 1)
        eventually(
            lambda: "the server does not connect to " in server.log.read_text(), PATIENCE_SECONDS
        )


def test_an_account_sees_nothing_of_another_one_in_the_same_file(tmp_path: Path) -> None:
    """The operator's `treadle query` shows the rows of all; no call of the API shows any."""
    secrets = ("payroll", "s3cret-salary")
    with TreadleServer(tmp_path / "data", settings=LOCAL) as server:
        first = Client(server, *server.account())
        source_id, token = first.create_source("Staff")
        records = [{"id": 1, secrets[1]: 100}]
        assert first.push(token, records, table=secrets[0]).status_code == 201
        made = json.loads(server.treadle("account", "create", "--name", "Second", "--json"))
        second = Client(server, made["stitch_client_id"], made["access_token"])
        other_id, other = second.create_source("Staff")
        assert second.push(other, [{"id": 2}], table="mine").status_code == 201
        rows = "select count(*) as n from {}"
        eventually(lambda: server.query(rows.format("staff.payroll")) == [{"n": 1}])
        eventually(lambda: server.query(rows.format("staff2.mine")) == [{"n": 1}])

        document = second.http.get("/openapi.json").json()
        [default] = [row["id"] for row in Account(second).call("GET").json()]
        told = []
        for path, calls in document["paths"].items():
            if "get" not in calls or "event-stream" in json.dumps(calls["get"]):
                continue
            for number in (source_id, other_id, default):
                real = re.sub(r"\{[^}]*\}", str(number), path)
                told.append(second.http.get(real, headers=second.account).text)
        dry = second.http.post(
            "/v2/import/push?dry_run=1",
            headers={"Authorization": f"Bearer {other}"},
            json=[
                {
                    "client_id": second.client_id,
                    "table_name": "mine",
                    "sequence": 9,
                    "action": "upsert",
                    "key_names": ["id"],
                    "data": {"id": 3},
                }
            ],
        )
        told.append(dry.text)
        assert len(told) > 30
        assert "mine" in "".join(told)
        for secret in secrets:
            assert secret not in "".join(told)
