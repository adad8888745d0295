"""Logs on PostgreSQL from the command line: `init --log`, `log add`, `list`, `open`, `close`."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.integration.cli.conftest import Treadle

from treadle.config import Config
from treadle.log import remote_registry
from treadle.log.protocol import LogInfo, LogState, NewEntry
from treadle.log.registry import has_log, open_appender, open_reader
from treadle.log.remote_registry import set_remote_state
from treadle.server.factories import open_store
from treadle.server.startup import check_logs_at_start, read_known_logs, set_up_store
from treadle.store.store import Store


@pytest.fixture
def url(postgres_database: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database without a store, which the environment names for store and logs."""
    for name in ("TREADLE_STORE_DURABILITY", "TREADLE_LOG_DURABILITY"):
        monkeypatch.setenv(name, "none")  # the servers of tests forget
    monkeypatch.setenv("TREADLE_STORE", postgres_database)
    monkeypatch.setenv("TREADLE_LOG", postgres_database)
    return postgres_database


@pytest.fixture
def config(url: str, data: Path) -> Config:
    return Config(
        data=data, store=url, log=url, store_durability="none", log_durability="none", workers=1
    )


def list_logs(treadle: Treadle) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = treadle("log list --json").json
    return found


def list_actions(treadle: Treadle) -> list[str]:
    return [
        one["action"]
        for one in treadle("trail --json").json
        if one["target"].partition(" ")[0] == "log"
    ]


def create_source(store: Store, name: str) -> int:
    """Make a source; return the number of its log."""
    source = store.sources.create_source(
        1, type="import_api", display_name=name, name=name, bootstrap_token=True
    )
    return source.log


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


async def append(config: Config, store: Store, source_id: int) -> int:
    appender = open_appender(config, store.logs)
    try:
        return await appender.append([NewEntry(source_id, "orders", 5, 1, b"[]")])
    finally:
        await appender.aclose()


def test_logs_are_made_with_the_store(
    url: str, data: Path, treadle: Treadle, config: Config
) -> None:
    made = treadle("init --logs 2 --json").json
    assert (made["made"], made["logs"]) == (True, [1, 2])
    # A second time nothing is made.
    assert treadle("init --logs 2 --json").json["logs"] == []
    place = url.rpartition("@")[2]
    found = list_logs(treadle)
    assert [(one["log"], one["state"], one["sources"], one["trouble"]) for one in found] == [
        (1, "open", 0, None),
        (2, "open", 0, None),
    ]
    assert {one["database"] for one in found} == {f"postgresql://{place}"}
    assert list_actions(treadle) == ["add_log"] * 2
    # No file is one of the logs, and new sources are shared out.
    set_up_store(config)
    check_logs_at_start(config)
    assert read_known_logs(config) == {}
    assert not config.log_path.exists()
    with closing(open_store(config)) as store:
        assert has_log(config, store.logs)
        assert [create_source(store, name) for name in "abc"] == [1, 2, 1]
        with closing(open_reader(config, store.logs)) as reader:
            assert reader.list_backlogs() == []
    assert not config.log_path.exists()


