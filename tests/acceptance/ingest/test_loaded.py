"""From a request to rows that can be queried: receipts, waiting writes, webhooks, bare records."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.cases import OK, compare, rec
from tests.servers.ingest import CLIENT
from tests.servers.loading import Warehouse

from treadle.store.token_rules import TokenRequest


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    warehouse = Warehouse(tmp_path)
    with warehouse.running():
        yield warehouse
    warehouse.loader.close()
    warehouse.store.close()


def test_a_receipt_tells_what_was_loaded_superseded_and_rejected(warehouse: Warehouse) -> None:
    beyond = 10**30  # no integer column holds it (loading.md 3.3)
    answer = warehouse.post(
        "/v2/import/push",
        [
            rec(sequence=1, data={"id": 1, "name": "first"}),
            rec(sequence=2, data={"id": 1, "name": "second"}),
            rec(sequence=1, data={"id": 2, "name": "other", "n": beyond}),
            rec(sequence=1, table_name="orders", data={"id": 9}),
        ],
    )
    assert warehouse.fate(answer)["status"] == "waiting"
    warehouse.load()
    fate = warehouse.fate(answer)
    assert fate["status"] == "loaded"
    customers, orders = fate["tables"]
    assert (customers["loaded"], customers["superseded"]) == (1, 1)
    (rejected,) = customers["rejected"]
    assert rejected["record"] == 2
    assert rejected["reason"]
    assert uuid.UUID(customers["load"]["id"])
    assert (orders["loaded"], orders["superseded"], orders["rejected"]) == (1, 0, [])
    assert warehouse.rows("id, name", "customers") == [(1, "second")]


def test_a_write_that_waits_is_answered_when_its_rows_are_there(warehouse: Warehouse) -> None:
    timer = threading.Timer(0.5, warehouse.load)
    timer.start()
    answer = warehouse.post("/v2/import/push", [rec()], headers={"Prefer": "wait=30, ack=loaded"})
    compare(answer, 201, OK)
    assert answer.header("preference-applied") == "ack=loaded"
    timer.join()
    assert warehouse.rows("id, name", "customers") == [(1, "Finn")]


def test_197_198_202_webhooks(warehouse: Warehouse) -> None:
    def send(body: Any) -> None:
        compare(warehouse.post(warehouse.hook(), body, content_type=None), 200, OK)

    send({"id": 1, "event": "send"})
    send([{"id": 1}, {"id": 2}])
    warehouse.load()
    assert warehouse.rows("id, event", "data") == [(1, "send"), (1, None), (2, None)]
    keys = warehouse.rows("__sdc_primary_key", "data")
    assert len(set(keys)) == 3

    settings = {"webhook": {"key": ["id"], "table": "keyed"}}
    warehouse.store.sources.update_source(CLIENT, warehouse.source_id, settings=settings)
    warehouse.ingest.token_cache.invalidate()
    send([{"id": None}, {"id": 3}])
    warehouse.load()
    assert warehouse.rows("id", "keyed") == [(3,)]


def test_an_event_that_is_sent_again_is_one_row(warehouse: Warehouse) -> None:
    """Stripe and GitHub send an event until it is answered; GitHub sends forms by default."""
    asked = TokenRequest("webhook")
    hook = warehouse.store.tokens.issue_token(
        asked, account_id=CLIENT, source_id=warehouse.source_id
    )
    for provider, body, headers, columns, row in (
        ("stripe", b'{"id":"evt_1","type":"charge"}', {}, "id, type", ("evt_1", "charge")),
        (
            "github",
            b"payload=%7B%22action%22%3A%22opened%22%7D",
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-GitHub-Delivery": "72d3162e",
                "X-GitHub-Event": "issues",
            },
            "x_github_delivery, x_github_event, action",
            ("72d3162e", "issues", "opened"),
        ),
    ):
        settings = {"webhook": {"provider": provider, "table": provider}}
        warehouse.store.sources.update_source(CLIENT, warehouse.source_id, settings=settings)
        warehouse.ingest.token_cache.invalidate()
        for token in (hook.secret, hook.secret, warehouse.token):
            compare(warehouse.send("POST", warehouse.hook(token), body, headers), 200, OK)
            warehouse.load()
        assert warehouse.rows(columns, provider) == [row]


def test_the_last_of_bare_records_wins(warehouse: Warehouse) -> None:
    path = "/v1/tables/people/records?key=id"
    compare(warehouse.post(path, b'{"id":1,"n":"a"}\n{"id":2,"n":"b"}\n{"id":1,"n":"c"}'), 201, OK)
    compare(warehouse.post(path, b'[{"id":2,"n":"d"}]'), 201, OK)
    warehouse.load()
    assert warehouse.rows("id, n", "people") == [(1, "c"), (2, "d")]


def test_rows_without_a_key_are_stored_once_however_often_they_are_sent(
    warehouse: Warehouse,
) -> None:
    for _ in range(3):
        answer = warehouse.post(
            "/v1/tables/events/records", b'{"n":1}\n{"n":2}', headers={"Idempotency-Key": "a"}
        )
        compare(answer, 201, OK)
        warehouse.load()
    assert warehouse.rows("n", "events") == [(1,), (2,)]
