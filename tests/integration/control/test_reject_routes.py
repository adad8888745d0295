"""`/v1/rejects` over a real log, store and loader: causes, lists, one record."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.integration.control.api import describe
from tests.servers.cases import rec
from tests.servers.ingest import CLIENT
from tests.servers.loading import Warehouse
from tests.work_turns import ALONE

from treadle.clock import read_clock
from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.desk.resend_desk import ResendDesk
from treadle.errors import RetriableError
from treadle.ingest.dry_run import DryRunPlanner, open_anywhere
from treadle.log.protocol import AppendResult, AppendWaiter, IdempotencyKey, LogAppender, NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.rejects import ResentRecord
from treadle.store.token_rules import TokenRequest
from treadle.tables.rejection_reason import RejectionCode

BAD = 10**30


def make_resends(house: Warehouse) -> ResendDesk:
    """A desk that sends again, as a process of its own would."""
    path = house.folder / "log.sqlite"
    return ResendDesk(
        house.store,
        lambda: SqliteAppender(path),
        lambda: SqliteReader(path),
        "here",
        read_clock,
        retry_seconds=(0.0,),
    )


class Desk:
    """A warehouse with rejected records, and the API of its operator."""

    def __init__(self, house: Warehouse) -> None:
        self.house = house
        self.app = create_control_app(
            house.store,
            ConnectApiSettings(),
            changed=lambda: None,
            open_reader=lambda: SqliteReader(house.folder / "log.sqlite"),
            plan_dry_run=DryRunPlanner(house.store, read_clock, open_anywhere, ALONE).plan,
        )
        self.resends = make_resends(house)
        self.document = describe(self.app, ConnectApiSettings())
        self.http = TestClient(self.app)
        made = house.store.tokens.issue_token(TokenRequest("account"), account_id=CLIENT)
        self.token = made.secret

    def call(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        answer = self.http.request(method, path, json=body, headers=headers)
        self.document.check(method, answer.request.url.path, answer.status_code, answer.json())
        return answer

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def push(self, *records: dict[str, Any]) -> None:
        assert self.house.post("/v2/import/push", list(records)).status == 201
        self.house.load()


@contextmanager
def serving(folder: Path) -> Iterator[Desk]:
    house = Warehouse(folder)
    with house.running():
        yield make_desk(house)
    house.loader.close()
    house.store.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with serving(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One for all tests that change nothing."""
    with serving(tmp_path_factory.mktemp("asked")) as made:
        yield made


def make_desk(house: Warehouse) -> Desk:
    desk = Desk(house)
    desk.push(
        rec(data={"id": 1, "n": 1}),
        rec(sequence=5, data={"id": 2, "n": BAD, "s": "x"}),
        rec(data={"id": 3, "n": BAD}),
        rec(data={"id": 4, "items": [{"p": BAD}]}),
        rec(table_name="events", key_names=[], data={"v__st": 1}),
    )
    return desk


def test_the_destination_has_code_and_field_at_the_end(asked: Desk) -> None:
    assert asked.house.rows("table_name, code, field", "_sdc_rejected") == [
        ("customers", "integer_out_of_range", "items__p"),
        ("customers", "integer_out_of_range", "n"),
        ("customers", "integer_out_of_range", "n"),
        ("events", "reserved_suffix", "v__st"),
    ]


def test_causes(asked: Desk) -> None:
    found = asked.get("/v1/rejects/causes")
    assert found["next"] is None
    told = [(c["table"], c["code"], c["field"], c["records"], c["open"]) for c in found["causes"]]
    assert sorted(told) == [
        ("customers", "integer_out_of_range", "items__p", 1, 1),
        ("customers", "integer_out_of_range", "n", 2, 2),
        ("events", "reserved_suffix", "v__st", 1, 1),
    ]
    [events] = asked.get("/v1/rejects/causes?table=events")["causes"]
    assert events["source_id"] == asked.house.source_id
    assert events["example"]["reason"].endswith("datatype suffix on v__st")
    assert events["first_at"] == events["newest_at"] is not None
    first = asked.get("/v1/rejects/causes?limit=2")
    rest = asked.get(f"/v1/rejects/causes?limit=2&before={first['next']}")
    assert [c["cause_id"] for c in first["causes"] + rest["causes"]] == [
        c["cause_id"] for c in found["causes"]
    ]


