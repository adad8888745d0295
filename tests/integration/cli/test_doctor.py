"""`treadle doctor` on a real folder, store, log and destination."""

import json
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.damage import append
from tests.integration.cli.conftest import Treadle
from tests.loads import load
from tests.servers.certificates import make_certificate
from tests.servers.postgres import PostgresServer

from treadle.clock import read_clock
from treadle.log.protocol import NewEntry
from treadle.maintenance.doctor import measurements
from treadle.store.key_files import load_cipher
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
    data.mkdir(0o700)
    mounts.write_text(f"22 1 8:1 / {data.resolve()} rw - tmpfs tmpfs rw\n")
    assert "tmpfs" in findings(treadle, code=1)["disk"][0]["found"]


def test_everything_in_place_is_well_and_stays_as_it_is(folder: Path, treadle: Treadle) -> None:
    before = {path.name for path in folder.iterdir()}
    findings(treadle, code=0)
    assert {path.name for path in folder.iterdir()} - before <= {"log.sqlite-lock"}
    out = treadle("doctor --quick").out
    assert "entries of the log" not in out
    assert "6 records wait" in out
    assert out.endswith(" 0 problems.\n")


def test_a_lost_or_wrong_key_is_found_and_no_other_made(folder: Path, treadle: Treadle) -> None:
    (folder / "secret.key").rename(folder / "kept")
    assert "is gone" in findings(treadle, code=1)["key"][0]["found"]
    assert not (folder / "secret.key").exists()
    (folder / "secret.key").write_text("0" * 64)
    (folder / "secret.key").chmod(0o644)
    assert "chmod 600" in findings(treadle, code=1)["key"][0]["found"]
    (folder / "secret.key").chmod(0o600)
    assert "not the one" in findings(treadle, code=1)["key"][0]["found"]


def test_damage_is_found(folder: Path, treadle: Treadle) -> None:
    connection = sqlite3.connect(folder / "log.sqlite")
    connection.execute("UPDATE entries SET crc = crc + 1 WHERE position = 3")
    connection.commit()
    connection.close()
    [found] = findings(treadle, code=1)["log"]
    assert "1 entry of the log is damaged, 2 are sound" in found["found"]
    (folder / "log.sqlite").write_bytes(b"no log" + (folder / "log.sqlite").read_bytes()[6:])
    assert "salvage" in findings(treadle, code=1)["log"][0]["remedy"]
    store = folder / "store.sqlite"
    store.write_bytes(store.read_bytes()[:5000])
    assert "damaged" in findings(treadle, code=1)["store"][0]["found"]


def test_a_table_that_is_stopped_is_named(folder: Path, treadle: Treadle) -> None:
    with closing(
        Store.open(f"sqlite:///{folder}/store.sqlite", load_cipher(folder / "secret.key"))
    ) as store:
        [source] = store.sources.list_sources()
        failed = load(source.id, "orders", 3, error="the key changed")
        store.loads.record_failure(failed, stopped=True)
    [found] = findings(treadle, code=1)["table"]
    assert "orders of web is stopped: the key changed" in found["found"]


def test_a_table_that_rejects_everything_is_named(folder: Path, treadle: Treadle) -> None:
    def open_store() -> "closing[Store]":
        cipher = load_cipher(folder / "secret.key")
        return closing(Store.open(f"sqlite:///{folder}/store.sqlite", cipher))

    why = "all 2 records of the last load were rejected; the first, 3.0: Column name x is reserved"
    with open_store() as store:
        [source] = store.sources.list_sources()
        refused = load(
            source.id, "orders", 3, rows_received=2, rows_rejected=2, details={"trouble": why}
        )
        store.loads.record_load(refused, [])
    [found] = findings(treadle, code=1)["table"]
    assert found["found"] == f"orders of web: {why}."
    with open_store() as store:
        some = replace(refused, id="some", last=4, rows_loaded=1, rows_rejected=1)
        store.loads.record_load(some, [])
    assert findings(treadle, code=0)["table"] == []  # odd, not bad
    assert f"orders of web: {why}" in treadle("doctor").out
    with open_store() as store:
        store.loads.record_load(load(source.id, "orders", 5), [])
    assert "orders of web" not in treadle("doctor").out


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


