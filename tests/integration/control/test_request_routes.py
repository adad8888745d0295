"""`GET /v1/requests`: what the log has, and what was refused, in one list."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.control.api import NOT_AUTHORIZED
from tests.integration.control.trace_api import TraceApi
from tests.loads import load

from treadle.log.protocol import NewEntry, TrimPoint
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.tracking.request_tail import SCAN_ENTRIES_MAX, group_entries, read_tail

REJECTED = (RecordRejection(0, "a"), RecordRejection(1, "b"))


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[TraceApi]:
    path = tmp_path / "log.sqlite"
    api = TraceApi(tmp_path, open_reader=lambda: SqliteReader(path))
    yield api
    api.store.close()


def make_batch(table: str, records: int) -> MessageBatch:
    """Records with the ids and sequences 0, 1, ..."""
    data = msgspec.json.encode([{"id": number} for number in range(records)])
    return MessageBatch(table, (), "json", b"", (), list(range(records)), 0, None, [], data)


def append(api: TraceApi, source_id: int, *requests: dict[str, int]) -> None:
    """Append requests: table -> number of records; a microsecond lies between two of them."""

    async def store() -> None:
        log = SqliteAppender(api.path.parent / "log.sqlite")
        for number, tables in enumerate(requests):
            await log.append(
                [
                    NewEntry(
                        source_id,
                        table,
                        api.now + number,
                        records,
                        encode_batch(make_batch(table, records)),
                    )
                    for table, records in tables.items()
                ]
            )
        await log.aclose()

    asyncio.run(store())
    api.now += len(requests)
    reader = SqliteReader(api.path.parent / "log.sqlite")
    api.store.use_log(reader.log_id)
    reader.close()


def shown(page: Any) -> list[tuple[str, list[str], int]]:
    return [(one["state"], one["tables"], one["records"]) for one in page["requests"]]


def test_they_need_an_account_token(traced: TraceApi) -> None:
    for path in ("/v1/requests", "/v1/requests/rc_x/records"):
        assert traced.get(path, token="at_no").pair == (401, NOT_AUTHORIZED)
    assert traced.get("/v1/requests").body == {"requests": [], "next": None}


def test_accepted_and_refused_requests_are_in_one_list(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    append(traced, source, {"orders": 2, "lines": 3}, {"orders": 1})
    traced.refuse(1, source)
    traced.now += 1
    append(traced, source, {"orders": 4})
    page = traced.get("/v1/requests").body
    assert shown(page) == [
        ("waiting", ["orders"], 4),
        ("refused", [], 0),
        ("waiting", ["orders"], 1),
        ("waiting", ["orders", "lines"], 5),
    ]
    assert page["next"] is None
    assert page["requests"][1]["refusal"]["reason"] == "Not Authorized"
    assert page["requests"][3]["entries"] == 2


def test_what_became_of_a_request(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    append(traced, source, {"orders": 2, "lines": 3}, {"orders": 2}, {"orders": 2}, {"odd": 1})
    outcomes = [EntryOutcome(4, source, "orders", 0, REJECTED)]
    traced.store.loads.record_load(load(source, "orders", 4), outcomes)
    failed = load(source, "odd", 5, error="a key")
    traced.store.loads.record_failure(failed, stopped=True)
    assert [one[0] for one in shown(traced.get("/v1/requests").body)] == [
        "stopped",
        "rejected",
        "loaded",
        "waiting",  # of its second table nothing was loaded
    ]
    traced.store.loads.record_load(load(source, "lines", 2), [])
    assert [one["rejected"] for one in traced.get("/v1/requests").body["requests"]] == [0, 2, 0, 0]
    for state, count in (("loaded", 2), ("rejected", 1), ("stopped", 1), ("waiting", 0)):
        page = traced.get(f"/v1/requests?state={state}").body
        assert [one["state"] for one in page["requests"]] == [state] * count


@pytest.mark.parametrize(
    ("query", "states"),
    [
        ("table=lines", ["waiting"]),
        ("table=none", []),
        ("status=201", ["waiting", "waiting"]),
        ("status=401", ["refused"]),
        ("state=refused", ["refused"]),
        ("token=12", ["refused"]),
        ("from=192.0.2.7", ["refused"]),
        ("from=192.0.2.8", []),
        ("source=99", []),
        ("since=2100-01-01", []),
    ],
)
def test_filters_of_requests(traced: TraceApi, query: str, states: list[str]) -> None:
    source = traced.create("Shop")["id"]
    append(traced, source, {"orders": 2, "lines": 3}, {"orders": 1})
    traced.refuse(1, source, token_id=12)
    page = traced.get(f"/v1/requests?{query}").body
    assert [one["state"] for one in page["requests"]] == states
    assert page["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "state=x",
        "status=200",
        "source=x",
        "token=x",
        "since=x",
        "before=x",
        "before=x,",
        "before=,x",
    ],
)
def test_a_wrong_parameter_of_requests(traced: TraceApi, query: str) -> None:
    answer = traced.get(f"/v1/requests?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.body["message"]


def test_pages_of_requests_have_each_once(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    for round_ in range(6):
        append(traced, source, *({"orders": 1 + number} for number in range(30)))
        for number in range(20):
            traced.refuse(1, source, at=traced.now + number, body=f"{round_} {number}")
        traced.now += 30
    seen: list[Any] = []
    query = ""
    while True:
        page = traced.get(f"/v1/requests{query}").body
        seen += page["requests"]
        assert len(page["requests"]) <= 100
        if page["next"] is None:
            break
        query = f"?before={page['next']}"
    assert sum(one["state"] == "refused" for one in seen) == 120
    assert len({one["receipt"] for one in seen if one["receipt"]}) == 180
    assert len(seen) == 300
    assert [one["at"] for one in seen] == sorted((one["at"] for one in seen), reverse=True)


def test_an_account_sees_its_own_requests_only(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    other, token = traced.another_account()
    append(traced, source, {"orders": 1})
    traced.refuse(1, source)
    traced.refuse()
    assert len(traced.get("/v1/requests").body["requests"]) == 2
    assert traced.get("/v1/requests", token=token).body["requests"] == []
    receipt = traced.get("/v1/requests?state=waiting").body["requests"][0]["receipt"]
    path = f"/v1/requests/{receipt}/records"
    assert traced.get(path).status == 200
    assert traced.get(path, token=token).pair == (404, {"status": "NOT FOUND"})
    assert other.id != 1


def test_the_first_records_of_a_request(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    append(traced, source, {"orders": 15, "lines": 15})
    [one] = traced.get("/v1/requests").body["requests"]
    found = traced.get(f"/v1/requests/{one['receipt']}/records").body
    assert [record["table"] for record in found["records"]] == ["orders"] * 15 + ["lines"] * 5
    assert (found["total"], found["entries_not_shown"]) == (30, 0)
    assert found["records"][3]["sequence"] == 3
    assert found["records"][3]["record"]["id"] == 3
    assert traced.get("/v1/requests/rc_wrong/records").status == 404
    reader = SqliteReader(traced.path.parent / "log.sqlite")
    for table in ("orders", "lines"):
        reader.mark_loaded(source, table, 2)
        reader.trim([TrimPoint(source, table, 2)])
    reader.close()
    assert traced.get(f"/v1/requests/{one['receipt']}/records").status == 410


def test_a_look_ends_after_a_bounded_part_of_the_log(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    append(traced, source, *({"orders": 1} for _ in range(700)))
    reader = SqliteReader(traced.path.parent / "log.sqlite")
    now = [0.0]

    def monotonic() -> float:
        now[0] += 0.001
        return now[0]

    tail = read_tail(reader.statistics, None, 10, lambda entry: False, monotonic)
    assert tail.requests == []
    assert tail.end is not None
    assert 400 < tail.end < 700
    notes = reader.statistics.list_entries_below(None, 5)
    assert [note.position for note in notes] == [700, 699, 698, 697, 696]
    of_table = reader.statistics.list_entries_below(5, 9, (source, "orders"))
    assert [note.position for note in of_table] == [4, 3, 2, 1]
    assert reader.statistics.list_entries_below(5, 9, (source, "none")) == []
    assert [one.first for one in group_entries(notes)] == [700, 699, 698, 697, 696]
    assert SCAN_ENTRIES_MAX >= 20_000
    reader.close()
