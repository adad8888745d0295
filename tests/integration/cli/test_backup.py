"""`treadle backup` and `treadle restore`: nothing is lost of what a backup had, nothing doubled."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop

from treadle.config import Config
from treadle.log.registry import open_reader
from treadle.server.factories import open_store
from treadle.server.loader_process import make_loader
from treadle.server.startup import repair_log_at_start, set_up_store
from treadle.store.store import Store

EVENTS = "events"


def ids(first: int, count: int) -> list[dict[str, int]]:
    return [{"id": number} for number in range(first, first + count)]


def count_ids(file: Path) -> Counter[int]:
    with closing(duckdb.connect(str(file), read_only=True)) as connection:
        return Counter(row[0] for row in connection.execute("SELECT id FROM web.events").fetchall())


class RestoredFolder(Shop):
    """The folder that a backup was restored into, as a server's start finds it."""

    def __init__(self, data: Path, url: str | None) -> None:
        self.data = data
        self.config = Config(data=data, destination=url, load_rows=3)
        set_up_store(self.config)
        repair_log_at_start(self.config)
        self.store = open_store(self.config)
        [source] = self.store.sources.list_sources()
        self.source_id = source.id
        self.loader = make_loader(self.config, self.store)


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """A destination outside of the data folder, which no backup brings back."""
    return tmp_path / "away.duckdb"


Open = Callable[[str | None], Shop]


@pytest.fixture
def open_shop(data: Path, treadle: Treadle) -> Iterator[Open]:
    opened: list[Shop] = []

    def open_one(url: str | None) -> Shop:
        opened.append(Shop(data, treadle, url))
        return opened[-1]

    yield open_one
    for shop in opened:
        shop.close()


def restore(treadle: Treadle, backup: Path, data: Path, key: Path) -> None:
    data.mkdir(mode=0o700)
    shutil.copy(key, data / "secret.key")
    done = treadle("restore", str(backup), "--data", str(data))
    assert done.code == 0, done.err


@pytest.fixture
def backed_up(open_shop: Open, treadle: Treadle, tmp_path: Path, away: Path) -> Shop:
    """A server that loads into `away`, and was backed up with three records in it."""
    shop = open_shop(f"duckdb://{away}")
    shop.push(EVENTS, ids(0, 3), first=1)
    assert treadle("backup", str(tmp_path / "backup")).code == 0
    return shop


def test_new_records_are_loaded_where_the_destination_went_on_without_the_backup(
    backed_up: Shop, treadle: Treadle, tmp_path: Path, away: Path
) -> None:
    shop = backed_up
    shop.push(EVENTS, ids(3, 5), first=4)  # the destination knows positions that the copy lacks
    restore(treadle, tmp_path / "backup", tmp_path / "new", shop.data / "secret.key")
    with closing(RestoredFolder(tmp_path / "new", f"duckdb://{away}")) as restored:
        for first in (8, 10):
            restored.push(EVENTS, ids(first, 2), first=first + 1)
        assert count_ids(away) == Counter(range(12))
        # The former server does not load into the same tables any more.
        shop.push(EVENTS, ids(90, 1), first=99)
        assert count_ids(away) == Counter(range(12))


@pytest.mark.release
def test_what_was_made_after_the_backup_holds_nothing_up_and_goes_to_nobody(
    backed_up: Shop, treadle: Treadle, tmp_path: Path, away: Path
) -> None:
    """A destination went on with a source that the restored store does not know."""
    shop = backed_up
    web = shop.source_id
    *_, young = [make_source(shop.store, 1, f"young{number}") for number in range(3)]
    lost, _ = shop.store.accounts.create_account("lost")
    shop.source_id = young
    shop.push("orders", ids(0, 3), first=1)
    shop.source_id = web
    restore(treadle, tmp_path / "backup", tmp_path / "new", shop.data / "secret.key")
    with closing(RestoredFolder(tmp_path / "new", f"duckdb://{away}")) as restored:
        other, _ = restored.store.accounts.create_account("other")
        assert other.id > lost.id
        later = make_source(restored.store, other.id, "later")
        assert later > young
        restored.push(EVENTS, ids(8, 2), first=9)
        assert count_ids(away) == Counter([*range(3), 8, 9])
        loaded = restored.store.tables.list_statuses()
        assert [(one.source_id, one.table_name) for one in loaded] == [(web, EVENTS)]
        assert [one.id for one in restored.store.accounts.list_accounts()] == [1, other.id]


