"""Whatever is killed during a push: every record that was answered 201 is in the table once."""

import json
import os
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.kinds import DUCKDB_DAILY, POSTGRES_DAILY
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

RECORDS = 100_000
BATCH = 500
VICTIMS = ["loader", "worker 1", "everything"] * 2
LEG = RECORDS // (len(VICTIMS) + 1)
"""Records between two killings."""


class Pusher(threading.Thread):
    """Pushes batches of new ids and repeats what was not answered, as real clients do.

    It never runs ahead of `may`, so that what is killed is killed during the push.
    """

    def __init__(self, client: Client, token: str, count: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[int] = []
        self.may = 0
        self.repeats = 0
        self._client_id = client.client_id
        self._url = client.server.url
        self._token = token
        self._count = count
        self.failure: str | None = None

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as http:
            for first in range(0, self._count, BATCH):
                while first >= self.may:
                    time.sleep(0.01)
                ids = list(range(first, min(first + BATCH, self._count)))
                while not self._sent(http, ids):
                    self.repeats += 1
                    time.sleep(0.1)
                self.acknowledged += ids

    def has(self, count: int) -> bool:
        """Whether so many are acknowledged."""
        return len(self.acknowledged) >= count or not self.is_alive()

    def _sent(self, http: httpx.Client, ids: list[int]) -> bool:
        body = [
            {
                "client_id": self._client_id,
                "table_name": "orders",
                "sequence": number,
                "action": "upsert",
                "key_names": ["id"],
                "data": {"id": number, "name": f"order {number}", "total": number / 4},
            }
            for number in ids
        ]
        try:
            answer = http.post(
                "/v2/import/push", json=body, headers={"Authorization": f"Bearer {self._token}"}
            )
        except httpx.TransportError:
            return False
        if answer.status_code != 201:
            self.failure = answer.text
        return answer.status_code == 201


@POSTGRES_DAILY
def test_every_acknowledged_record_is_in_the_table_once(
    server: TreadleServer, client: Client
) -> None:
    _, token = client.create_source()
    pusher = Pusher(client, token, RECORDS)
    pusher.start()
    dice = random.Random(7)
    for number, victim in enumerate(VICTIMS, 1):
        pusher.may = number * LEG + LEG // 2
        eventually(partial(pusher.has, number * LEG - dice.randrange(LEG // 2)))
        assert pusher.is_alive()
        if victim == "everything":
            server.kill()
            server.start()
        else:
            os.kill(server.processes()[victim], signal.SIGKILL)
    pusher.may = RECORDS
    pusher.join(3 * PATIENCE_SECONDS)
    assert not pusher.is_alive()
    assert pusher.failure is None
    assert len(pusher.acknowledged) == RECORDS

    def all_there() -> bool:
        [row] = server.query("select count(*) as n from import_api.orders")
        return bool(row["n"] >= RECORDS)

    eventually(all_there)
    [row] = server.query(
        "select count(*) as n, count(distinct id) as ids, sum(id) as total, "
        "count(*) filter (where name = 'order ' || id and total = id / 4.0) as sound "
        "from import_api.orders"
    )
    expected = {"n": RECORDS, "ids": RECORDS, "sound": RECORDS}
    assert {name: row[name] for name in expected} == expected
    assert int(row["total"]) == RECORDS * (RECORDS - 1) // 2
    assert server.query("select count(*) as n from import_api._sdc_rejected") == [{"n": 0}]


@DUCKDB_DAILY
def test_repeating_a_push_from_the_command_line_changes_no_row_count(
    server: TreadleServer, client: Client, tmp_path: Path
) -> None:
    client.create_source()
    file = tmp_path / "orders.ndjson"
    with file.open("w") as out:
        for number in range(RECORDS):
            out.write(json.dumps({"id": number, "name": f"order {number}"}) + "\n")

    def rows() -> int:
        [row] = server.query(
            "select count(*) as n, count(distinct id) as ids from import_api.orders"
        )
        assert row["n"] == row["ids"]
        return int(row["n"])

    said = server.treadle("push", str(file), "--table", "orders", "--key", "id")
    assert len(said.splitlines()) == 1, said
    assert "100,000" in said or "100000" in said
    eventually(lambda: rows() == RECORDS)
    [before] = server.query("select max(_sdc_sequence) as last from import_api.orders")
    server.treadle("push", str(file), "--table", "orders", "--key", "id")

    def replaced() -> bool:
        newer = f"_sdc_sequence > {before['last']}"
        found = server.query(f"select count(*) as n from import_api.orders where {newer}")
        return found == [{"n": RECORDS}]

    eventually(replaced)
    assert rows() == RECORDS


@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_stopping_finishes_what_was_accepted(server: TreadleServer, client: Client) -> None:
    _, token = client.create_source()
    answer = client.push(token, [{"id": number} for number in range(1000)], table="late")
    assert answer.status_code == 201
    assert server.stop() == 0
    server.start()
    eventually(lambda: server.query("select count(*) as n from import_api.late") == [{"n": 1000}])
