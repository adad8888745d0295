"""Receipts over a real socket; the test reports loads to the store as the loader does."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import loads
from tests.servers.cases import OK, compare, env, rec
from tests.servers.ingest import CLIENT, OTHER_CLIENT, Answer, ImportServer

from treadle.errors import RetriableError
from treadle.log.protocol import TrimPoint
from treadle.log.sqlite.log import SqliteReader
from treadle.store.model import EntryOutcome, LoadReport, RecordRejection, TableLoadStatus
from treadle.store.tables import TableRepository
from treadle.store.token_rules import TokenRequest


class Site(ImportServer):
    """An import server, and a hand that plays the loader."""

    def push(self, *records: dict[str, Any], **headers: str) -> Answer:
        answer = self.post("/v2/import/push", list(records), headers=headers)
        compare(answer, 201, OK)
        return answer

    def receipt(self, *records: dict[str, Any]) -> str:
        found = self.push(*records).header("treadle-receipt")
        assert found is not None
        return found

    def follow(self, receipt: str, token: str | None = None, query: str = "") -> Answer:
        shown = self.token if token is None else token
        headers = {"Authorization": f"Bearer {shown}"}
        return self.send("GET", f"/v1/receipts/{receipt}{query}", headers=headers)

    def waiting(self) -> dict[str, int]:
        reader = SqliteReader(self.folder / "log.sqlite")
        self.store.use_log(reader.log_id)
        try:
            return {found.table_name: found.last for found in reader.list_backlogs()}
        finally:
            reader.close()

    def load(
        self,
        table: str,
        error: str | None = None,
        outcome: EntryOutcome | None = None,
        details: dict[str, Any] | None = None,
    ) -> LoadReport:
        last = self.waiting()[table]
        load = loads.load(
            self.source_id,
            table,
            last,
            1_578_950_703_000_000,
            id=f"load of {table} to {last}{error or ''}",
            first=1,
            error=error,
            details=details or {},
        )
        if error is None:
            self.store.loads.record_load(load, [] if outcome is None else [outcome])
        else:
            self.store.loads.record_failure(load, stopped=True)
        return load


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.running():
        yield site
    site.store.close()


def test_every_write_has_a_receipt(site: Site) -> None:
    assert site.receipt(rec()).startswith("rc_")
    answer = site.post("/v2/import/batch", env())
    compare(answer, 201, OK)
    assert (answer.header("treadle-receipt") or "").startswith("rc_")
    refused = site.post("/v2/import/push", [rec("action")])
    assert refused.header("treadle-receipt") is None


def test_waiting_then_loaded(site: Site) -> None:
    receipt = site.receipt(rec(), rec(table_name="orders"), rec(table_name="orders"))
    answer = site.follow(receipt)
    compare(answer, 200, lambda body: body["status"] == "waiting")
    body = answer.json()
    assert (body["id"], body["records"], body["tables_not_shown"]) == (receipt, 3, 0)
    customers, orders = body["tables"]
    assert (customers["table_name"], customers["records"], customers["status"]) == (
        "customers",
        1,
        "waiting",
    )
    assert (orders["table_name"], orders["records"], orders["load"]) == ("orders", 2, None)

    load = site.load("orders")
    body = site.follow(receipt).json()
    assert [table["status"] for table in body["tables"]] == ["waiting", "loaded"]
    assert body["status"] == "waiting"
    orders = body["tables"][1]
    assert orders["load"] == {"id": load.id, "finished_at": "2020-01-13T21:25:03.000000Z"}
    assert (orders["loaded"], orders["superseded"], orders["rejected"]) == (2, 0, [])

    site.load("customers")
    assert site.follow(receipt).json()["status"] == "loaded"


def test_superseded_and_rejected_records(site: Site) -> None:
    receipt = site.receipt(*[rec(data={"id": i}) for i in range(5)])
    place = site.waiting()["customers"]
    why = (RecordRejection(3, "number out of range"),)
    site.load("customers", outcome=EntryOutcome(place, site.source_id, "customers", 1, why))
    (table,) = site.follow(receipt).json()["tables"]
    assert (table["records"], table["loaded"], table["superseded"]) == (5, 3, 1)
    assert table["rejected"] == [{"record": 3, "reason": "number out of range"}]


def test_a_request_of_which_everything_is_rejected(site: Site) -> None:
    receipt = site.receipt(rec(data={"id": "A-1"}), rec(data={"id": "A-2"}), rec(table_name="good"))
    place = site.waiting()["customers"]
    why = (RecordRejection(0, "the key differs"), RecordRejection(1, "the key differs"))
    site.load(
        "customers",
        outcome=EntryOutcome(place, site.source_id, "customers", 0, why),
        details={"trouble": "the key id is text in record 1.0"},
    )
    site.load("good")
    body = site.follow(receipt).json()
    assert body["status"] == "loaded"  # one of three records is a row
    customers, good = body["tables"]
    assert (customers["status"], customers["loaded"]) == ("rejected", 0)
    assert customers["trouble"] == "the key id is text in record 1.0"
    assert (good["status"], good["trouble"]) == ("loaded", None)

    receipt = site.receipt(rec(data={"id": "A-3"}))
    place = site.waiting()["customers"]
    site.load("customers", outcome=EntryOutcome(place, site.source_id, "customers", 0, why[:1]))
    assert site.follow(receipt).json()["status"] == "rejected"


def test_a_receipt_tells_of_fields_left_out_and_rounded(site: Site) -> None:
    receipts = [site.receipt(rec(data={"id": n})) for n in range(2)]
    last = site.waiting()["customers"]
    why = "Column name long is too long for PostgreSQL"
    note = {"table": "customers", "field": "long", "reason": why, "total": 2}
    details = {
        "left_out": [{**note, "runs": [[last, last, 2]]}],
        "rounded": [{**note, "reason": "", "runs": None}],
    }
    site.load("customers", details=details)
    (first,), (second,) = (site.follow(each).json()["tables"] for each in receipts)
    assert (first["status"], first["left_out"], first["rejected"]) == ("loaded", [], [])
    assert second["left_out"] == [
        {"table": "customers", "field": "long", "reason": why, "records": 2}
    ]
    assert second["rounded"] == [{"table": "customers", "field": "long", "values": None}]


def test_a_stopped_table_says_why_and_is_not_waited_for(site: Site) -> None:
    receipt = site.receipt(rec())
    site.load("customers", error="the column has another type")
    began = time.monotonic()
    body = site.follow(receipt, query="?wait=60").json()
    assert time.monotonic() - began < 60
    assert body["status"] == "stopped"
    assert body["tables"][0]["error"] == "the column has another type"


def test_wait_ends_with_the_load(site: Site) -> None:
    receipt = site.receipt(rec())
    timer = threading.Timer(0.5, site.load, ["customers"])
    timer.start()
    began = time.monotonic()
    body = site.follow(receipt, query="?wait=60").json()
    assert 0.4 < time.monotonic() - began < 60
    timer.join()
    assert body["status"] == "loaded"


def test_wait_ends_with_its_time(site: Site) -> None:
    receipt = site.receipt(rec())
    began = time.monotonic()
    assert site.follow(receipt, query="?wait=0.3").json()["status"] == "waiting"
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("wait", ["soon", "-1", "nan"])
def test_a_wait_that_is_none(site: Site, wait: str) -> None:
    answer = site.follow(site.receipt(rec()), query=f"?wait={wait}")
    compare(answer, 400, {"message": "wait is a number of seconds from 0 to 60"})


def test_who_may_follow(site: Site) -> None:
    receipt = site.receipt(rec())
    asked = TokenRequest("account")
    ours = site.store.tokens.issue_token(asked, account_id=CLIENT).secret
    theirs = site.store.tokens.issue_token(asked, account_id=OTHER_CLIENT).secret
    assert ours is not None
    assert theirs is not None
    _, sibling = site.make_source("sibling")
    compare(site.follow(receipt, ours), 200, lambda body: body["id"] == receipt)
    for token in (theirs, site.other_token, sibling):
        compare(site.follow(receipt, token), 404, {"message": "Not Found"})
    for token in (site.revoked_token, "nobody's"):
        compare(site.follow(receipt, token), 401, {"message": "Not Authorized"})
    compare(site.send("GET", f"/v1/receipts/{receipt}"), 401, {"message": "Not Authorized"})
    compare(site.follow("rc_AAAA"), 404, {"message": "Not Found"})
    compare(site.follow("rc_AAAA", ours), 404, {"message": "Not Found"})


def test_a_receipt_of_entries_that_were_trimmed(site: Site) -> None:
    receipt = site.receipt(rec())
    place = site.waiting()["customers"]
    site.load("customers")
    reader = SqliteReader(site.folder / "log.sqlite")
    reader.mark_loaded(site.source_id, "customers", place)
    reader.trim([TrimPoint(site.source_id, "customers", place)])
    reader.close()
    compare(site.follow(receipt), 410, lambda body: "loaded" in body["message"])


def test_prefer_loaded_waits_for_the_load(site: Site) -> None:
    site.push(rec())
    timer = threading.Timer(0.6, site.load, ["customers"])
    timer.start()
    began = time.monotonic()
    answer = site.push(rec(), Prefer="wait=60, ack=loaded")
    assert 0.4 < time.monotonic() - began < 60
    timer.join()
    assert answer.header("preference-applied") == "ack=loaded"


def test_prefer_loaded_in_vain_is_accepted_all_the_same(site: Site) -> None:
    answer = site.push(rec(), Prefer="wait=0.3, ack=loaded")
    assert answer.header("preference-applied") is None
    assert answer.header("treadle-receipt") is not None


@pytest.mark.parametrize("error", [RetriableError("the store is locked"), ValueError("a defect")])
def test_what_is_durable_is_accepted_where_its_load_cannot_be_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_: TableRepository, source_id: int) -> list[TableLoadStatus]:
        raise error

    monkeypatch.setattr(TableRepository, "list_statuses", fail)
    answer = site.push(rec(), Prefer="wait=60, ack=loaded")
    assert answer.header("preference-applied") is None
    assert answer.header("treadle-receipt") is not None
    assert site.accepted() == 1


def test_a_store_that_does_not_answer_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def hang(_: TableRepository, source_id: int) -> list[TableLoadStatus]:
        assert answered.wait(60)
        return []

    monkeypatch.setattr(TableRepository, "list_statuses", hang)
    try:
        answer = site.push(rec(), Prefer="wait=0.1, ack=loaded")
        assert not answered.is_set()
    finally:
        answered.set()
    assert answer.header("preference-applied") is None
