"""Two logs in one data folder: positions of the two are equal, and nothing mixes them up."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.config import Config
from treadle.log.registry import name_log_file, open_file
from treadle.server.factories import open_store

BAD = 10**30
SETTINGS = {"load_age_seconds": "0.1"}


def add_log(data: Path) -> int:
    """Add a log to the folder of a server that does not run; return its number."""
    config = Config(data=data)
    with closing(open_store(config)) as store:
        number = len(store.logs.list_logs())
        with closing(open_file(config, number)) as reader:
            added = store.logs.add_log(reader.log_id, "sqlite")
    assert added.number == number
    assert name_log_file(config, number).exists()
    return number


class Twins:
    """Two sources of one account, each on a log of its own, that push the same records."""

    def __init__(self, server: TreadleServer) -> None:
        self.server = server
        self.client = Client(server, *server.account())
        self.tokens = [self.client.create_source("First")[1]]
        server.stop()
        assert add_log(server.data) == 1
        server.start()
        self.tokens.append(self.client.create_source("Second")[1])
        self.schemas = ["first", "second"]

    def run(self, *words: str) -> str:
        """Run a command in this process, which is much faster than in another one."""
        code, out, err = self.server._look(*words)
        assert code == 0, err
        return out

    def push(self, records: Sequence[dict[str, Any]], **headers: str) -> list[str]:
        """Push the same records by both; return their receipts."""
        receipts = []
        for token in self.tokens:
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
                "/v2/import/push",
                json=body,
                headers={"Authorization": f"Bearer {token}"} | headers,
            )
            assert answer.status_code == 201, answer.text
            receipts.append(answer.headers["treadle-receipt"])
        return receipts

    def settle(self, receipts: Sequence[str]) -> list[dict[str, Any]]:
        """The answers about receipts once all of it is loaded."""
        found = []
        for token, receipt in zip(self.tokens, receipts, strict=True):
            path, own = f"/v1/receipts/{receipt}", {"Authorization": f"Bearer {token}"}
            answer = self.client.http.get(path, params={"wait": 60}, headers=own).json()
            assert answer.get("status") in ("loaded", "rejected"), answer
            found.append(answer)
        return found

    def rows(self, columns: str = "id, n") -> list[list[dict[str, Any]]]:
        return [
            self.server.query(f"SELECT {columns} FROM {schema}.orders ORDER BY id")
            for schema in self.schemas
        ]

    def get(self, path: str, **parameters: object) -> Any:
        answer = self.client.http.get(path, params=parameters, headers=self.client.account)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return answer.json()

    def list_rejects(self, *flags: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("rejects", "list", "--json", *flags))
        return found


@pytest.mark.file_store
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.release)])
def test_sources_on_two_logs_are_served_as_those_on_one(tmp_path: Path, *, whole: bool) -> None:
    with TreadleServer(tmp_path / "data", settings=SETTINGS) as server:
        twins = Twins(server)
        check_pushes(twins)
        check_rejects(twins)
        check_lists(twins)
        if whole:
            check_commands(twins)
            check_backup(twins, tmp_path)


def check_pushes(twins: Twins) -> None:
    """Pushes, idempotency keys, receipts and loads, over a kill."""
    receipts = twins.push([{"id": 1, "n": 1}])
    told = twins.settle(receipts)
    assert [one["status"] for one in told] == ["loaded", "loaded"]
    assert told[0]["tables"] != told[1]["tables"]  # the loads are two
    once = twins.push([{"id": 2, "n": 2}], **{"Idempotency-Key": "once"})
    twins.server.kill()
    twins.server.start()
    assert twins.push([{"id": 2, "n": 2}], **{"Idempotency-Key": "once"}) == once
    twins.settle(once)
    assert twins.rows() == [[{"id": 1, "n": 1}, {"id": 2, "n": 2}]] * 2
    for token, other in zip(twins.tokens, reversed(receipts), strict=True):
        own = {"Authorization": f"Bearer {token}"}
        assert twins.client.http.get(f"/v1/receipts/{other}", headers=own).status_code == 404
    stats = json.loads(twins.run("log", "stats", "--json"))
    assert stats == []
    for log in (0, 1):
        with closing(open_file(Config(data=twins.server.data), log)) as reader:
            assert [one.position for one in reader.find_entries(1, 9)] == [1, 2]


def check_rejects(twins: Twins) -> None:
    """Rejected records: their names, pages, and a resend by the desk and by a command."""
    receipts = twins.push([{"id": 3, "n": BAD}, {"id": 4, "n": BAD}])
    told = twins.settle(receipts)
    assert [len(one["tables"][0]["rejected"]) for one in told] == [2, 2]
    names = ["1-3.1", "1-3.0", "3.1", "3.0"]
    assert [one["id"] for one in twins.list_rejects()] == names
    paged: list[str] = []
    place: dict[str, object] = {}
    while True:
        page = twins.get("/v1/rejects", limit=1, **place)
        paged += [one["reject_id"] for one in page["rejects"]]
        if page["next"] is None:
            break
        place = {"before": page["next"]}
    assert paged == names
    assert [one["kept"] for one in twins.get("/v1/rejects")["rejects"]] == [True] * 4
    causes = twins.get("/v1/rejects/causes")["causes"]
    assert sorted(one["example"]["reject_id"] for one in causes) == ["1-3.1", "3.1"]
    for name in names:
        shown = twins.get(f"/v1/rejects/{name}")
        assert json.loads(shown["record"]) == {"id": 3 + int(name[-1]), "n": BAD}
    sent = json.loads(twins.run("rejects", "resend", "1-3.0", "3.0", "--set", "n=3", "--json"))
    twins.settle([one["receipt"] for one in sent])
    body = {"filter": {"table": "orders"}, "edit": {"set": {"n": 4}}, "expected": 2}
    made = twins.client.http.post(
        "/v1/rejects/resend", json=body, headers=twins.client.account
    ).json()

    def state() -> str:
        found: str = twins.get(f"/v1/operations/{made['operation_id']}")["state"]
        return found

    eventually(lambda: state() == "done")
    eventually(lambda: [len(one) for one in twins.rows()] == [4, 4])
    assert twins.rows("n") == [[{"n": n} for n in (1, 2, 3, 4)]] * 2
    assert twins.list_rejects("--open") == []
    told = twins.settle(receipts)
    resent = [[one["resent"] for one in each["tables"][0]["rejected"]] for each in told]
    assert resent == [
        [one["resent"] for one in twins.list_rejects("--source", name)[::-1]]
        for name in twins.schemas
    ]


def check_lists(twins: Twins) -> None:
    """The latest requests, the ledger and the metrics have both logs in them."""
    found = [one for one in twins.get("/v1/requests")["requests"] if one["receipt"]]
    assert len(found) == 2 * 5
    sources = {one["source_id"] for one in found}
    assert len(sources) == 2
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)
    for one in found:
        detail = twins.get(f"/v1/requests/{one['receipt']}/records")
        assert len(detail["records"]) == one["records"]
    listed = json.loads(twins.run("requests", "--json"))
    assert sorted(one["receipt"] for one in listed if one["receipt"]) == sorted(
        one["receipt"] for one in found
    )
    ledger = json.loads(twins.run("ledger", "--json"))
    of_source = {one["source"]: one for one in ledger}
    for line in of_source.values():
        assert (line["accepted"], line["loaded"], line["rejected"]) == (6, 4, 2)
        assert line["waiting"] == 0
    assert set(of_source) == set(twins.schemas)


def check_commands(twins: Twins) -> None:
    """`doctor`, `audit`, `replay` and `log` look at both logs."""
    found = json.loads(twins.server._look("doctor", "--json")[1])  # the disk of a test may be bad
    about = [one for one in found["findings"] if one["subject"].startswith("log")]
    sound = [one["subject"] for one in about if one["found"].endswith("are sound: 5.")]
    assert sound == ["log", "log 1"]
    assert {one["level"] for one in about} == {"good"}
    assert twins.run("log", "verify").startswith("10 entries are sound")
    lines = [json.loads(line) for line in twins.run("log", "cat").splitlines()]
    assert [(one.get("log"), one["position"]) for one in lines] == [
        *((None, n) for n in range(1, 6)),
        *((1, n) for n in range(1, 6)),
    ]
    twins.run("audit")
    for schema in twins.schemas:
        built = json.loads(
            twins.run("replay", "--source", schema, "--table", "orders", "--dry-run", "--json")
        )
        assert built


def check_backup(twins: Twins, folder: Path) -> None:
    """A backup has both logs of one moment, and what waits in them is loaded after a restore."""
    server = twins.server
    server.treadle("backup", str(folder / "backup"), "--with-warehouse", "--with-key")
    manifest = json.loads((folder / "backup" / "backup.json").read_text())
    assert [one["number"] for one in manifest["other_logs"]] == [1]
    server.stop()
    restored = TreadleServer(folder / "new", settings=SETTINGS)
    restored.treadle("restore", str(folder / "backup"))
    with restored:
        again = Twins.__new__(Twins)
        again.server, again.tokens, again.schemas = restored, twins.tokens, twins.schemas
        token = twins.client.account["Authorization"].split()[1]
        again.client = Client(restored, twins.client.client_id, token)
        assert again.rows("n") == [[{"n": n} for n in (1, 2, 3, 4)]] * 2
        again.settle(again.push([{"id": 5, "n": 5}]))
        assert again.rows("n") == [[{"n": n} for n in (1, 2, 3, 4, 5)]] * 2
