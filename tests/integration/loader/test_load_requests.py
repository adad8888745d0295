"""A table that somebody wants loaded is loaded at once, and the others wait for their age."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.calls import batch
from tests.integration.loader.test_retirement import Stage
from tests.servers.treadle import eventually

from treadle.loader.schedule import FlushPolicy
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender
from treadle.records.message_batch import encode_batch
from treadle.store.load_requests import REQUEST_US_MAX
from treadle.store.trail_event import TrailAction

HOUR_US = 3_600_000_000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made_stage = Stage(tmp_path, f"duckdb://{tmp_path / 'first.duckdb'}")
    made_stage.held.released.set()  # nothing hangs here
    yield made_stage
    made_stage.store.close()


def accept_now(stage: Stage, *tables: str) -> None:
    async def append() -> None:
        log = SqliteAppender(stage.folder / "log.sqlite")
        now = time.time_ns() // 1000
        await log.append(
            [
                NewEntry(stage.sources[0], table, now, 5, encode_batch(batch(table, 0)))
                for table in tables
            ]
        )
        await log.aclose()

    asyncio.run(append())


def test_a_table_is_loaded_when_somebody_asks_for_it(stage: Stage) -> None:
    source = stage.store.sources.get_source(None, stage.sources[0])
    assert source is not None
    ask = stage.store.load_requests.add_request
    loader = stage.loader()
    loader.flush_policy = FlushPolicy(age_us=HOUR_US)
    with stage.running(loader):
        eventually(lambda: not loader._is_busy)  # what the first look finds is loaded at once
        accept_now(stage, "orders", "events")
        ask(source, "orders", TrailAction.LOAD_TABLE)
        eventually(lambda: stage.entries(stage.url, "web", "orders") == [0] * 5)
        assert stage.entries(stage.url, "web", "events") == []
        ask(source, "events", TrailAction.RETRY_TABLE)
        eventually(lambda: stage.entries(stage.url, "web", "events") == [0] * 5)
    events = stage.store.trail.list_events(account_id=source.account_id, limit=2)
    assert [event.action for event in events] == ["retry_table", "load_table"]


def test_a_request_that_no_loader_saw_in_time_is_void(stage: Stage) -> None:
    accept_now(stage, "orders")
    source = stage.store.sources.get_source(None, stage.sources[0])
    assert source is not None
    made = stage.store.load_requests.add_request(source, "orders", TrailAction.LOAD_TABLE)
    loader = stage.loader()
    loader.flush_policy = FlushPolicy(age_us=HOUR_US)
    loader.clock = lambda: made.at + REQUEST_US_MAX + 1
    loader._refresh(start=False)
    [(_, first), _] = loader._loaders.values()
    assert first._asked_tables.empty()
    loader._last_request, loader._revision = 0, None
    loader.clock = lambda: made.at + REQUEST_US_MAX
    loader._refresh(start=False)
    assert first._asked_tables.get_nowait() == (source.id, "orders")
    loader.close()