def test_a_list_shows_what_was_sent(asked: Desk) -> None:
    found = asked.get("/v1/rejects?code=integer_out_of_range&field=n")["rejects"]
    assert [one["key"] for one in found] == [{"id": 3}, {"id": 2}]
    assert (found[1]["sequence"], found[1]["kept"], found[1]["resent"]) == (5, True, None)
    assert found[1]["reason"].startswith("integer out of range for DuckDB on 1000")
    assert found[1]["accepted_at"] is not None
    [cause] = asked.get("/v1/rejects/causes?field=items__p")["causes"]
    [one] = asked.get(f"/v1/rejects?cause={cause['cause_id']}")["rejects"]
    assert one["reject_id"] == cause["example"]["reject_id"]
    page = asked.get("/v1/rejects?limit=3")
    rest = asked.get(f"/v1/rejects?limit=3&before={page['next']}")
    assert (len(page["rejects"]), len(rest["rejects"]), rest["next"]) == (3, 1, None)


def test_one_record_whole(asked: Desk) -> None:
    name = asked.get("/v1/rejects?field=n")["rejects"][1]["reject_id"]
    found = asked.get(f"/v1/rejects/{name}")
    assert found["record"] == f'{{"id": 2, "n": {BAD}, "s": "x"}}'
    assert (found["key_names"], found["table_version"]) == (["id"], 0)


def test_what_was_sent_again(desk: Desk) -> None:
    name = desk.get("/v1/rejects?table=events")["rejects"][0]["reject_id"]
    position, index = map(int, name.split("."))
    desk.house.store.rejects.record_resent([ResentRecord(position, index, 40)])
    assert desk.get(f"/v1/rejects/{name}")["resent"].startswith("rc_")
    assert desk.get("/v1/rejects?table=events&open=1")["rejects"] == []
    assert desk.get("/v1/rejects/causes?table=events")["causes"][0]["open"] == 0
    assert desk.get("/v1/rejects/causes?table=events&open=1")["causes"] == []


def test_a_record_that_the_log_has_forgotten(desk: Desk) -> None:
    report = next(iter(desk.house.store.loads.list_loads(limit=1)))
    gone = EntryOutcome(
        900,
        report.source_id,
        "old",
        0,
        (RecordRejection(0, "NUL character in text", RejectionCode.NUL_CHARACTER, "a"),),
    )
    older = replace(report, id="older", table_name="old", first=900, last=900, columns=None)
    desk.house.store.loads.record_load(older, [gone])
    answer = desk.call("GET", "/v1/rejects/900.0")
    assert answer.status_code == 410
    said = answer.json()
    assert said["error"] == "RecordGone"
    assert "is in _sdc_rejected: push it again" in said["data"]["message"]
    assert said["data"]["reject"]["reason"] == "NUL character in text"
    [listed] = desk.get("/v1/rejects?table=old")["rejects"]
    assert (listed["kept"], listed["key"]) == (False, None)


def test_nothing_of_another_account(desk: Desk) -> None:
    _, token = desk.house.store.accounts.create_account("other")
    name = desk.get("/v1/rejects")["rejects"][0]["reject_id"]
    assert desk.call("GET", "/v1/rejects", token=token).json() == {"rejects": [], "next": None}
    assert desk.call("GET", "/v1/rejects/causes", token=token).json()["causes"] == []
    assert desk.call("GET", f"/v1/rejects/{name}", token=token).status_code == 404
    assert desk.call("GET", "/v1/rejects", token="ac_none").status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        *("source=x", "source=0", "cause=x", "code=none", "since=yesterday", "open=maybe"),
        *("limit=0", "limit=101", "before=x", "before=1.2.3"),
    ],
)
def test_wrong_parameters_are_named(asked: Desk, query: str) -> None:
    for path in ("/v1/rejects", "/v1/rejects/causes"):
        answer = asked.call("GET", f"{path}?{query}")
        assert answer.status_code == 400, path
        assert answer.json()["data"]["message"].startswith(query.split("=")[0])


def test_ids_that_are_none(asked: Desk) -> None:
    for name in ("x", "1", "999999.0", "1.99", f"{10**30}.0"):
        assert asked.call("GET", f"/v1/rejects/{name}").status_code == 404


def test_every_answer_has_examples_that_fit(asked: Desk) -> None:
    checked = 0
    for path, operations in asked.document.value["paths"].items():
        if not path.startswith(("/v1/rejects", "/v1/operations")):
            continue
        for operation in operations.values():
            described = list(operation["responses"].values())
            described += [operation["requestBody"]] if "requestBody" in operation else []
            for part in described:
                content = part["content"]["application/json"]
                assert content["examples"], operation["operationId"]
                for example in content["examples"].values():
                    assert not asked.document.errors(content["schema"], example["value"])
                    checked += 1
    assert checked > 10


def test_the_wire_is_plain_json(asked: Desk) -> None:
    found = asked.call("GET", "/v1/rejects?field=n").text
    assert '"key":{"id":3}' in found


# --- sent again -----------------------------------------------------------------------------------


def open_count(desk: Desk, query: str = "") -> int:
    return sum(cause["open"] for cause in desk.get(f"/v1/rejects/causes{query}")["causes"])