def odd(treadle: Treadle, *words: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Subject -> findings of that level."""
    done = treadle("doctor --json", *words)
    assert done.code == code
    found: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(done.out)["findings"]:
        if one["level"] == "odd":
            found.setdefault(one["subject"], []).append(one)
    return found


def test_the_folder_itself_is_judged(folder: Path, treadle: Treadle) -> None:
    folder.chmod(0o777)
    [found] = findings(treadle, code=1)["files"]
    assert f"The data folder {folder} can be changed by other users (mode 0777)" in found["found"]
    assert found["remedy"] == f"Run `chmod go-w {folder}`."
    for line in ("ledger", "log stats", "source list", "account create"):
        done = treadle(line)
        assert (done.code, "can be changed by other users" in done.err) == (2, True), line
    folder.chmod(0o755)
    assert "can be read by other users" in odd(treadle)["files"][0]["found"]
    done = treadle("source list")
    assert (done.code, done.err.count("Warning: The data folder")) == (0, 1)
    folder.chmod(0o700)
    assert "files" not in odd(treadle)
    assert treadle("source list").err == ""


def test_files_with_secrets_are_judged_wherever_they_are(
    folder: Path, treadle: Treadle, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("metrics_token = 'tttttttttttttttt'\n")
    file.chmod(0o644)
    said = [one["found"] for one in odd(treadle, "--config", str(file))["settings"]]
    assert any(f"settings file {file} can be read by other users" in text for text in said)
    done = treadle("source list", "--config", str(file))
    assert (done.code, f"settings file {file} can be read" in done.err) == (0, True)
    file.chmod(0o646)
    [found] = findings(treadle, "--config", str(file), code=1)["settings"]
    assert f"run `chmod go-w {file}`" in found["found"]
    done = treadle("source list", "--config", str(file))
    assert (done.code, "can be changed by other users" in done.err) == (2, True)


def test_an_address_that_the_server_would_not_take(treadle: Treadle) -> None:
    [found] = findings(treadle, "--host", "0.0.0.0", code=1)["settings"]  # noqa: S104
    assert "without TLS" in found["found"]


def test_a_certificate_is_examined(
    treadle: Treadle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_certificate(tmp_path, days=5)
    monkeypatch.setenv("TREADLE_TLS_CERT", str(files.cert))
    monkeypatch.setenv("TREADLE_TLS_KEY", str(files.key))
    [found] = odd(treadle)["certificate"]
    assert "for localhost, 127.0.0.1 expires in 4 days" in found["found"]
    files.replace(make_certificate(tmp_path, "old", days=-1))
    assert "has expired" in findings(treadle, code=1)["certificate"][0]["found"]
    files.key.chmod(0o644)
    assert "chmod go-wx,o-r" in findings(treadle, code=1)["certificate"][0]["found"]


def test_a_server_that_is_not_verified_is_told(
    treadle: Treadle, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = postgres_server.create_database()
    monkeypatch.setenv("TREADLE_DESTINATION", local)
    assert "destination" not in odd(treadle)
    remote = local.replace(
        f"127.0.0.1:{postgres_server.port}",
        f"127.0.0.1:{postgres_server.port},db.invalid:{postgres_server.port}",
    )
    monkeypatch.setenv("TREADLE_DESTINATION", remote)
    [found] = odd(treadle)["destination"]
    assert "sslmode=prefer, which does not verify the server" in found["found"]
    assert "sslmode=verify-full" in found["remedy"]


def test_the_password_may_be_in_the_file_of_libpq(
    treadle: Treadle,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres_server.create_database()
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    server, user = postgres_server, postgres_server.user
    bare = f"postgresql://{user}@127.0.0.1:{server.port}/{name}"
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert findings(treadle, "--destination", bare, code=1)["destination"]
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{server.port}:*:{user}:{server.password}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert findings(treadle, "--destination", bare, code=0)["destination"] == []
    assert treadle(f"query --destination {bare} --json", "SELECT 1 AS n").json == [{"n": 1}]


def test_a_password_in_a_flag_is_warned_about_by_every_command(
    treadle: Treadle, tmp_path: Path
) -> None:
    url = "postgresql://loader:5ecret@127.0.0.1:1/warehouse"
    found = odd(treadle, "--destination", url, code=1)["settings"]
    assert any("TREADLE_DESTINATION_FILE" in one["remedy"] for one in found)
    done = treadle(f"query --destination {url}", "SELECT 1")
    assert "Warning: The flag --destination holds a secret." in done.err
    assert "5ecret" not in done.err + done.out


def test_a_store_that_cannot_be_opened_is_not_called_damaged(
    folder: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr(measurements, "_open_read_only", refuse)
    monkeypatch.setattr(measurements, "is_read_only", lambda folder: True)
    found = findings(treadle, code=1)
    assert [one["found"] for one in found["store"]] == [
        "The store cannot be opened: its disk is mounted read-only."
    ]
    assert "mounted read-only" in found["disk"][0]["found"]
    assert found.get("log", []) == found.get("files", []) == []


def test_the_wrong_folder_is_a_finding(data: Path, treadle: Treadle) -> None:
    data.mkdir(0o700)
    [found] = odd(treadle)["files"]
    assert found["found"] == f"There is no treadle data in {data}."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_named_as_such(
    folder: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "MOUNTS_FILE", Path("/proc/self/mountinfo"))
    with tempfile.TemporaryDirectory() as place:  # the folders above `tmp_path` are root's alone
        Path(place).chmod(0o755)
        other = Path(shutil.copytree(folder, Path(place) / "data"))
        for mode, line, said in (
            (0o700, "status", "cannot be opened by this user"),
            (0o755, "doctor --quick", "The store cannot be opened: it belongs to root"),
        ):
            treadle(line, "--data", str(other))  # what it imports may be out of reach later
            other.chmod(mode)
            os.setresuid(65534, 65534, 0)
            try:
                done = treadle(line, "--data", str(other))
            finally:
                os.setresuid(0, 0, 0)
            assert said in done.out + done.err
            assert "damaged" not in done.out
            assert done.code in (1, 2)


def test_a_database_of_two_accounts_is_one_line(folder: Path, treadle: Treadle) -> None:
    assert treadle("account create --name Second").code == 0
    assert treadle("source create Shop --account Second").code == 0
    url = f"duckdb://{folder}/warehouse.duckdb"
    with closing(
        Store.open(f"sqlite:///{folder}/store.sqlite", load_cipher(folder / "secret.key"))
    ) as store:
        for account in store.accounts.list_accounts():
            store.destinations.set_default_destination(account.id, "duckdb", url, "here")
    said = treadle("doctor --quick").out
    assert said.count("warehouse.duckdb is made by the first load") == 1


def test_paused_sources_and_rejects_of_the_last_day_are_told(
    folder: Path, treadle: Treadle
) -> None:
    assert treadle("source pause web").code == 0
    with closing(
        Store.open(f"sqlite:///{folder}/store.sqlite", load_cipher(folder / "secret.key"))
    ) as store:
        [source] = store.sources.list_sources()
        now = read_clock()
        for position, age in ((3, 3600), (2, 90_000)):
            at = now - age * 1_000_000
            refused = load(source.id, "orders", position, rows_received=2, rows_rejected=2)
            store.loads.record_load(replace(refused, id=f"l{position}", finished_at=at), [])
    found = odd(treadle)
    assert [one["found"] for one in found["source"]] == ["The source web is paused."]
    assert [one["found"] for one in found["rejects"]] == [
        "2 records were rejected in the last day: orders of web (2)."
    ]
