"""`treadle doctor` on a real folder, store, log and destination."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.damage import append
from tests.integration.cli.conftest import Treadle
from tests.servers.postgres import PostgresServer

from treadle.log.protocol import NewEntry
from treadle.maintenance.doctor import measurements
from treadle.store.secrets import load_cipher
from treadle.store.store import Store


def findings(treadle: Treadle, *words: str, code: int) -> dict[str, list[dict[str, Any]]]:
    """Subject -> findings that are not good."""
    done = treadle("doctor --json", *words)
    said = json.loads(done.out)
    assert (done.code, said["ok"]) == (code, code == 0)
    assert all(
        one["found"] and (one["level"] == "good") == (not one["remedy"]) for one in said["findings"]
    )
    troubles: dict[str, list[dict[str, Any]]] = {one["subject"]: [] for one in said["findings"]}
    for one in said["findings"]:
        if one["level"] == "bad":
            troubles[one["subject"]].append(one)
    return troubles


@pytest.fixture(autouse=True)
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests may run in memory or in a container; here the folder is on a local disk."""
    path = tmp_path / "mountinfo"
    path.write_text("22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(measurements, "MOUNTS_FILE", path)
    return path


@pytest.fixture
def folder(data: Path, treadle: Treadle) -> Path:
    """A data folder with a source and three entries in its log."""
    assert treadle("account create").code == 0
    assert treadle("source create Web").code == 0
    append(data / "log.sqlite", [NewEntry(2, "orders", 1, 2, bytes([n]) * 40) for n in range(3)])
    return data


def test_a_folder_that_is_not_there_yet_is_well(data: Path, treadle: Treadle) -> None:
    found = findings(treadle, code=0)
    assert {"disk", "clock", "settings", "store", "key", "log", "destination"} <= found.keys()
    assert not data.exists()


def test_a_folder_in_memory_is_found(data: Path, treadle: Treadle, mounts: Path) -> None:
    data.mkdir()
    mounts.write_text(f"22 1 8:1 / {data.resolve()} rw - tmpfs tmpfs rw\n")
    assert "tmpfs" in findings(treadle, code=1)["disk"][0]["found"]


def test_everything_in_place_is_well_and_stays_as_it_is(folder: Path, treadle: Treadle) -> None:
    before = {path.name for path in folder.iterdir()}
    findings(treadle, code=0)
    assert {path.name for path in folder.iterdir()} - before <= {"log.sqlite-lock"}
    out = treadle("doctor --quick").out
    assert "entries of the log" not in out
    assert "6 records wait" in out
    assert out.endswith(" bad.\n")


def test_a_lost_or_wrong_key_is_found_and_no_other_made(folder: Path, treadle: Treadle) -> None:
    (folder / "secret.key").rename(folder / "kept")
    assert "is gone" in findings(treadle, code=1)["key"][0]["found"]
    assert not (folder / "secret.key").exists()
    (folder / "secret.key").write_text("0" * 64)
    assert "chmod 600" in findings(treadle, code=1)["key"][0]["found"]
    (folder / "secret.key").chmod(0o600)
    assert "not the one" in findings(treadle, code=1)["key"][0]["found"]


def test_damage_is_found(folder: Path, treadle: Treadle) -> None:
    connection = sqlite3.connect(folder / "log.sqlite")
    connection.execute("UPDATE entries SET crc = crc + 1 WHERE position = 3")
    connection.commit()
    connection.close()
    [found] = findings(treadle, code=1)["log"]
    assert "1 entries of the log are damaged, 2 are sound" in found["found"]
    (folder / "log.sqlite").write_bytes(b"no log" + (folder / "log.sqlite").read_bytes()[6:])
    assert "salvage" in findings(treadle, code=1)["log"][0]["remedy"]
    store = folder / "store.sqlite"
    store.write_bytes(store.read_bytes()[:5000])
    assert "damaged" in findings(treadle, code=1)["store"][0]["found"]


def test_a_table_that_is_stopped_is_named(folder: Path, treadle: Treadle) -> None:
    from tests.integration.cli.test_loads import load

    with closing(
        Store.open(f"sqlite:///{folder}/store.sqlite", load_cipher(folder / "secret.key"))
    ) as store:
        [source] = store.sources.list_sources()
        store.loads.record_failure(load(source.id, "orders", 3, "the key changed"), stopped=True)
    [found] = findings(treadle, code=1)["table"]
    assert "orders of web is stopped: the key changed" in found["found"]


def test_a_setting_that_is_none_is_a_finding(
    data: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_LOAD_ROW", "5")
    [found] = findings(treadle, code=1)["settings"]
    assert "did you mean TREADLE_LOAD_ROWS?" in found["found"]
    assert treadle("ledger").code == 2


def test_a_right_that_is_missing_in_postgresql(
    data: Path, treadle: Treadle, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database()
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    assert findings(treadle, "--destination", url, code=0)["destination"] == []
    with psycopg.connect(url, autocommit=True) as connection:
        made = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ 'treadle'")
        assert made.fetchall() == []
        connection.execute("CREATE ROLE examined LOGIN PASSWORD 'secret-word'")
    other = postgres_server.url(name, user="examined", password="secret-word")
    [found] = findings(treadle, "--destination", other, code=1)["destination"]
    assert "permission denied" in found["found"]
    assert "secret-word" not in json.dumps(found)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE examined")