def test_a_cause_is_sent_again_with_an_edit(desk: Desk) -> None:
    [cause] = desk.get("/v1/rejects/causes?field=n")["causes"]
    body = {"filter": {"cause_id": cause["cause_id"]}, "edit": {"set": {"n": 7}}, "expected": 2}
    made = desk.call("POST", "/v1/rejects/resend", body)
    assert made.status_code == 200
    assert (made.json()["state"], made.json()["total"]) == ("waiting", 2)
    path = f"/v1/operations/{made.json()['operation_id']}"
    assert desk.get(path) == made.json()
    assert desk.resends.run_once()
    found = desk.get(path)
    assert (found["state"], found["done"], found["failed"], found["errors"]) == ("done", 2, 0, [])
    assert found["finished_at"] is not None
    desk.house.load()
    assert desk.house.rows("id, n", "customers") == [(1, 1), (2, 7), (3, 7)]
    assert open_count(desk, "?field=n") == 0
    assert desk.get("/v1/rejects?field=n")["rejects"][0]["resent"].startswith("rc_")
    again = desk.call("POST", "/v1/rejects/resend", body)
    assert again.status_code == 409
    assert again.json()["data"]["records"] == 0
    assert not desk.resends.run_once()
    events = desk.house.store.trail.list_events(action="resend_records")
    assert [event.outcome for event in events] == ["refused", "done", "begun"]
    assert events[1].detail == {"resent": 2, "failed": 0}


def test_the_count_may_have_changed_meanwhile(desk: Desk) -> None:
    body = {"filter": {"table": "customers"}, "edit": {"set": {"n": 7}}, "expected": 3}
    desk.push(rec(data={"id": 9, "n": BAD}))
    answer = desk.call("POST", "/v1/rejects/resend", body)
    assert (answer.status_code, answer.json()["data"]["records"]) == (409, 4)
    assert desk.call("POST", "/v1/rejects/resend", body | {"expected": 4}).status_code == 200
    desk.push(rec(data={"id": 10, "n": BAD}))  # it is not meant
    desk.resends.run_once()
    assert open_count(desk, "?table=customers") == 1


def test_some_are_named_by_their_ids(desk: Desk) -> None:
    [first, second] = [one["reject_id"] for one in desk.get("/v1/rejects?field=n")["rejects"]]
    edit = {"record": '{"id": 3, "n": 3.0, "other": "é"}'}
    body = {"ids": [first, first], "edit": edit, "expected": 1}
    made = desk.call("POST", "/v1/rejects/resend", body).json()
    desk.resends.run_once()
    assert desk.get(f"/v1/operations/{made['operation_id']}")["done"] == 1
    both = {"ids": [first, second], "edit": {"unset": ["n"]}, "expected": 1}
    desk.call("POST", "/v1/rejects/resend", both)
    desk.resends.run_once()
    assert open_count(desk, "?field=n") == 0
    desk.house.load()
    assert desk.house.rows("id, other", "customers") == [(1, None), (2, None), (3, "é")]
    unknown = {"ids": ["77.0"], "expected": 1}
    assert desk.call("POST", "/v1/rejects/resend", unknown).status_code == 404


def test_one_that_cannot_be_sent_holds_up_no_other(desk: Desk) -> None:
    body = {"filter": {}, "edit": {"unset": ["id"]}, "expected": 4}  # the key of customers
    made = desk.call("POST", "/v1/rejects/resend", body).json()
    desk.resends.run_once()
    found = desk.get(f"/v1/operations/{made['operation_id']}")
    assert (found["state"], found["done"], found["failed"]) == ("done", 1, 3)
    assert "would be refused" in found["errors"][0]["message"]
    assert open_count(desk) == 3


def test_a_preview_shows_each_before_and_after(desk: Desk) -> None:
    body = {"filter": {"table": "customers"}, "edit": {"set": {"n": 5}}}
    answer = desk.call("POST", "/v1/rejects/resend?dry_run=1", body)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["dry_run"], found["records"]) == (True, 3)
    items, three, two = found["preview"]
    assert two["before"] == f'{{"id": 2, "n": {BAD}, "s": "x"}}'
    assert two["after"] == '{"id":2,"n":5,"s":"x"}'
    assert (two["outcome"], three["outcome"]) == ("loads", "loads")
    assert (items["outcome"], items["code"], items["field"]) == (
        "rejected",
        "integer_out_of_range",
        "items__p",
    )
    refused = desk.call(
        "POST",
        "/v1/rejects/resend?dry_run=1",
        {"ids": [two["reject_id"]], "edit": {"unset": ["id"]}},
    )
    [one] = refused.json()["preview"]
    assert (one["outcome"], one["after"]) == ("refused", None)
    assert open_count(desk) == 4


