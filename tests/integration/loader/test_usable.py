"""What is for a destination waits until a check of it has succeeded, and is then loaded once."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.checks import add_destination
from tests.integration.loader.test_retirement import Stage
from tests.servers.treadle import eventually

from treadle.store.destinations import DestinationRepository


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made_stage = Stage(tmp_path, f"duckdb://{tmp_path / 'first.duckdb'}")
    made_stage.held.released.set()  # nothing hangs here
    yield made_stage
    made_stage.store.close()


def test_records_wait_for_the_first_check_that_succeeds(stage: Stage) -> None:
    [first, second] = stage.sources
    url, account = stage.place("unchecked"), stage.accounts[0]
    check = add_destination(stage.store, account, url)
    stage.store.sources.update_source(account, first, destination_id=check.destination_id)
    stage.accept([(first, "events", 0), (second, "events", 1)])
    repository: DestinationRepository = stage.store.destinations
    assert repository.list_ids_by_source()[first] == check.destination_id
    with closing(stage.loader()) as loader:
        loader.load_once()
    assert stage.entries(url, "web", "events") == []
    assert stage.entries(stage.place("well"), "other", "events") == [1] * 5

    with stage.running(stage.loader()):
        stage.store.checks.claim_check("here", "desk", 10**9)
        stage.store.checks.finish_check(check.id, "desk", "the password is wrong", ())
        again = stage.store.checks.start_check(None, check.destination_id)
        stage.store.checks.claim_check("here", "desk", 10**9)
        assert stage.entries(url, "web", "events") == []
        stage.store.checks.finish_check(again.id, "desk", None, ())
        eventually(lambda: stage.entries(url, "web", "events") == [0] * 5)
        stage.accept([(first, "events", 2)])
        eventually(lambda: stage.entries(url, "web", "events") == [0] * 5 + [2] * 5)
