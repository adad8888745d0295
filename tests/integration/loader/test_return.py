"""A place that stands behind the log gets all that the log still keeps beyond that, once.

Such a place is one that a source comes back to, and one that was brought back from a backup.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.loader.test_retirement import Stage

from treadle.destinations.registry import make_destination
from treadle.log.sqlite.log import SqliteReader
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tracking.ledger import compute_ledger, sum_lines


@pytest.fixture(params=["duckdb", "postgres"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = f"duckdb://{tmp_path / 'first.duckdb'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    made_stage = Stage(tmp_path, url)
    made_stage.held.released.set()  # nothing hangs here
    yield made_stage
    made_stage.store.close()


def load(stage: Stage, *entries: tuple[str, int]) -> None:
    """Accept entries of the first source and load all that waits."""
    first = stage.sources[0]
    stage.accept([(first, table, number) for table, number in entries])
    with closing(stage.loader()) as loader:
        loader.load_once()
        loader.load_once()  # what waits again because the first one found where its table stands


def accounted(stage: Stage) -> tuple[int, int, int]:
    """Records accepted, loaded and waiting, by the ledger."""
    with closing(SqliteReader(stage.folder / "log.sqlite")) as reader:
        found = sum_lines(compute_ledger(stage.store, reader))
    return found.accepted, found.loaded, found.waiting


def test_a_table_stops_when_an_older_log_has_given_its_positions_again(stage: Stage) -> None:
    log, older, newer = (stage.folder / name for name in ("log.sqlite", "older", "newer"))
    load(stage, ("events", 0))
    shutil.copy(log, older)
    load(stage, ("events", 1))
    shutil.copy(log, newer)
    shutil.copy(older, log)
    load(stage, ("events", 7), ("events", 8))
    expected = [0] * 5 + [1] * 5
    assert stage.entries(stage.url, "web", "events") == expected
    [events] = stage.store.tables.list_statuses(stage.sources[0])
    assert events.stopped
    assert "entry 2 of the log is another one than the one that was loaded" in str(events.error)
    shutil.copy(newer, log)
    load(stage, ("events", 2))
    assert stage.entries(stage.url, "web", "events") == [*expected, *[2] * 5]


def test_a_source_that_comes_back_brings_what_it_loaded_elsewhere(stage: Stage) -> None:
    [account, _], other = stage.accounts, stage.place("other")
    load(stage, ("events", 0), ("orders", 0))
    stage.go_to(account, other)
    load(stage, ("events", 1), ("orders", 1))
    # Changing the destination moves nothing.
    assert stage.entries(other, "web", "events") == [1] * 5
    assert stage.entries(other, "web", "orders") == [1] * 5

    stage.go_to(account, stage.url)
    load(stage)
    assert stage.entries(stage.url, "web", "events") == [0] * 5
    load(stage, ("events", 2))
    # As if nothing had ever gone elsewhere, also of the table that nothing new came for.
    assert stage.entries(stage.url, "web", "events") == [0] * 5 + [1] * 5 + [2] * 5
    assert stage.entries(stage.url, "web", "orders") == [0] * 3 + [1] * 5
    assert accounted(stage) == (25, 25, 0)

    stage.go_to(account, other)
    load(stage, ("orders", 2))
    assert stage.entries(other, "web", "events") == [1] * 5 + [2] * 5
    assert stage.entries(other, "web", "orders") == [1] * 3 + [2] * 5
    assert stage.entries(stage.url, "web", "orders") == [0] * 3 + [1] * 5
    assert accounted(stage) == (30, 30, 0)


def test_a_place_brought_back_from_a_backup_catches_up(tmp_path: Path) -> None:
    file, backup = tmp_path / "first.duckdb", tmp_path / "backup.duckdb"
    stage = Stage(tmp_path, f"duckdb://{file}")
    stage.held.released.set()
    with closing(stage.store):
        load(stage, ("events", 0), ("orders", 0))
        shutil.copy(file, backup)
        load(stage, ("events", 1), ("orders", 1))
        shutil.copy(backup, file)
        assert stage.entries(stage.url, "web", "events") == [0] * 5
        load(stage, ("events", 2))
        assert stage.entries(stage.url, "web", "events") == [0] * 5 + [1] * 5 + [2] * 5
        assert stage.entries(stage.url, "web", "orders") == [0] * 3 + [1] * 5
        assert accounted(stage) == (25, 25, 0)


def test_a_table_whose_first_load_was_lost_is_loaded_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby that lagged was promoted, or a backup of before was restored."""
    load(stage, ("orders", 0))
    load(stage, ("orders", 1), ("events", 0))
    bring_back_without(stage.url, "events")
    load(stage, ("events", 1))
    assert stage.entries(stage.url, "web", "events") == [0] * 5 + [1] * 5
    assert stage.entries(stage.url, "web", "orders") == [0] * 3 + [1] * 5
    assert accounted(stage) == (20, 20, 0)
    load(stage, ("events", 2))
    assert stage.entries(stage.url, "web", "events") == [0] * 5 + [1] * 5 + [2] * 5
    said = [one.getMessage() for one in caplog.records if "any more how far" in one.getMessage()]
    assert len(said) == 1
    assert "loaded again (web.events)" in said[0]