def make_source(store: Store, account_id: int, name: str) -> int:
    return store.sources.create_source(
        account_id, type="import_api", display_name=name, name=name, bootstrap_token=False
    ).id


def test_what_waited_and_the_rows_come_back_once(
    open_shop: Open, treadle: Treadle, tmp_path: Path
) -> None:
    shop = open_shop(None)
    shop.push(EVENTS, ids(0, 3), first=1)
    shop.accept(EVENTS, ids(3, 4), first=4)
    done = treadle("backup", str(tmp_path / "backup"), "--with-warehouse", "--with-key")
    assert done.code == 0, done.err
    shop.loader.load_once()
    shop.push(EVENTS, ids(7, 2), first=8)
    assert count_ids(shop.data / "warehouse.duckdb") == Counter(range(9))
    new = tmp_path / "new"
    assert treadle("restore", str(tmp_path / "backup"), "--data", str(new)).code == 0
    with closing(RestoredFolder(new, None)) as restored:
        assert count_ids(new / "warehouse.duckdb") == Counter(range(3))
        restored.loader.load_once()
        restored.push(EVENTS, ids(20, 2), first=30)
        expected = Counter([*range(7), 20, 21])
        assert count_ids(new / "warehouse.duckdb") == expected
        restored.loader.load_once()
        assert count_ids(new / "warehouse.duckdb") == expected
    assert count_ids(shop.data / "warehouse.duckdb") == Counter(range(9))
    [event] = treadle("trail --json --action restore_backup --data", str(new)).json
    assert event["outcome"] == "done"


def test_without_the_rows_a_replay_gives_back_what_the_log_holds(
    open_shop: Open, treadle: Treadle, tmp_path: Path
) -> None:
    shop = open_shop(None)
    shop.push(EVENTS, ids(0, 3), first=1)
    done = treadle("backup", str(tmp_path / "backup"))
    assert f"Not in it: the rows in {shop.data / 'warehouse.duckdb'}" in done.out
    assert "secret.key is not in it" in done.out
    restore(treadle, tmp_path / "backup", tmp_path / "new", shop.data / "secret.key")
    with closing(RestoredFolder(tmp_path / "new", None)) as restored:
        # What was loaded before is not loaded by itself into another file.
        restored.push(EVENTS, ids(3, 1), first=9)
        assert count_ids(tmp_path / "new" / "warehouse.duckdb") == Counter([3])
        filled = ("replay", "--source", "web", "--table", EVENTS, "--data", str(tmp_path / "new"))
        assert treadle(*filled).code == 0
        assert count_ids(tmp_path / "new" / "warehouse.duckdb") == Counter(range(4))


