"""`treadle cluster import`: what waits is loaded once, and nothing half-made is taken for whole."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.damage import append_once
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop
from tests.kinds import some_at_release
from tests.servers.postgres import PostgresServer

from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.folder_move import FolderMove, read_move, write_move
from treadle.log.postgres import log_import
from treadle.log.protocol import AppendResult, IdempotencyKey, LogAppender, NewEntry
from treadle.log.registry import open_appender
from treadle.maintenance import cluster_import
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.server.factories import open_store
from treadle.server.loader_process import make_loader

pytestmark = pytest.mark.file_store
KEY = IdempotencyKey(b"k" * 32, b"d" * 32)
BATCH = MessageBatch("keyed", (), "json", b"", (), [1], 0, None, [], b'[{"id":1}]')


@pytest.fixture
def rows_url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.lend_database()
    yield url
    postgres_server.take_back(url)


@pytest.fixture
def shop(data: Path, treadle: Treadle, rows_url: str) -> Shop:
    """One machine with records that are loaded, and records that wait."""
    made = Shop(data, treadle, rows_url)
    made.push("events", [{"id": number} for number in range(4)], first=1)
    append_once(made.config.log_path, make_keyed(made.source_id), [KEY])
    made.accept("events", [{"id": number} for number in range(4, 7)], first=5)
    made.close()
    return made


def name_flags(url: str) -> tuple[str, ...]:
    return (
        *("--store", url, "--log", url),
        *("--store-durability", "none", "--log-durability", "none"),
    )


def count_ids(url: str) -> Counter[int]:
    with psycopg.connect(url) as connection:
        return Counter(row[0] for row in connection.execute("SELECT id FROM web.events"))


def make_keyed(source_id: int) -> NewEntry:
    return NewEntry(source_id, "keyed", 1_700_000_000_000_000, 1, encode_batch(BATCH))


def append_again(appender: LogAppender, entry: NewEntry) -> AppendResult:
    async def run() -> AppendResult:
        try:
            return await appender.append_once([entry], KEY)
        finally:
            await appender.aclose()

    return asyncio.run(run())


def test_the_cluster_goes_on_where_the_machine_was(
    shop: Shop, treadle: Treadle, postgres_database: str, rows_url: str, tmp_path: Path
) -> None:
    url = postgres_database
    done = treadle("cluster import --json", *name_flags(url))
    assert done.json["rows"] > 10
    [log] = done.json["logs"]
    assert (log["number"], log["records"], log["keys"], log["damaged"]) == (0, 8, 1, 0)
    assert url.rpartition("/")[2] in done.json["store"]
    assert str(psycopg.conninfo.conninfo_to_dict(url)["password"]) not in done.out + done.err
    other = Config(
        data=tmp_path / "other",
        store=url,
        store_durability="none",
        log_durability="none",
        secret_key=(shop.data / "secret.key").read_text(),
    )
    other.make_data_folder()
    with closing(open_store(other)) as store, closing(make_loader(other, store)) as loader:
        entry = make_keyed(shop.source_id)
        stored = append_again(open_appender(other, store.logs), entry)
        assert stored == AppendResult(2, KEY.digest, duplicate=True)
        loader.load_once()
        assert count_ids(rows_url) == Counter(range(7))
        loader.load_once()
        assert count_ids(rows_url) == Counter(range(7))
    again = treadle("cluster import", *name_flags(url))
    assert again.code == 0
    assert "was moved to postgresql://" in again.out
    # What the folder was is not used any more, but for the rest to look at.
    for command in ("account list", "serve --port 0"):
        refused = treadle(command)
        assert refused.code == 2
        assert "was moved to postgresql://" in refused.err
        assert str(shop.data / "moved.json") in refused.err
    assert treadle("account list", "--store", url).code == 0
    check_status(treadle, url)


def check_status(treadle: Treadle, url: str) -> None:
    """`treadle cluster status` of a cluster of which a loader has run, and nothing else."""
    named = name_flags(url)[:2] + name_flags(url)[4:]
    done = treadle("cluster status --json", *named)
    assert done.code == 1
    found = json.loads(done.out)
    assert [one.partition(":")[0] for one in found["problems"]] == [
        f"No member with the role {role} runs" for role in ("ingest", "control")
    ]
    [log], [database] = found["logs"], found["databases"]
    assert (log["number"], log["state"], log["last_position"]) == (0, "open", 3)
    assert (log["records_waiting"], log["trouble"]) == (0, None)
    assert (database["uses"], database["synchronous"]) == (["store", "log 0"], False)
    assert database["primary"].startswith("127.0.0.1:")
    [loader] = found["members"]
    assert (loader["roles"], loader["live"]) == (["loader"], True)
    assert loader["units"] + len(found["units"]["free"]) == found["units"]["all"]
    shown = treadle("cluster status", *named)
    assert shown.code == 1
    for text in ("last position", "releases  ", "problem   No member with the role"):
        assert text in shown.out
    alone = treadle("cluster status")
    assert (alone.code, "name it with --store" in alone.err) == (2, True)


@pytest.mark.parametrize("place", ["logs", *some_at_release("store", "opening"), "end"])
def test_a_run_that_was_killed_is_repeated(
    shop: Shop,
    treadle: Treadle,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """A kill leaves what a run has written until then; here it is an exception that is not met."""
    if place == "logs":
        kill(monkeypatch, log_import.PostgresLogImport, "_finish")
    elif place == "store":
        kill(monkeypatch, cluster_import, "copy_store")
    elif place == "opening":
        kill(monkeypatch, cluster_import, "open_imported_logs")
    else:
        write = write_move
        kill(monkeypatch, cluster_import, "write_move", lambda path, move: not move.is_done, write)
    monkeypatch.setattr(cluster_import, "remove_move", lambda path: None)  # a kill removes nothing
    with pytest.raises(KilledError):
        treadle("cluster import", *name_flags(postgres_database))
    monkeypatch.undo()
    monkeypatch.setenv("TREADLE_DATA", str(shop.data))
    move = read_move(shop.config.move_path)
    assert move is not None
    assert not move.is_done
    refused = treadle("serve --port 0")
    assert refused.code == 2
    assert "run `treadle cluster import` again" in refused.err
    done = treadle("cluster import --json", *name_flags(postgres_database))
    assert done.json["was_done"] is (place == "end")
    assert (done.json["rows"] is None) is (place in ("opening", "end"))
    move = read_move(shop.config.move_path)
    assert move is not None
    assert move.is_done
    listed = treadle("source list --json", "--store", postgres_database)
    assert [one["name"] for one in listed.json] == ["web"]


class KilledError(Exception):
    """The process is killed here."""


def kill(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    passes: Any = lambda *values: False,
    real: Any = None,
) -> None:
    def call(*values: Any, **named: Any) -> Any:
        if passes(*values):
            return real(*values, **named)
        raise KilledError

    monkeypatch.setattr(owner, name, call)


def test_an_error_leaves_the_folder_as_it_was(
    shop: Shop, treadle: Treadle, postgres_database: str, tmp_path: Path
) -> None:
    nowhere = postgres_database.replace("127.0.0.1", "127.0.0.9")
    refused = treadle(
        "cluster import --store-durability none --log-durability none",
        *("--store", postgres_database, "--log", nowhere),
    )
    assert refused.code == 2
    assert read_move(shop.config.move_path) is None
    # A database of another installation.
    treadle(
        "init --store-durability none --log-durability none",
        *("--store", postgres_database, "--data", str(tmp_path / "new")),
    )
    refused = treadle("cluster import", *name_flags(postgres_database))
    assert refused.code == 2
    assert "has a store already, of another installation" in refused.err
    assert read_move(shop.config.move_path) is None
    assert treadle("source list").code == 0


def test_what_is_missing_is_named(shop: Shop, treadle: Treadle, tmp_path: Path) -> None:
    for words, told in (
        (["--log", "postgresql://x/y"], "name it with --store"),
        (["--store", "postgresql://x/y"], "name it with --log"),
        ([*name_flags("postgresql://x/y"), "--data", str(tmp_path)], "There is no treadle data"),
    ):
        refused = treadle("cluster import", *words)
        assert (refused.code, told in refused.err) == (2, True), refused.err
    lock = take_lock(shop.config.lock_path, 0.0)
    refused = treadle("cluster import", *name_flags("postgresql://x/y"))
    os.close(lock)
    assert "A server runs on" in refused.err
    (shop.data / "secret.key.next").write_text("0" * 64)
    refused = treadle("cluster import", *name_flags("postgresql://x/y"))
    assert "run `treadle key rotate`" in refused.err


def test_a_note_that_cannot_be_read_counts_as_one(tmp_path: Path) -> None:
    path = tmp_path / "moved.json"
    assert read_move(path) is None
    move = FolderMove(is_done=True, at=7, place="postgresql://db/treadle")
    write_move(path, move)
    assert read_move(path) == move
    assert json.loads(path.read_text())["at"] == 7
    path.write_text("{")
    assert read_move(path) == FolderMove(is_done=False, at=0, place="a cluster")
