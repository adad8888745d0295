"""A store on PostgreSQL from the command line: `treadle init`, and every command after it."""

import json
from pathlib import Path

import psycopg
import pytest
from tests.integration.cli.conftest import Treadle
from tests.servers.database_server import free_port

from treadle.config import Config
from treadle.server.startup import repair_log_at_start, set_up_store


@pytest.fixture
def url(postgres_database: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database without a store, which the environment names."""
    monkeypatch.setenv("TREADLE_STORE", postgres_database)
    monkeypatch.setenv("TREADLE_STORE_DURABILITY", "none")  # the servers of tests forget
    return postgres_database


def read_password(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["password"])


def examine(treadle: Treadle) -> dict[str, dict[str, str]]:
    """The doctor's findings by their subject."""
    findings: list[dict[str, str]] = json.loads(treadle("doctor --quick --json").out)["findings"]
    return {one["subject"]: one for one in findings}


def test_a_store_is_made_once(url: str, data: Path, treadle: Treadle) -> None:
    made = treadle("init --json").json
    assert (made["made"], made["accounts"], made["stitch_client_id"]) == (True, 1, 1)
    assert treadle("account list --json").json[0]["name"] == "default"
    assert {path.name for path in data.iterdir()} == {"secret.key"}
    [event] = [one for one in treadle("trail --json").json if one["action"] == "create_account"]
    assert event["actor"].startswith("command_line ")

    again = treadle("init")
    assert again.code == 0
    assert again.out == "The store is there already, with 1 account.\n"
    assert treadle("init --json").json == {
        "made": False,
        "accounts": 1,
        "stitch_client_id": None,
        "access_token": None,
    }
    # The token that was printed is the account's.
    [token] = treadle("account token list --json").json
    assert token["last_four"] == made["access_token"][-4:]


def test_a_person_is_told_the_token_and_to_keep_the_key(url: str, treadle: Treadle) -> None:
    made = treadle("init")
    assert made.out.startswith("Made the store, and its first account:\nstitch_client_id: 1\n")
    assert "access_token: " in made.out
    assert "secret.key, which no other machine has: keep a copy" in made.out
    assert read_password(url) not in made.out + made.err


def test_without_init_nothing_begins(url: str, data: Path, treadle: Treadle) -> None:
    data.mkdir(mode=0o700)
    (data / "secret.key").write_text("0" * 64)
    (data / "secret.key").chmod(0o600)
    for command in ("account list", "account create", "status", "serve --port 0"):
        refused = treadle(command)
        assert refused.code == 2, command
        assert "There is no store in postgresql://127.0.0.1" in refused.err, command
        assert "`treadle init`" in refused.err
        assert read_password(url) not in refused.err
    found = examine(treadle)
    assert found["store"]["level"] == "bad"
    assert found["store"]["remedy"].startswith("Run `treadle init` once")


def test_another_machine_needs_the_key(
    url: str, data: Path, treadle: Treadle, tmp_path: Path
) -> None:
    treadle("init")
    other = tmp_path / "other"
    for command in ("init", "account list"):
        refused = treadle(f"{command} --data {other}")
        assert refused.code == 2
        assert "copy the file from there (mode 0600), or set TREADLE_SECRET_KEY" in refused.err
        assert not (other / "secret.key").exists()
    other.mkdir(exist_ok=True, mode=0o700)
    (other / "secret.key").write_bytes((data / "secret.key").read_bytes())
    (other / "secret.key").chmod(0o600)
    assert len(treadle(f"account list --json --data {other}").json) == 1


def test_a_file_is_not_made_by_init(data: Path, treadle: Treadle) -> None:
    refused = treadle("init")
    assert refused.code == 2
    assert "name it with --store, TREADLE_STORE or in treadle.toml" in refused.err
    assert not data.exists()


def test_a_server_that_is_away_is_named_without_its_password(data: Path, treadle: Treadle) -> None:
    port = free_port()
    away = f"postgresql://ann:5ecret@127.0.0.1:{port},127.0.0.1:{free_port()}/treadle"
    data.mkdir(mode=0o700)
    (data / "secret.key").write_text("0" * 64)
    (data / "secret.key").chmod(0o600)
    for command in ("init", "account list", "serve --port 0"):
        refused = treadle(f"{command} --store {away}")
        assert refused.code == 2
        assert f"a server of postgresql://127.0.0.1:{port},127.0.0.1:" in refused.err
        assert "runs, takes writes and can be reached from here" in refused.err
        assert "5ecret" not in refused.err.replace("--store holds a secret", "")


def test_a_standby_is_no_store(data: Path, treadle: Treadle, url: str) -> None:
    treadle("init")
    with psycopg.connect(url, autocommit=True) as connection:
        name = psycopg.sql.Identifier(connection.info.dbname)
        change = "ALTER DATABASE {} SET default_transaction_read_only = on"
        connection.execute(psycopg.sql.SQL(change).format(name))
    refused = treadle("account list")
    assert refused.code == 2
    assert "session is read-only" in refused.err


@pytest.mark.parametrize("durability", ["single", "replicated"])
def test_a_server_that_forgets_is_refused_unless_that_is_named(
    url: str, treadle: Treadle, durability: str
) -> None:
    refused = treadle(f"init --store-durability {durability}")
    assert refused.code == 2
    assert "the store's server has fsync = off" in refused.err.lower()
    assert treadle("init").code == 0
    refused = treadle(f"serve --port 0 --store-durability {durability}")
    assert refused.code == 2
    assert "store_durability = none" in refused.err
    found = examine(treadle)
    assert found["store"]["level"] == "good"
    assert found["store"]["found"].endswith(" can be used.")
    assert found["key"]["level"] == "good"


def test_backups_say_what_they_cannot_do(url: str, treadle: Treadle, tmp_path: Path) -> None:
    treadle("init")
    for command in (f"backup {tmp_path / 'kept'}", f"restore {tmp_path / 'kept'}"):
        refused = treadle(command)
        assert refused.code == 2
        assert "back it up there, by pg_dump or point-in-time recovery" in refused.err
    assert not (tmp_path / "kept").exists()


def test_a_store_serves_one_log(url: str, data: Path, treadle: Treadle, tmp_path: Path) -> None:
    """Two data folders with one store would take each other's positions for their own."""
    treadle("init")
    config = Config.read({}, {"TREADLE_DATA": str(data), **environment(url)})
    set_up_store(config)
    repair_log_at_start(config)  # the first log may be any
    from treadle.server.factories import open_store

    store = open_store(config)
    store.use_log("elsewhere")
    store.close()
    refused = treadle("serve --port 0")
    assert refused.code == 2
    assert "The store belongs to the log elsewhere, and" in refused.err
    assert "`treadle init --replace-log`" in refused.err
    done = treadle("init --replace-log")
    assert done.out.endswith("What was accepted and not loaded is lost.\n")
    repair_log_at_start(config)


def environment(url: str) -> dict[str, str]:
    return {"TREADLE_STORE": url, "TREADLE_STORE_DURABILITY": "none"}


def test_the_url_may_be_in_a_file_and_the_password_in_another(
    url: str, data: Path, treadle: Treadle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREADLE_STORE")
    place = psycopg.conninfo.conninfo_to_dict(url)
    passwords, file = tmp_path / "passwords", tmp_path / "store.url"
    passwords.write_text(f"127.0.0.1:{place['port']}:*:*:{place['password']}\n")
    file.write_text(f"postgresql://{place['user']}@127.0.0.1:{place['port']}/{place['dbname']}\n")
    for path in (passwords, file):
        path.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert treadle(f"init --store-file {file}").code == 0
    data.joinpath("treadle.toml").write_text(f"store_file = '{file}'\n")
    data.joinpath("treadle.toml").chmod(0o600)
    assert len(treadle("account list --json").json) == 1