def test_a_log_is_added_drained_and_closed(
    url: str, treadle: Treadle, config: Config, tmp_path: Path
) -> None:
    import asyncio

    treadle("init")
    with closing(open_store(config)) as store:
        assert create_source(store, "a") == 1
        alone = treadle("log close 1")
        assert alone.code == 2
        assert "log 1 is the only one that takes new sources" in alone.err.lower()
        assert treadle("log add --logs 2").out.startswith("Added logs 2 to 3 at postgresql://")
        assert [create_source(store, name) for name in "bc"] == [2, 3]
        drained = treadle("log close 2 --json")
        assert drained.code == 1
        assert json.loads(drained.out) == {
            "log": 2,
            "state": "draining",
            "sources": 1,
            "records_waiting": 0,
        }
        assert [create_source(store, name) for name in "de"] == [1, 3]
        assert treadle("log open 2").out == "Log 2 takes new sources.\n"
        assert treadle("log close 2").code == 1
        [source] = [one for one in store.sources.list_sources() if one.log == 2]
        asyncio.run(append(config, store, source.id))
        store.sources.delete_source(1, source.id)
        waits = treadle("log close 2")
        assert waits.code == 1
        assert "0 sources and 1 waiting record do" in waits.out
        assert treadle("log close 2 --anyway").out == (
            "Log 2 is closed; nobody opens it any more.\n"
        )
        assert treadle("log close 2").code == 0
        refused = treadle("log open 2")
        assert refused.code == 2
        assert "Log 2 is closed, which is for good" in refused.err
        # Who had it open still cannot append.
        with psycopg.connect(url) as connection:
            states = connection.execute("SELECT state FROM treadle_log.logs ORDER BY number")
            assert [state for (state,) in states] == ["open", "closed", "open"]
        with closing(open_reader(config, store.logs)) as reader:
            assert reader.list_backlogs() == []
    assert [one["state"] for one in list_logs(treadle)] == ["open", "closed", "open"]
    assert list_actions(treadle) == [
        *("close_log", "drain_log", "open_log", "drain_log"),
        *["add_log"] * 3,
    ]
    assert treadle("log add --json").json[0]["log"] == 4


