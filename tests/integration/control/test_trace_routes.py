"""What a server tells of itself: refusals, series, status, health, settings."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED
from tests.integration.control.trace_api import TraceApi, figures
from tests.loads import load

from treadle.control.traces import ONE_OF_SEVERAL
from treadle.traces.append_trace import AppendTrace
from treadle.traces.process_board import note_start

PATHS = ("/v1/status", "/v1/series", "/v1/refusals", "/v1/health", "/v1/config")
SECOND = 1_000_000


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[TraceApi]:
    api = TraceApi(tmp_path)
    yield api
    api.store.close()


def ids(page: Any) -> list[str]:
    return [one["request_id"] for one in page["refusals"]]


@pytest.mark.parametrize("path", PATHS)
def test_they_need_an_account_token(traced: TraceApi, path: str) -> None:
    for wrong in (None, "at_no", "mt_no"):
        assert traced.get(path, token=wrong).pair == (401, NOT_AUTHORIZED)
    assert traced.get(path).status == 200  # before anything was written


def test_every_answer_has_examples_that_fit(traced: TraceApi) -> None:
    for path in PATHS:
        operation = traced.document.value["paths"][path]["get"]
        for status, answer in operation["responses"].items():
            content = answer["content"]["application/json"]
            for example in content["examples"].values():
                assert not traced.document.errors(content["schema"], example["value"]), (
                    path,
                    status,
                )


# Refusals ----------------------------------------------------------------------------------------


def test_the_only_account_sees_strangers_too(traced: TraceApi) -> None:
    traced.begin_step()
    traced.refuse(1, 7, token_id=12, fingerprint="9f86d081", at=traced.now)
    traced.refuse(at=traced.now + 1, body="who are you", worker="worker 2")
    page = traced.get("/v1/refusals").body
    assert ids(page) == ["2-1", "1-1"]
    assert page["next"] is None
    stranger, own = page["refusals"]
    assert (stranger["is_stranger"], stranger["source_id"], stranger["token_id"]) == (
        True,
        None,
        None,
    )
    assert (stranger["answer"], stranger["address"]) == ("who are you", "192.0.2.7")
    assert (own["is_stranger"], own["source_id"], own["token_id"]) == (False, 7, 12)
    assert own["token_fingerprint"] == "9f86d081"
    assert [(one["total"], one["minutes"][-1]) for one in page["groups"]] == [(1, 1), (1, 1)]
    assert page["groups"][1]["latest_request_id"] == "1-1"


def test_one_account_of_several_sees_its_own_refusals_only(traced: TraceApi) -> None:
    other, token = traced.another_account()
    traced.refuse(1, 7)
    traced.refuse(other.id, 8)
    traced.refuse()
    for asked, source in (("", 7), (token, 8)):
        page = traced.get("/v1/refusals", token=asked).body
        assert [one["source_id"] for one in page["refusals"]] == [source]
        assert [one["source_id"] for one in page["groups"]] == [source]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("source=7", {"1-1", "1-2"}),
        ("token=12", {"1-2"}),
        ("endpoint=batch", {"1-3"}),
        ("status=429", {"1-3"}),
        ("from=198.51.100.1", {"1-1"}),
        ("source=7&status=401&endpoint=push", {"1-1", "1-2"}),
        ("source=99", set()),
    ],
)
def test_filters_of_refusals(traced: TraceApi, query: str, found: set[str]) -> None:
    traced.refuse(1, 7, address="198.51.100.1")
    traced.refuse(1, 7, token_id=12)
    traced.refuse(1, 8, endpoint="batch", status=429)
    assert set(ids(traced.get(f"/v1/refusals?{query}").body)) == found


def test_pages_of_refusals(traced: TraceApi) -> None:
    for number in range(150):
        traced.refuse(1, 7, at=traced.now + number // 3)
    seen: list[str] = []
    query = ""
    while True:
        page = traced.get(f"/v1/refusals{query}").body
        seen += ids(page)
        if page["next"] is None:
            break
        assert len(page["refusals"]) == 100
        query = f"?before={page['next']}"
    assert sorted(seen) == sorted(f"1-{number}" for number in range(1, 151))


@pytest.mark.parametrize(
    "query", ["source=x", "token=0", "status=200", "status=x", "before=x", "before=1"]
)
def test_a_wrong_parameter_of_refusals(traced: TraceApi, query: str) -> None:
    answer = traced.get(f"/v1/refusals?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.body["message"]


# Series ------------------------------------------------------------------------------------------


def test_the_series_of_the_server(traced: TraceApi) -> None:
    traced.begin_step()
    traced.sample(20, accepted=5, log_bytes=700)
    traced.sample(10, accepted=7)
    start = traced.now // 10_000_000 * 10 - 30
    answer = traced.get(f"/v1/series?name=accepted,log_bytes&from={_at(start)}").body
    assert (answer["step_seconds"], answer["source_id"], answer["from_at"]) == (
        10,
        None,
        _at(start),
    )
    assert answer["series"] == {"accepted": [None, 5, 7], "log_bytes": [None, 700, 0]}
    whole = traced.get("/v1/series").body
    assert len(whole["series"]["accepted"]) == 360
    assert whole["series"]["requests_2xx"][-1] == 0
    assert len(traced.get("/v1/series?step=60").body["series"]["loaded"]) == 1440
    assert len(traced.get("/v1/series?step=3600&name=loaded").body["series"]["loaded"]) == 2160


def test_the_series_of_a_source(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    traced.begin_step()
    traced.sample(20, {source: figures(accepted=3), 99: figures(accepted=9)})
    traced.sample(10)
    start = traced.now // 10_000_000 * 10 - 20
    answer = traced.get(f"/v1/series?source={source}&from={_at(start)}&name=accepted").body
    assert answer["series"] == {"accepted": [3, 0]}  # it had nothing in the second step
    assert traced.get("/v1/series?source=99").status == 404
    assert traced.get(f"/v1/series?source={source}&name=log_bytes").status == 400


def test_one_account_of_several_sees_the_series_of_its_sources(traced: TraceApi) -> None:
    one, two = traced.create("One")["id"], traced.create("Two")["id"]
    _, token = traced.another_account()
    traced.begin_step()
    traced.sample(10, {one: figures(accepted=3), two: figures(accepted=4)}, accepted=107)
    start = _at(traced.now // 10_000_000 * 10 - 10)
    query = f"/v1/series?from={start}&name=accepted"
    assert traced.get(query).body["series"] == {"accepted": [7]}
    assert traced.get(query, token=token).body["series"] == {"accepted": [0]}
    assert traced.get(f"{query}&source={one}", token=token).status == 404
    assert traced.get("/v1/series?name=log_bytes").status == 400


@pytest.mark.parametrize("query", ["step=11", "name=no", "from=yesterday", "name="])
def test_a_wrong_parameter_of_series(traced: TraceApi, query: str) -> None:
    answer = traced.get(f"/v1/series?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.body["message"]


def _at(seconds: int) -> str:
    from treadle.timestamps import format_seconds

    return format_seconds(seconds * SECOND)


# Status ------------------------------------------------------------------------------------------


def test_the_status_of_a_server(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    traced.store.use_log("log")
    traced.store.loads.record_load(
        load(
            source, "orders", 5, rows_received=10, rows_loaded=7, rows_discarded=2, rows_rejected=1
        ),
        [],
    )
    traced.begin_step()
    traced.wait_for(source, 4, traced.now - 3 * SECOND)
    traced.sample(10, accepted=50, loaded=40, log_bytes=700, disk_free_bytes=900, requests_2xx=30)
    found = traced.get("/v1/status").body
    assert found["totals"] == {
        "accepted": 14,
        "loaded": 7,
        "superseded": 2,
        "rejected": 1,
        "waiting": 4,
    }
    ten, minute = found["rates"]
    assert (ten["seconds"], ten["accepted"], ten["loaded"]) == (10, 5, 4)
    assert (minute["seconds"], round(minute["accepted"], 3)) == (60, 0.833)
    assert 3 <= found["oldest_waiting_seconds"] < 300
    assert found["tables"] == {"known": 1, "failing": 0, "stopped": 0}
    assert found["server"] == {
        "log_bytes": 700,
        "disk_free_bytes": 900,
        "requests_per_second": {"2xx": 3, "3xx": 0, "4xx": 0, "5xx": 0},
    }


def test_freshness_of_the_last_hour(traced: TraceApi) -> None:
    traced.sample(600, loaded=10, freshness_p50_seconds=1, freshness_p99_seconds=4)
    traced.sample(10, loaded=30, freshness_p50_seconds=2, freshness_p99_seconds=3)
    traced.sample(7200, loaded=90, freshness_p50_seconds=90, freshness_p99_seconds=90)
    assert traced.get("/v1/status").body["freshness"] == {"p50_seconds": 1.75, "p99_seconds": 4}


def test_one_account_of_several_sees_its_own_status(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    other, token = traced.another_account()
    traced.store.use_log("log")
    traced.store.loads.record_load(load(source, "orders", 5), [])
    traced.wait_for(source, 4, traced.now)
    own = traced.get("/v1/status").body
    assert (own["totals"]["accepted"], own["server"]) == (5, None)
    others = traced.get("/v1/status", token=token).body
    assert set(others["totals"].values()) == {0}
    assert others["oldest_waiting_at"] is None
    assert all(one["id"] != other.id for one in others["destinations"])


# Health and settings -----------------------------------------------------------------------------


def test_the_health_of_a_server(traced: TraceApi) -> None:
    source = traced.create("Shop")["id"]
    traced.wait_for(source, 4, traced.now)
    traced.sample(10, log_bytes=700, disk_free_bytes=900)
    appends = AppendTrace(traced.files.counters, "worker 1", lambda: traced.now)
    appends.note_commit(2_500)
    appends.close()
    note_start(traced.files.processes, "worker 1", traced.now)
    note_start(traced.files.processes, "worker 1", traced.now)
    (traced.files.processes / "broken").write_text("{")
    found = traced.get("/v1/health").body
    log = found["log"]
    assert (log["bytes"], log["disk_free_bytes"], log["append_failures"]) == (700, 900, 3)
    assert "disk_reserve_bytes" in log["shortage"]
    assert log["fsync"] == {"commits": 1, "p50_seconds": 0.0025, "p99_seconds": 0.0025}
    assert log["oldest_kept_at"] is None
    assert log["waiting"] == [
        {"source_id": source, "name": "shop", "waiting_bytes": 400, "waiting_records": 4}
    ]
    [process] = found["processes"]
    assert (process["name"], process["pid"], process["restarts"]) == ("worker 1", os.getpid(), 1)
    assert process["is_running"]
    assert process["memory_bytes"] > 10_000_000


def test_the_settings_of_a_server(traced: TraceApi) -> None:
    assert traced.get("/v1/config").body == {
        "settings": [
            {
                "name": "workers",
                "value": 2,
                "origin": "flag",
                "help": "processes that take requests",
            }
        ]
    }


def test_no_account_of_several_sees_the_whole_server(traced: TraceApi) -> None:
    traced.another_account()
    for path in ("/v1/health", "/v1/config"):
        assert traced.get(path).pair == (403, {"message": ONE_OF_SEVERAL})
