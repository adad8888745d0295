"""A table that was changed by hand is built again by the server, asked over HTTP and by a page."""

import os
import re
from typing import Any

import httpx
import pytest
from tests.acceptance.test_by_hand import by_hand
from tests.acceptance.test_console import sign_in
from tests.kinds import POSTGRES_DAILY
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.data_lock import take_lock


def follow(client: Client, operation_id: int) -> dict[str, Any]:
    """An operation, once it has ended."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        path = f"/v1/operations/{operation_id}"
        found.update(client.http.get(path, headers=client.account).json())
        return found["state"] not in ("waiting", "running")

    eventually(has_ended)
    return found


@POSTGRES_DAILY
def test_a_table_is_compared_and_swapped(server: TreadleServer, client: Client) -> None:
    source_id, token = client.create_source()
    records = [{"id": number, "n": number} for number in range(100)]
    assert client.push(token, records, table="orders").status_code == 201
    count = "SELECT count(*) AS c, sum(n) AS s FROM import_api.orders"
    eventually(lambda: server.query(count) == [{"c": 100, "s": 4950}])
    by_hand(
        server,
        "DELETE FROM import_api.orders WHERE id < 3",
        "UPDATE import_api.orders SET n = 0 WHERE id = 50",
    )
    path = f"/v1/sources/{source_id}/tables/orders/replay"

    def ask(query: str) -> httpx.Response:
        return client.http.post(f"{path}{query}", headers=client.account)

    assert ask("?dry_run=maybe").status_code == 400
    gone = client.http.post(path.replace("orders", "none"), headers=client.account)
    assert gone.status_code == 404
    begun = ask("?dry_run=true").json()
    assert (begun["kind"], begun["state"], begun["total"]) == ("rebuild", "waiting", 100)
    compared = follow(client, begun["operation_id"])
    assert (compared["state"], compared["done"], compared["note"]) == ("done", 100, None)
    result = compared["result"]
    assert result["tables"] == [
        {"table": "orders", "only_there": 0, "only_in_the_log": 3, "different": 1}
    ]
    assert (result["differs"], result["doubts"], result["swapped"]) == (True, [], False)
    assert server.query(count) == [{"c": 97, "s": 4950 - 3 - 50}]

    assert ask("?into=elsewhere").status_code == 400
    assert ask("?from=2026-03-02&to=2026-03-01").status_code == 400
    assert ask("?into=import_api__before&force=true").status_code == 400
    kept = ask("?into=import_api__before&from=2020-01-01T00:00:00Z")
    kept_result = follow(client, kept.json()["operation_id"])["result"]
    assert (kept_result["built_in"], kept_result["swapped"]) == ("import_api__before", False)
    assert "only a part of the log was taken" in kept_result["doubts"][0]
    assert server.query(count.replace("import_api", "import_api__before")) == [
        {"c": 100, "s": 4950}
    ]
    nothing = ask("?dry_run=true&to=2020-01-01T00:00:00Z").json()
    assert follow(client, nothing["operation_id"])["result"]["tables"][0]["only_there"] == 97

    with sign_in(server) as browser:
        page = f"/console/operations/{begun['operation_id']}"
        told = browser.get(page).text
        assert "the table differs" in told
        token_field = re.search(r'name="csrf" value="(\w+)"', told)
        assert token_field is not None
        form = {"csrf": token_field[1], "action": "swap"}
        rebuild = f"/console/sources/{source_id}/tables/orders/rebuild"
        headers = {"Sec-Fetch-Site": "same-origin"}
        sent = browser.post(rebuild, data=form, headers=headers)
        assert sent.status_code == 303
        swapped = follow(client, int(sent.headers["location"].rpartition("/")[2]))
        assert swapped["result"]["swapped"] is True, swapped
        assert "the table now holds the rebuilt rows" in browser.get(rebuild).text
    assert server.query(count) == [{"c": 100, "s": 4950}]
    trail = server.treadle("trail", "--json")
    assert trail.count('"replay_table"') == 12  # four refused; begun and done, four times


@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_a_rebuild_beside_a_command_says_so(server: TreadleServer, client: Client) -> None:
    source_id, token = client.create_source()
    assert client.push(token, [{"id": 1}], table="t").status_code == 201
    eventually(lambda: server.query("SELECT id FROM import_api.t") == [{"id": 1}])
    path = f"/v1/sources/{source_id}/tables/t/replay?dry_run=true"
    descriptor = take_lock(server.data / "replay.lock", 0.0, taken="taken")
    try:
        begun = client.http.post(path, headers=client.account).json()
        failed = follow(client, begun["operation_id"])
    finally:
        os.close(descriptor)
    assert failed["state"] == "failed"
    assert "Another replay is at work" in failed["note"]
    again = follow(client, client.http.post(path, headers=client.account).json()["operation_id"])
    assert (again["state"], again["result"]["differs"]) == ("done", False)