def test_an_operation_is_stopped(desk: Desk) -> None:
    made = desk.call("POST", "/v1/rejects/resend", {"filter": {}, "expected": 4}).json()
    path = f"/v1/operations/{made['operation_id']}"
    assert desk.call("DELETE", path).json()["state"] == "cancelled"
    assert not desk.resends.run_once()
    assert desk.call("DELETE", path).json()["state"] == "cancelled"
    assert open_count(desk) == 4
    _, token = desk.house.store.accounts.create_account("other")
    for method in ("GET", "DELETE"):
        assert desk.call(method, path, token=token).status_code == 404
        assert desk.call(method, "/v1/operations/x").status_code == 404


def test_a_paused_source_is_named(desk: Desk) -> None:
    body = {"filter": {}, "expected": 4}
    desk.house.store.sources.update_source(CLIENT, desk.house.source_id, paused_at=1)
    answer = desk.call("POST", "/v1/rejects/resend", body)
    assert answer.status_code == 409
    assert "is paused" in answer.json()["data"]["message"]
    desk.house.store.sources.update_source(CLIENT, desk.house.source_id, paused_at=None)
    made = desk.call("POST", "/v1/rejects/resend", body).json()
    desk.house.store.sources.update_source(CLIENT, desk.house.source_id, paused_at=1)
    desk.resends.run_once()
    found = desk.get(f"/v1/operations/{made['operation_id']}")
    assert (found["state"], found["done"], found["failed"]) == ("done", 0, 4)
    assert "is paused" in found["errors"][0]["message"]


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], {"expected": 1}, {"filter": {}}, {"filter": {}, "ids": [], "expected": 0}),
        {"filter": {"table": 7}, "expected": 1},
        {"filter": {"reason": "x"}, "expected": 1},
        {"filter": {"code": "none"}, "expected": 1},
        {"filter": {"since": "yesterday"}, "expected": 1},
        {"filter": {}, "edit": {"set": [1]}, "expected": 1},
        {"filter": {}, "edit": {"record": "{}"}, "expected": 1},
        {"ids": [f"{n}.0" for n in range(1001)], "expected": 1001},
    ],
)
def test_wrong_bodies_are_refused(asked: Desk, body: object) -> None:
    answer = asked.call("POST", "/v1/rejects/resend", body)
    assert answer.status_code == 400, answer.text


class DyingLog(LogAppender):
    """A log whose process dies after it stored some entries, before anybody hears of them."""

    def __init__(self, inner: LogAppender, entries: int) -> None:
        self._inner = inner
        self._left = entries

    @property
    def log_id(self) -> str:
        return self._inner.log_id

    async def append(self, entries: Sequence[NewEntry]) -> int:
        raise AssertionError("a record is sent again once")

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        stored = await self._inner.append_once(entries, once)
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return stored

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        raise AssertionError("a record is sent again once")

    async def aclose(self) -> None:
        await self._inner.aclose()


def test_a_desk_that_is_killed_is_followed_by_one_that_goes_on(desk: Desk) -> None:
    desk.push(*(rec(table_name="keyless", key_names=[], data={"n": BAD}) for _ in range(5)))
    body = {"filter": {"table": "keyless"}, "edit": {"set": {"n": 1}}, "expected": 5}
    made = desk.call("POST", "/v1/rejects/resend", body).json()
    path = f"/v1/operations/{made['operation_id']}"
    dying = make_resends(desk.house)
    opened = dying.open_log
    dying.open_log = lambda: DyingLog(opened(), 2)
    with pytest.raises(KeyboardInterrupt):
        dying.run_once()
    found = desk.get(path)
    assert (found["state"], found["done"]) == ("running", 0)
    assert desk.resends.run_once()  # it runs at the same place, so it need not wait
    found = desk.get(path)
    assert (found["state"], found["done"], found["failed"]) == ("done", 5, 0)
    desk.house.load()
    assert desk.house.rows("n", "keyless") == [(1,)] * 5
    assert open_count(desk, "?table=keyless") == 0


def test_a_log_that_takes_nothing_is_tried_again(desk: Desk) -> None:
    class FullLog(DyingLog):
        tries = 0

        async def append_once(
            self, entries: Sequence[NewEntry], once: IdempotencyKey
        ) -> AppendResult:
            FullLog.tries += 1
            if FullLog.tries <= 6:
                raise RetriableError("the disk is full")
            return await self._inner.append_once(entries, once)

    made = desk.call("POST", "/v1/rejects/resend", {"filter": {}, "expected": 4}).json()
    waiting = make_resends(desk.house)
    opened = waiting.open_log
    waiting.open_log = lambda: FullLog(opened(), 0)
    assert waiting.run_once()
    found = desk.get(f"/v1/operations/{made['operation_id']}")
    assert (found["state"], found["done"], found["failed"], found["note"]) == ("done", 4, 0, None)
    assert FullLog.tries > 6
