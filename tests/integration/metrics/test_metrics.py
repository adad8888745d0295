"""`GET /metrics` over a real store and log."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route
from tests.integration.loader.test_units import Stage
from tests.loads import load as plain

from treadle.errors import RetriableError
from treadle.http.hosts import AllowedHosts
from treadle.log.protocol import TrimPoint
from treadle.log.sqlite.log import SqliteReader
from treadle.metrics.endpoint import MetricsEndpoint
from treadle.metrics.request_counter import RequestCounter
from treadle.store.token_rules import TokenRequest


class Asked:
    """One worker's endpoint, asked without a server."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        self.counted: list[str] = []
        defaults: dict[str, Any] = {
            "token": None,
            "version": "1",
            "hosts": AllowedHosts.parse("127.0.0.1", "metrics.example.com"),
        }
        self.now = 0.0
        self.peer = "127.0.0.1"
        self.metrics = MetricsEndpoint(
            stage.store,
            lambda: SqliteReader(stage.folder / "log.sqlite"),
            dict,
            clock=stage.clock,
            monotonic=lambda: self.now,
            **(defaults | options),
        )
        app = Starlette(routes=[Route("/metrics", self.metrics.get, methods=["GET"])])
        self.app = RequestCounter(app, self.counted.append)

    def get(self, **headers: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(self.peer, 5))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                return await client.get(
                    "/metrics", headers={k.replace("_", "-"): v for k, v in headers.items()}
                )

        self.now += 10
        return asyncio.run(ask())

    def counts(self) -> dict[str, float]:
        """Of the only table."""
        return {
            sample.name.removeprefix("treadle_records_"): sample.value
            for family in text_string_to_metric_families(self.get().text)
            for sample in family.samples
            if sample.name.startswith("treadle_records_")
        }


def stage_in(tmp_path: Path) -> Stage:
    return Stage(tmp_path, f"duckdb://{tmp_path / 'warehouse.duckdb'}")


def test_the_ledger_adds_up_whenever_it_is_asked(tmp_path: Path) -> None:
    stage = stage_in(tmp_path)
    loader = stage.loader("a")
    asked = Asked(stage)
    assert asked.counts() == {}

    def check(accepted: int, loaded: int) -> None:
        assert asked.counts() == {
            "accepted_total": accepted,
            "loaded_total": loaded,
            "superseded_total": 0,
            "rejected_total": 0,
            "waiting": accepted - loaded,
        }

    asyncio.run(stage.append(1))
    check(5, 0)
    loader.load_once()
    check(5, 5)
    asyncio.run(stage.append(2))
    asyncio.run(stage.append(3))
    check(15, 5)
    # The store knows of a load that the log was not told of yet.
    reader = SqliteReader(stage.folder / "log.sqlite")
    reader.mark_loaded(stage.source_id, "events", 0)
    reader.close()
    check(15, 5)
    loader.load_once()
    # What is removed from the log stays counted.
    reader = SqliteReader(stage.folder / "log.sqlite")
    assert reader.trim([TrimPoint(stage.source_id, "events", 3)]) == 3
    reader.close()
    check(15, 15)
    assert asked.counted == ["metrics 200"] * len(asked.counted)
    asked.metrics.close()
    loader.close()
    stage.store.close()


def test_tables_stand_in_the_order_of_their_first_load(tmp_path: Path) -> None:
    stage = stage_in(tmp_path)
    for at, table in enumerate(("zebras", "apes"), 1):
        stage.store.loads.record_load(plain(stage.source_id, table, at, at), [])
    asyncio.run(stage.append(1))  # of the table "events", which was never loaded
    asked = Asked(stage)
    tables = re.findall('treadle_records_waiting{.*table="(.*?)"}', asked.get().text)
    assert tables == ["zebras", "apes", "events"]
    asked.metrics.close()
    stage.store.close()