def test_a_source_that_is_made_during_a_close_can_be_pushed_to(
    url: str, treadle: Treadle, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[Callable[[], object]] = []

    def set_state(log: LogInfo, state: LogState) -> None:
        set_remote_state(log, state)
        if state is LogState.CLOSED:
            meanwhile.pop()()

    def read_states() -> list[str]:
        with psycopg.connect(url) as connection:
            states = connection.execute("SELECT state FROM treadle_log.logs ORDER BY number")
            return [state for (state,) in states]

    monkeypatch.setattr(remote_registry, "set_remote_state", set_state)
    treadle("init --logs 3")
    with closing(open_store(config)) as store:
        assert create_source(store, "a") == 1
        made: list[int] = []
        meanwhile.append(lambda: made.append(create_source(store, "b")))
        assert treadle("log close 2").code == 0
        assert made == [3]

        store.sources.delete_source(1, store.sources.list_sources()[-1].id)

        def open_and_use() -> None:
            store.logs.open_log(3)
            assert create_source(store, "c") == 3

        meanwhile.append(open_and_use)
        used = treadle("log close 3")
        assert used.code == 2
        assert "Log 3 has 1 source" in used.err
        assert read_states() == ["open", "closed", "draining"]

        # As a command leaves it that is killed at its last step.
        execute(url, "UPDATE treadle_log.logs SET state = 'closed' WHERE number = 3")
        assert treadle("log open 3").code == 0
        assert read_states() == ["open", "closed", "open"]


def test_what_waits_is_told_on_any_machine_from_all_logs(
    url: str, treadle: Treadle, config: Config
) -> None:
    import asyncio

    treadle("init --logs 2")
    assert treadle("status --json").json["totals"]["waiting"] == 0
    with closing(open_store(config)) as store:
        assert [create_source(store, name) for name in "ab"] == [1, 2]
        for source in store.sources.list_sources():
            asyncio.run(append(config, store, source.id))
    told = treadle("status --json").json
    assert (told["totals"]["waiting"], told["totals"]["accepted"]) == (2, 2)
    assert told["oldest_waiting_seconds"] > 1_000_000  # a clock of 1970
    assert told["logs_unread"] == {}
    assert [
        (one["entries_waiting"], one["records_waiting"], one["bytes_waiting"])
        for one in list_logs(treadle)
    ] == [(1, 1, 2)] * 2
    assert {one["oldest_waiting"] for one in list_logs(treadle)} == {"1970-01-01T00:00:00Z"}
    shown = treadle("status").out
    assert "not running, or it does not take requests yet, on this machine" in shown
    assert "rates and freshness are kept by members with the role control" in shown
    execute(url, "UPDATE treadle_log.logs SET log_id = 'another' WHERE number = 2")
    blind = treadle("status --json").json
    assert "another log has taken the place of log 2" in blind["problems_unknown"].lower()
    assert "2" in blind["logs_unread"]
    assert "cannot be looked for now" in treadle("status").out


def test_the_log_of_the_data_folder_ends_with_others_if_it_was_not_used(
    url: str, treadle: Treadle, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREADLE_LOG")
    treadle("init")
    with closing(open_store(config)) as store:
        assert create_source(store, "early") == 0
        treadle(f"log add --log {url}")
        [source] = store.sources.list_sources()
        assert source.log == 1
        store.use_log("a log of a folder")
    assert treadle("init --replace-log").code == 2


def test_a_log_that_is_used_goes_on_beside_others(
    url: str, treadle: Treadle, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREADLE_LOG")
    treadle("init")
    with closing(open_store(config)) as store:
        with closing(open_reader(config, store.logs)) as reader:
            [log_id] = reader.log_ids  # type: ignore[attr-defined]  # it stands for all
            store.use_log(log_id)
        refused = treadle(f"init --log {url}")
        assert refused.code == 2
        assert "add one there with `treadle log add`" in refused.err
        treadle(f"log add --log {url}")
        assert [create_source(store, name) for name in "ab"] == [0, 1]
        assert {one["log"] for one in list_logs(treadle)} == {0, 1}


def test_what_keeps_a_log_from_being_made(
    url: str, data: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weak = treadle("init --log-durability single")
    assert weak.code == 2
    assert "fsync is off" in weak.err
    treadle("init")
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("UPDATE treadle_log.logs SET installation = 'another'")
        connection.execute("DELETE FROM logs WHERE number = 1")
    taken = treadle("log add")
    assert taken.code == 2
    assert "has a log 1 of another treadle already" in taken.err
    assert treadle("log add --logs 0").code == 2
    assert "at most 64" in treadle("log add --logs 65").err
    monkeypatch.delenv("TREADLE_LOG")
    assert "Name the database of the new log with --log" in treadle("log add").err
    assert "name one" in treadle("init --logs 2").err
    monkeypatch.delenv("TREADLE_STORE")
    monkeypatch.setenv("TREADLE_DATA", str(tmp_path / "file"))
    assert treadle("account create").code == 0
    file = treadle(f"log add --log {url}")
    assert file.code == 2
    assert "A log on PostgreSQL needs a store on PostgreSQL" in file.err
    serve = treadle(f"serve --port 0 --log {url}")
    assert serve.code == 2
    assert "the store has no log there" in serve.err
    for done in (weak, taken, file, serve):
        assert str(psycopg.conninfo.conninfo_to_dict(url)["password"]) not in done.err


def test_a_start_checks_the_logs(url: str, treadle: Treadle, config: Config) -> None:
    treadle("init")
    weak = treadle("serve --port 0 --log-durability single")
    assert weak.code == 2
    assert "fsync is off" in weak.err
    assert "log_durability = none" in weak.err
    findings = treadle("doctor --json").out
    about = [one for one in json.loads(findings)["findings"] if one["subject"].startswith("log")]
    assert [(one["subject"], one["level"]) for one in about] == [
        ("log 1", "good"),
        ("log 1", "good"),
        ("log server", "good"),
    ]
    execute(url, "UPDATE treadle_log.logs SET log_id = 'another'")
    other = treadle("serve --port 0")
    assert other.code == 2
    assert "another log has taken the place of log 1" in other.err.lower()
    execute(url, "DROP SCHEMA treadle_log CASCADE")
    gone = treadle("serve --port 0")
    assert gone.code == 2
    assert treadle("log list").code == 0
    assert list_logs(treadle)[0]["trouble"]
