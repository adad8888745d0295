"""`/healthz` and `/readyz`: what a probe is told, and what only the holder of a token is told."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from tests.loads import load
from tests.servers.ingest import CLIENT, DOCUMENT, OTHER_CLIENT, ImportServer

from treadle.errors import OperatorError
from treadle.ingest import health_endpoint
from treadle.ingest.health_endpoint import (
    FRESH_SECONDS,
    LOG_UNREADABLE,
    NOT_TAKEN,
    STUCK,
    STUCK_SECONDS,
    UNREADABLE,
    IngestHealth,
)
from treadle.ingest.readiness_endpoint import TABLES_MAX, ReadinessEndpoint
from treadle.store.token_rules import TokenRequest

OPERATOR = "a-metrics-token-of-the-settings"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Probe:
    """The two endpoints over a store in a folder, with a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.server = ImportServer(folder)
        self.store = self.server.store
        self.clock = Clock()
        self.shortage: str | None = None
        self.uses: list[tuple[int, str | None]] = []
        self.health = IngestHealth(
            self.store.destinations,
            self.store.tables,
            version="1",
            revision="r",
            find_shortage=lambda: self.shortage,
            monotonic=self.clock,
        )
        self.endpoint = ReadinessEndpoint(
            self.health, self.store, OPERATOR, lambda *use: self.uses.append(use)
        )

    async def ask(self, token: str | None = None) -> tuple[int, Any]:
        """Status and body of `/readyz`, asked after the last answer has become old."""
        self.clock.now += FRESH_SECONDS
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "http", "headers": headers, "client": ("192.0.2.1", 1)}
        answer = await self.endpoint.get_ready(Request(scope))
        assert answer.headers["cache-control"] == "no-store"
        body = json.loads(bytes(answer.body))
        DOCUMENT.check("GET", "/readyz", answer.status_code, body)
        return answer.status_code, body

    def close(self) -> None:
        self.endpoint.close()
        self.health.close()
        self.store.close()


@pytest.fixture
def probe(tmp_path: Path) -> Any:
    made = Probe(tmp_path)
    yield made
    made.close()


def make_trouble(probe: Probe) -> None:
    """A destination of ours that is down, and a stopped table of each account."""
    store = probe.store
    row = store.destinations.set_default_destination(
        CLIENT, "postgres", "postgresql://u:secret@h/db", "h/db"
    )
    store.destinations.set_trouble(row.id, "h refuses the password of u", denied=True)
    [foreign] = store.sources.list_sources(OTHER_CLIENT)
    for source_id in (probe.server.source_id, foreign.id):
        failed = load(source_id, "orders", 1, error="keys differ")
        store.loads.record_failure(failed, stopped=True)


def test_the_worker_is_alive_and_nothing_is_asked(probe: Probe) -> None:
    probe.store.close()
    answer = asyncio.run(probe.endpoint.get_alive(Request({"type": "http", "headers": []})))
    assert (answer.status_code, bytes(answer.body)) == (200, b'{"status":"alive"}')
    DOCUMENT.check("GET", "/healthz", 200, {"status": "alive"})


def test_nobody_without_a_token_learns_a_name(probe: Probe) -> None:
    make_trouble(probe)
    expected = {
        "destinations_down": 1,
        "destinations_unchecked": 0,
        "sources_without_destination": 0,
        "tables_stopped": 2,
        "tables_rejecting": 0,
    }
    for token in (None, "ac_unknown", probe.server.token, OPERATOR + "x"):
        status, body = asyncio.run(probe.ask(token))
        assert (status, body) == (200, {"status": "ready", "reason": None, "loading": expected})
    assert probe.uses == []


def test_an_account_sees_its_own_and_the_operator_all(probe: Probe) -> None:
    make_trouble(probe)
    store = probe.store
    ours, theirs = (
        store.tokens.issue_token(TokenRequest("account"), account_id=account_id)
        for account_id in (CLIENT, OTHER_CLIENT)
    )
    assert ours.secret is not None
    assert theirs.secret is not None
    _, seen = asyncio.run(probe.ask(ours.secret))
    [destination] = seen["destinations"]
    assert (destination["state"], destination["reason"]) == ("down", "h refuses the password of u")
    [table] = seen["tables"]
    assert (table["source"], table["table"], table["state"]) == ("active", "orders", "stopped")
    assert table["reason"] == "keys differ"
    assert seen["tables_not_shown"] == 0
    _, seen = asyncio.run(probe.ask(theirs.secret))
    assert seen["destinations"] == []
    assert [one["source"] for one in seen["tables"]] == ["foreign"]
    assert probe.uses == [(ours.id, "192.0.2.1"), (theirs.id, "192.0.2.1")]
    _, seen = asyncio.run(probe.ask(OPERATOR))
    assert [one["source"] for one in seen["tables"]] == ["active", "foreign"]
    assert "secret" not in json.dumps(seen)


def test_a_log_that_takes_nothing_is_told_before_a_request_meets_it(probe: Probe) -> None:
    async def test() -> None:
        assert (await probe.ask())[0] == 200
        probe.shortage = "the disk of the log has 5 bytes left"
        status, body = await probe.ask()
        assert (status, body["status"], body["reason"]) == (503, "not ready", probe.shortage)
        probe.shortage = None
        assert (await probe.ask())[0] == 200
        probe.health.record_failure(1)
        assert (await probe.ask())[1]["reason"] == NOT_TAKEN

    asyncio.run(test())


def test_a_log_that_cannot_be_read_takes_nothing(probe: Probe) -> None:
    def fail() -> str:
        raise OperatorError("10.0.0.5 refuses the user treadle")  # which anybody would be told

    probe.health.find_shortage = fail
    status, body = asyncio.run(probe.ask())
    assert (status, body["reason"]) == (503, LOG_UNREADABLE)


def test_a_probe_waits_for_no_disk(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_endpoint, "LOOK_SECONDS_MAX", 0.01)
    answers = threading.Event()

    def hang() -> None:
        answers.wait(30)

    async def test() -> None:
        probe.health.find_shortage = hang
        status, body = await probe.ask()
        assert (status, body["loading"]) == (200, None)
        probe.clock.now += STUCK_SECONDS
        status, body = await probe.ask()
        assert (status, body["reason"]) == (503, STUCK)
        assert (await probe.health.look()).trouble == UNREADABLE
        answers.set()
        looking = probe.health._looking
        assert looking is not None
        await looking
        assert (await probe.ask())[0] == 200

    asyncio.run(test())


def test_of_many_tables_some_are_named_and_the_rest_counted(probe: Probe) -> None:
    for n in range(TABLES_MAX + 3):
        failed = load(probe.server.source_id, f"t{n}", 1 + n, error="no")
        probe.store.loads.record_failure(failed, stopped=True)
    _, seen = asyncio.run(probe.ask(OPERATOR))
    assert (len(seen["tables"]), seen["tables_not_shown"]) == (TABLES_MAX, 3)
    assert seen["loading"]["tables_stopped"] == TABLES_MAX + 3