@pytest.mark.parametrize(
    ("options", "headers", "status"),
    [
        ({}, {}, 200),
        ({"peer": "::1"}, {"Host": "[::1]:8484"}, 200),
        ({"peer": "192.0.2.1"}, {}, 403),
        ({}, {"X_Forwarded_For": "192.0.2.1"}, 403),
        ({}, {"X_Real_IP": "1.2.3.4"}, 403),
        ({}, {"Host": "evil.example"}, 421),
        ({}, {"Host": "evil.example", "X_Real_IP": "1.2.3.4"}, 421),
        ({}, {"Host": "metrics.example.com"}, 403),
        ({}, {"Authorization": "Bearer b"}, 401),
        ({"token": "a" * 16}, {}, 401),
        ({"token": "a" * 16}, {"Authorization": "Bearer b"}, 401),
        ({"token": "a" * 16, "peer": "192.0.2.1"}, {"Authorization": "Bearer " + "a" * 16}, 200),
        (
            {"token": "a" * 16, "peer": "192.0.2.1"},
            {"Authorization": "Bearer " + "a" * 16, "Host": "metrics.example.com"},
            200,
        ),
        ({"token": "a" * 16}, {"Authorization": "Bearer " + "a" * 16, "Host": "evil.example"}, 421),
    ],
)
def test_who_may_ask(
    tmp_path: Path, options: dict[str, str], headers: dict[str, str], status: int
) -> None:
    stage = stage_in(tmp_path)
    asked = Asked(stage, token=options.get("token"))
    asked.peer = options.get("peer", "127.0.0.1")
    answer = asked.get(**headers)
    assert answer.status_code == status
    assert ("treadle_build_info" in answer.text) == (status == 200)
    assert asked.counted == [f"metrics {status}"]
    asked.metrics.close()
    stage.store.close()


@pytest.mark.parametrize("token", [None, "a" * 16])
def test_an_account_sees_its_own_figures_alone(tmp_path: Path, token: str | None) -> None:
    stage = stage_in(tmp_path)
    asyncio.run(stage.append(1))
    stage.loader("a").load_once()
    other, others_token = stage.store.accounts.create_account("other")
    made = stage.store.tokens.issue_token(TokenRequest("account"), account_id=1)
    own_token = made.secret
    asked = Asked(stage, token=token)
    asked.peer = "192.0.2.1"
    own, theirs = (asked.get(Authorization=f"Bearer {sent}") for sent in (own_token, others_token))
    assert own.status_code == theirs.status_code == 200
    assert 'table="events"' in own.text
    assert "events" not in theirs.text
    for answer in (own, theirs):
        for family in ("treadle_log_bytes", "treadle_http_requests", "treadle_log_append"):
            assert family not in answer.text
    assert f'destination_id="{other.destination_id}"' not in own.text
    asked.peer = "127.0.0.1"
    everything = asked.get(**({} if token is None else {"Authorization": f"Bearer {token}"})).text
    assert "treadle_log_bytes" in everything
    assert 'table="events"' in everything
    asked.metrics.close()
    stage.store.close()


def test_a_store_that_is_away_is_answered_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_in(tmp_path)
    asked = Asked(stage)

    def away() -> None:
        raise RetriableError("the store is locked")

    monkeypatch.setattr(stage.store.tables, "list_totals", away)
    answer = asked.get()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "the store is locked" in answer.text
    asked.metrics.close()
    stage.store.close()


def test_while_the_store_or_the_log_is_away_the_server_tells_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_in(tmp_path)
    asyncio.run(stage.append(1))
    asked = Asked(stage, token_age=lambda: 7.5, list_processes=list)
    assert "treadle_token_age_seconds 7.5" in asked.get().text
    assert "treadle_log_bytes" in asked.get().text

    def fail() -> None:
        raise RetriableError("away")

    monkeypatch.setattr(stage.store.tables, "list_totals", fail)
    answer = asked.get()
    assert answer.status_code == 200
    assert "treadle_token_age_seconds 7.5" in answer.text
    assert "treadle_log_append_failures_total 0.0" in answer.text
    assert "treadle_records" not in answer.text
    assert "treadle_log_bytes" not in answer.text
    monkeypatch.undo()
    assert "treadle_log_bytes" in asked.get().text
    asked.metrics.close()
    stage.store.close()