def test_what_cannot_be_restored_changes_nothing(
    open_shop: Open, treadle: Treadle, tmp_path: Path
) -> None:
    shop = open_shop(None)
    shop.push(EVENTS, ids(0, 3), first=1)
    backup, new = tmp_path / "backup", tmp_path / "new"
    assert treadle("backup", str(backup)).code == 0

    def refuse(*words: str) -> str:
        done = treadle("restore", str(backup), "--data", str(new), *words)
        assert done.code == 2
        assert not (new / "store.sqlite").exists()
        assert not list(new.glob("*.restoring"))
        return done.err

    assert f"put the key that you kept into {new / 'secret.key'}" in refuse()
    new.mkdir(mode=0o700)
    (new / "secret.key").write_text("0" * 64)
    (new / "secret.key").chmod(0o600)
    assert "is not the one that this backup was made with" in refuse()
    shutil.copy(shop.data / "secret.key", new)
    (new / "notes.txt").touch()
    assert "is not empty (it has notes.txt)" in refuse()
    (new / "notes.txt").unlink()
    log = backup / "log.sqlite"
    content = log.read_bytes()
    log.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "log.sqlite has changed since the backup was made" in refuse()
    assert "has changed" in treadle("restore", str(backup), "--verify").err
    log.write_bytes(content[:-1])
    assert "the backup has" in refuse()
    log.unlink()
    assert "is missing" in refuse()
    log.write_bytes(content)
    manifest = backup / "backup.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(said | {"store_revision": "9999"}))
    assert "does not know" in refuse()
    manifest.unlink()
    assert "is no complete backup" in refuse()
    manifest.write_text(json.dumps(said))
    assert treadle("restore", str(backup), "--verify").code == 0
    assert treadle("restore", str(backup), "--data", str(new)).code == 0
    assert "is not an empty folder" in treadle("backup", str(backup)).err


def test_a_backup_is_of_one_moment_while_records_arrive(
    open_shop: Open, treadle: Treadle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from treadle.log.sqlite.snapshot import SqliteLogSnapshot

    shop = open_shop(None)
    shop.push(EVENTS, ids(0, 3), first=1)
    begin = SqliteLogSnapshot.begin

    def begin_and_go_on(self: SqliteLogSnapshot, alongside: Callable[[], None]) -> None:
        begin(self, alongside)
        shop.push(EVENTS, ids(3, 3), first=4)
        assert treadle("source create Later").code == 0

    monkeypatch.setattr(SqliteLogSnapshot, "begin", begin_and_go_on)
    assert treadle("backup", str(tmp_path / "backup")).code == 0
    restore(treadle, tmp_path / "backup", tmp_path / "new", shop.data / "secret.key")
    config = Config(data=tmp_path / "new")
    with closing(open_store(config)) as store, closing(open_reader(config)) as reader:
        assert [source.name for source in store.sources.list_sources()] == ["web"]
        [status] = store.tables.list_statuses()
        kept = reader.read(status.source_id, EVENTS, 0, 100, 10**6)
        assert [entry.position for entry in kept] == [1] == [status.loaded]


def test_a_file_that_was_named_in_the_data_folder_is_followed(
    open_shop: Open, treadle: Treadle, tmp_path: Path
) -> None:
    shop = open_shop(None)
    lake = shop.data / "lakes" / "lake.duckdb"
    lake.parent.mkdir()
    words = ("destination", "create", "--url", f"duckdb://{lake}", "--name", "Lake")
    assert treadle(" ".join(words), "--ignore-unmapped-sources").code == 0
    duckdb.connect(str(lake)).close()
    backup, new = tmp_path / "backup", tmp_path / "new"
    assert treadle("backup", str(backup), "--with-warehouse", "--with-key").code == 0
    new.mkdir(mode=0o700)
    for name in ("store.sqlite.restoring", "log.sqlite.restoring", "log.sqlite.restoring-wal"):
        (new / name).write_text("of a restore that was killed")
    assert treadle("restore", str(backup), "--data", str(new)).code == 0
    assert (new / "lakes" / "lake.duckdb").exists()
    assert not (new / "store.sqlite.restoring").exists()
    with closing(open_store(Config(data=new))) as store:
        urls = {row.name: row.url for row in store.destinations.list_destinations()}
    assert urls["Lake"] == f"duckdb://{new / 'lakes' / 'lake.duckdb'}"


def test_a_backup_that_fails_leaves_nothing(
    open_shop: Open, treadle: Treadle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from treadle.maintenance.backup import making

    open_shop(None).push(EVENTS, ids(0, 3), first=1)

    def refuse(path: Path) -> str:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(making, "hash_file", refuse)
    done = treadle("backup", str(tmp_path / "backup"))
    assert (done.code, "No space left on device" in done.err) == (2, True)
    assert list((tmp_path / "backup").iterdir()) == []