def test_a_table_that_was_loaded_elsewhere_last_is_not_loaded_again(stage: Stage) -> None:
    [account, _], other = stage.accounts, stage.place("other")
    load(stage, ("events", 0))
    bring_back_without(stage.url, "events")
    stage.go_to(account, other)
    load(stage, ("events", 1))
    stage.go_to(account, stage.url)
    load(stage, ("events", 2))
    assert stage.entries(other, "web", "events") == [1] * 5
    assert stage.entries(stage.url, "web", "events") == [2] * 5


def test_a_store_brought_back_goes_on_beside_a_source_that_it_does_not_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, backup = tmp_path / "store.sqlite", tmp_path / "backup"
    stage = Stage(tmp_path, f"duckdb://{tmp_path / 'first.duckdb'}")
    stage.held.released.set()
    load(stage, ("events", 0))
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    young = stage.another(stage.accounts[0], "young")
    stage.accept([(young, "events", 1)])
    load(stage, ("events", 1))
    stage.store.close()
    for name in ("store.sqlite-wal", "store.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(backup, store)
    stage.store = Store.open(f"sqlite:///{store}", SecretCipher(bytes(32)))
    with closing(stage.store):
        load(stage, ("events", 2))
        assert stage.entries(stage.url, "web", "events") == [0] * 5 + [1] * 5 + [2] * 5
        assert stage.entries(stage.url, "young", "events") == [1] * 5
        assert "has loaded 1 source that the store does not know" in caplog.text
        assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_a_table_that_a_person_dropped_gets_only_what_is_new(stage: Stage) -> None:
    load(stage, ("events", 0))
    with make_destination(stage.url).open() as session:
        session.query("DROP TABLE web.events")
    load(stage, ("events", 1))
    assert stage.entries(stage.url, "web", "events") == [1] * 5


def test_a_place_that_was_emptied_gets_all_that_the_log_holds(tmp_path: Path) -> None:
    file = tmp_path / "first.duckdb"
    stage = Stage(tmp_path, f"duckdb://{file}")
    stage.held.released.set()
    with closing(stage.store):
        load(stage, ("events", 0), ("orders", 0))
        file.unlink()
        load(stage, ("events", 1))
        assert stage.entries(stage.url, "web", "events") == [0] * 5 + [1] * 5
        # Also the one of which nothing new came.
        assert stage.entries(stage.url, "web", "orders") == [0] * 5


def bring_back_without(url: str, *tables: str) -> None:
    """Leave a database as it was before the first load of some tables."""
    with make_destination(url).open() as session:
        for table in tables:
            session.query(f"DROP TABLE web.{table}")
            session.query(f"DELETE FROM _treadle.positions WHERE table_name = '{table}'")
            session.query(f"DELETE FROM _treadle.catalogue WHERE table_name = '{table}'")
