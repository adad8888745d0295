"""`treadle rejects` beside a running server: what was rejected is found, mended and loaded."""

import html
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.test_console import sign_in
from tests.kinds import DUCKDB_DAILY, POSTGRES_DAILY
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.log.protocol import TrimPoint
from treadle.log.sqlite.log import SqliteReader

BAD = 10**30


def settled(client: Client, receipt: str, token: str) -> dict[str, Any]:
    """The answer about a receipt once all of it is loaded."""
    answer: dict[str, Any] = client.http.get(
        f"/v1/receipts/{receipt}",
        params={"wait": 60},
        headers={"Authorization": f"Bearer {token}"},
    ).json()
    assert answer.get("status") in ("loaded", "rejected"), answer
    return answer


@POSTGRES_DAILY
def test_rejected_records_are_repaired(
    server: TreadleServer, client: Client, tmp_path: Path
) -> None:
    _, token = client.create_source()
    orders: list[dict[str, Any]] = [{"id": 1, "n": 1}, {"id": 2, "n": BAD}, {"id": 3, "v__st": "x"}]
    pushed = client.push(token, orders, table="orders").headers["treadle-receipt"]
    events = client.push(token, [{"n": BAD}], table="events", keys=[]).headers["treadle-receipt"]
    settled(client, events, token)
    settled(client, pushed, token)

    def listed(*flags: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            server.treadle("rejects", "list", "--json", *flags)
        )
        return found

    found = listed()
    assert [each["table"] for each in found] == ["events", "orders", "orders"]
    suffix, range_ = (each["id"] for each in found[1:])
    assert [each["id"] for each in listed("--table", "orders", "--reason", "OUT OF")] == [range_]
    shown = json.loads(server.treadle("rejects", "show", suffix, "--json"))
    assert (shown["record"], shown["sequence"], shown["key_names"]) == (orders[2], 3, ["id"])
    assert shown["reason"].endswith("reserved datatype suffix on v__st")
    assert f'record: {{"id":2,"n":{BAD}}}' in server.treadle("rejects", "show", range_)

    # One by its id, edited.
    [sent] = json.loads(
        server.treadle("rejects", "resend", suffix, "--unset", "v__st", "--set", 'v="x"', "--json")
    )
    assert (sent["id"], sent["status"]) == (suffix, "resent")
    settled(client, sent["receipt"], token)
    # All the others by their reason, with the same edit.
    done = server.treadle("rejects", "resend", "--reason", "out of range", "--set", "n=2")
    assert done.count(" resent: rc_") == 2
    for line in done.splitlines():
        settled(client, line.split()[-1], token)

    rows = server.query("SELECT id, n, v, _sdc_sequence AS s FROM import_api.orders ORDER BY id")
    assert rows == [
        {"id": 1, "n": 1, "v": None, "s": 1},
        {"id": 2, "n": 2, "v": None, "s": 2},
        {"id": 3, "n": None, "v": "x", "s": 3},
    ]
    assert server.query("SELECT n FROM import_api.events") == [{"n": 2}]
    [table] = settled(client, pushed, token)["tables"]
    assert [each["resent"] for each in table["rejected"]][1] == sent["receipt"]
    assert listed("--open") == []

    # A second time nothing is added, whatever the edit.
    again = server.treadle("rejects", "resend", "--all", "--set", "n=3")
    assert again.count(" resent before: rc_") == 3
    ledger = json.loads(server.treadle("ledger", "--json"))
    assert sum(line["accepted"] for line in ledger) == 7
    assert sum(line["loaded"] for line in ledger) == 4
    assert sum(line["rejected"] for line in ledger) == 3

    # Without a server it waits in the log.
    client.push(token, [{"id": 9, "n": BAD}], table="orders")
    eventually(lambda: len(listed("--open")) == 1)
    server.stop()
    record = tmp_path / "record.json"
    record.write_text('{"id": 9, "n": 9}')
    assert "resent: rc_" in server.treadle(
        "rejects", "resend", listed("--open")[0]["id"], "--record", str(record)
    )
    server.start()
    eventually(
        lambda: server.query("SELECT n FROM import_api.orders WHERE id = 9") == [{"n": 9}], 60
    )


@DUCKDB_DAILY
def test_a_resend_goes_on_after_a_kill(server: TreadleServer, client: Client) -> None:
    """kill -9 of all processes in the middle: nothing is lost, nothing is doubled."""
    _, token = client.create_source()
    for _ in range(3):
        receipt = client.push(token, [{"n": BAD}] * 200, table="events", keys=[]).headers[
            "treadle-receipt"
        ]
    settled(client, receipt, token)
    body = {"filter": {"table": "events"}, "edit": {"set": {"n": 1}}, "expected": 600}
    headers = client.account
    made = client.http.post("/v1/rejects/resend", json=body, headers=headers).json()
    server.kill()
    server.start()

    def operation() -> dict[str, Any]:
        path = f"/v1/operations/{made['operation_id']}"
        found: dict[str, Any] = client.http.get(path, headers=headers).json()
        return found

    eventually(lambda: operation()["state"] == "done")
    assert (operation()["done"], operation()["failed"]) == (600, 0)
    count = "SELECT count(*) AS n, sum(n) AS s FROM import_api.events"
    eventually(lambda: server.query(count) == [{"n": 600, "s": 600}])
    [cause] = json.loads(server.treadle("rejects", "causes", "--json"))
    assert (cause["records"], cause["open"]) == (600, 0)


@pytest.mark.file_log
def test_the_text_of_a_forgotten_record_is_read_by_the_page(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data") as server:
        client = Client(server, *server.account())
        source_id, token = client.create_source()
        record = {"id": 1, "n": BAD, "note": "kept"}
        assert client.push(token, [record], table="orders").status_code == 201
        eventually(lambda: "integer_out_of_range" in server.treadle("rejects", "list"))
        [reject] = json.loads(server.treadle("rejects", "list", "--json"))
        with closing(SqliteReader(server.data / "log.sqlite")) as reader:  # as in some days
            position = int(reject["id"].split(".")[0])
            assert reader.trim([TrimPoint(source_id, "orders", position)]) == 1
        page = f"/console/rejects/records/{reject['id']}"
        with sign_in(server) as browser:
            gone = browser.get(page)
            assert gone.status_code == 410
            told = gone.text
            assert "The record is no longer kept" in told
            assert '"note"' not in html.unescape(told)
            read = browser.get(f"{page}?text=1")
            assert read.status_code == 410
            assert '"note":"kept"' in html.unescape(read.text).replace(" ", "")
