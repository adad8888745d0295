"""`GET /metrics` over a real store and log."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route
from tests.integration.loader.test_lease import Stage

from treadle.errors import RetriableError
from treadle.log.sqlite.log import SqliteReader
from treadle.metrics.endpoint import MetricsEndpoint
from treadle.metrics.request_counter import RequestCounter


class Asked:
    """One worker's endpoint, asked without a server."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        self.counted: list[str] = []
        defaults: dict[str, Any] = {"token": None, "host": "127.0.0.1", "version": "1"}
        self.now = 0.0
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
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
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
    assert reader.trim(stage.source_id, "events", 3) == 3
    reader.close()
    check(15, 15)
    assert asked.counted == ["metrics 200"] * len(asked.counted)
    asked.metrics.close()
    loader.close()
    stage.store.close()


@pytest.mark.parametrize(
    ("options", "headers", "status"),
    [
        ({}, {}, 200),
        ({"host": "::1"}, {}, 200),
        ({"host": "192.0.2.1"}, {}, 403),
        ({}, {"X_Forwarded_For": "192.0.2.1"}, 403),
        ({"token": "a" * 16}, {}, 401),
        ({"token": "a" * 16}, {"Authorization": "Bearer b"}, 401),
        ({"token": "a" * 16, "host": "192.0.2.1"}, {"Authorization": "Bearer " + "a" * 16}, 200),
    ],
)
def test_who_may_ask(
    tmp_path: Path, options: dict[str, str], headers: dict[str, str], status: int
) -> None:
    stage = stage_in(tmp_path)
    asked = Asked(stage, **options)
    answer = asked.get(**headers)
    assert answer.status_code == status
    assert ("treadle_build_info" in answer.text) == (status == 200)
    assert asked.counted == [f"metrics {status}"]
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
