"""`treadle trail`, and the event of every command that changes something."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop
from tests.loads import load

from treadle.cli.main import COMMANDS
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.rejects import add_rejects
from treadle.store.schema import outcomes, tables
from treadle.store.trail_event import ActorKind, StoreActor

READING = {
    "account list", "source list", "token list", "query", "plan", "loads", "ledger", "audit",
    "account token list", "metrics token list", "source show", "recipient list",
    "hook list", "hook deliveries", "destination list", "destination show",
    "status", "problems", "requests", "table list", "table show", "table history",
    "trail", "rejects causes", "rejects list", "rejects show", "log stats", "log verify", "log cat",
    "doctor", "user list", "export", "dbt", "members", "upgrade check",
    "push", "singer",  # send requests, as any client
    "serve",  # has events of its own, by the server
    "restore",  # has its event in the folder that it fills, in test_backup
    "log list",
    "log add", "log open", "log close",  # need logs on PostgreSQL, in test_log_set
    "cluster import",  # has its event in the store that it makes, in test_transfer
    "cluster init",  # as init
    "cluster status",  # needs a store on PostgreSQL
    "init",  # has its events in the store that it makes, in test_init
}  # fmt: skip

EXPLAINING = {"completion", "help", "version"}
"""Commands that open no data folder."""

SENDING = {"hook test", "recipient test"}
"""Commands that send something to others; their events are in `test_hook` and `test_recipients`."""

CHANGES: dict[str, tuple[str, str]] = {
    "upgrade finish": ("", "finish_upgrade"),
    "account create": ("--name Second", "create_account"),
    "account rename": ("Second Third", "rename_account"),
    "account quota": ("--account 1 sources=50", "set_quotas"),
    "account token create": ("--account 1", "create_account_token"),
    "account token expire": ("--account 1 {token} 90d", "expire_token"),
    "account token replace": ("--account 1 {token}", "replace_token"),
    "account token note": ("--account 1 {token} laptop", "describe_token"),
    "account token disable": ("--account 1 {token}", "disable_token"),
    "account token enable": ("--account 1 {token}", "enable_token"),
    "account token delete": ("--account 1 1", "revoke_account_token"),
    "account token revoke": ("--account 1 {token}", "revoke_account_token"),
    "user add": ("ann@example.com --role viewer --account 1", "add_user"),
    "user invite": ("ann@example.com", "invite_user"),
    "user role": ("ann@example.com operator", "change_role"),
    "user disable": ("ann@example.com", "disable_user"),
    "user enable": ("ann@example.com", "enable_user"),
    "user delete": ("ann@example.com", "delete_user"),
    "metrics token create": ("", "create_metrics_token"),
    "metrics token expire": ("{token} 90d", "expire_token"),
    "metrics token replace": ("{token}", "replace_token"),
    "metrics token note": ("{token} prometheus", "describe_token"),
    "metrics token revoke": ("{token}", "revoke_metrics_token"),
    "recipient add": ("a@example.com --account 1", "add_recipient"),
    "recipient disable": ("a@example.com --account 1", "disable_recipient"),
    "recipient enable": ("1 --account 1", "enable_recipient"),
    "recipient remove": ("1 --account 1", "remove_recipient"),
    "console": ("--account 1", "create_ephemeral_token"),
    "source create": ("Other --account 1", "create_source"),
    "source options": ("web split_mode=widen", "set_options"),
    "source quota": ("web tables=50", "set_quotas"),
    "source webhook": ("web table=hooks", "set_options"),
    "source schema": ("web orders --set {schema}", "set_table_schema"),
    "source rename": ("web Website", "change_source"),
    "source pause": ("web", "pause_source"),
    "source unpause": ("web", "unpause_source"),
    "token create": ("web", "create_import_token"),
    "token note": ("web {token} shop", "describe_token"),
    "token expire": ("web {token} 90d", "expire_token"),
    "token revoke": ("web {token}", "revoke_import_token"),
    "token replace": ("web {first} --overlap 0s", "replace_token"),
    "token import": ("web", "take_over_import_token"),
    "rejects resend": ("1.0", "resend_records"),
    "table load": ("web orders", "load_table"),
    "table retry": ("web stuck", "retry_table"),
    "replay": ("--source web --table orders --force", "replay_table"),
    "source adopt": ("web", "adopt_tables"),
    "log salvage": ("--anyway", "salvage_log"),
    "backup": ("{schema}.backup", "make_backup"),
    "hook create": ("https://example.com/x --account 1", "create_hook"),
    "hook update": ("1 --pause", "change_hook"),
    "hook send-again": ("1", "send_again"),
    "hook delete": ("1", "delete_hook"),
    "destination create": (
        "--account 1 --name Second --ignore-unmapped-sources --url duckdb:///{schema}.duckdb",
        "create_destination",
    ),
    "destination update": ("Second --name Third", "change_destination"),
    "destination check": ("2", "check_destination"),
    "destination move": ("web Third", "move_source"),
    "source move": ("web 2", "move_source"),
    "apply": ("{declaration} --yes", "create_account"),
    "destination delete": ("Third --yes", "delete_destination"),
    "source delete": ("web --yes", "delete_source"),
    "account delete": ("Third --yes", "delete_account"),
    "key rotate": ("", "rotate_key"),
}
"""In this order: command -> further words, and the action of its event."""

OUTSIDE_THE_STORE = {"replay_table", "resend_records", "adopt_tables", "salvage_log"}
"""Actions with an event before them and one after them."""


@pytest.fixture
def shop(data: Path, treadle: Treadle) -> Iterator[Shop]:
    made = Shop(data, treadle, None)
    made.push("orders", [{"id": 1}, {"id": 2}], first=1, keys=("id",))
    yield made
    made.close()


def reject_first_record(shop: Shop) -> None:
    with shop.store._database.write() as tx:
        table = tx.connection.execute(tables.select()).first()
        assert table is not None
        rejected = {"position": 1, "superseded": 0, "rejected": [[0, "odd"]]}
        tx.connection.execute(
            outcomes.insert().values(log_id=table.log_id, table_id=table.id, **rejected)
        )
        outcome = EntryOutcome(1, table.source_id, table.name, 0, (RecordRejection(0, "odd"),))
        add_rejects(tx, table, table.log_id, 0, [outcome])


def list_new(treadle: Treadle, seen: int) -> list[dict[str, Any]]:
    return [row for row in reversed(treadle("trail --json").json) if row["id"] > seen]


def test_every_command_is_known_to_change_or_to_read() -> None:
    known = READING | EXPLAINING | SENDING | CHANGES.keys()
    assert {" ".join(command.words) for command in COMMANDS} == known


def test_every_command_that_changes_has_its_events(
    shop: Shop, treadle: Treadle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text("{}")
    declaration = tmp_path / "declaration.toml"
    declaration.write_text('[[account]]\nname = "Declared"\n')
    reject_first_record(shop)
    [source] = shop.store.sources.list_sources()
    shop.store.loads.record_failure(load(source.id, "stuck", 9, error="no"), stopped=True)
    user = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: "a-token-of-another-service\n", raising=False)
    assert treadle("user add first@example.com").code == 0  # an admin, who stays
    for command, (words, action) in CHANGES.items():
        if command == "log salvage":
            shop.close()
        if command == "destination move":
            assert treadle("destination check Third").code == 0
        seen = treadle("trail --json --limit 1").json[0]["id"]
        ids = {"token": find_newest_token(treadle), "first": "", "schema": str(schema)}
        ids["declaration"] = str(declaration)
        if "{first}" in words:
            ids["first"] = treadle("token list web --json").json[0]["token_id"]
        done = treadle(f"{command} {words.format(**ids)}")
        assert done.code in (0, 1), (command, done.err)
        events = list_new(treadle, seen)
        assert {event["actor"] for event in events} == {f"command_line {user}"}, command
        assert {event["address"] for event in events} == {"local"}
        ends = [event["outcome"] for event in events if event["action"] == action]
        assert ends == (["begun", "done"] if action in OUTSIDE_THE_STORE else ["done"]), command


def find_newest_token(treadle: Treadle) -> str:
    """Return the id of the token that was made last; empty for none."""
    for row in treadle("trail --json --limit 1000").json:
        kind, _, rest = row["target"].partition(" ")
        if kind.endswith("_token") and row["action"].startswith("create_"):
            return str(rest.split()[0])
    return ""


def test_reading_leaves_no_event(shop: Shop, treadle: Treadle, tmp_path: Path) -> None:
    before = treadle("trail --json").json
    for command in READING - {
        "serve",
        "init",
        "cluster import",
        "cluster init",
        "cluster status",
        "push",
        "singer",
        "help",
        "version",
        "completion",
        "plan",
        "query",
        "rejects show",
        "token list",
        "source show",
        "dbt",
    }:
        treadle(command)
    treadle("token list web")
    treadle("query", "SELECT 1")
    assert treadle("dbt --out", str(tmp_path / "analytics")).code == 0
    assert treadle("trail --json").json == before


def test_events_are_filtered(shop: Shop, treadle: Treadle) -> None:
    other, _ = shop.store.for_actor(
        StoreActor(ActorKind.ACCOUNT_TOKEN, "7", "192.0.2.7")
    ).accounts.create_account("other")
    treadle("source pause web")
    [row] = treadle("trail --json --account other").json
    assert row["account"] == other.id
    assert (row["actor"], row["address"]) == ("account_token 7", "192.0.2.7")
    assert row["target"] == f"account {other.id} other"
    assert [each["action"] for each in treadle("trail --json --action pause_source").json] == [
        "pause_source"
    ]
    assert treadle("trail --json --outcome failed").json == []
    assert treadle("trail --json --until 2001-01-01").json == []
    assert len(treadle("trail --json --limit 2").json) == 2
    head, *lines = treadle("trail").out.splitlines()
    assert head.split()[:3] == ["id", "at", "actor"]
    assert "pause_source" in lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--action pause", "--action is to be one of"),
        ("--outcome ok", "--outcome is to be one of"),
        ("--limit 0", "--limit is to be"),
        ("--since x", "--since is to be a time"),
        ("--account nobody", "no account"),
    ],
)
def test_what_cannot_be_listed(shop: Shop, treadle: Treadle, words: str, said: str) -> None:
    done = treadle(f"trail {words}")
    assert done.code == 2
    assert said in done.err


def test_old_events_are_removed_by_the_server(shop: Shop, treadle: Treadle) -> None:
    assert treadle("trail --json").json
    shop.loader.audit_us = 0
    shop.loader.clock = lambda: 4_000_000_000_000_000
    reader = shop.loader.open_reader()
    trimmer = shop.loader.make_trimmer()
    trimmer.note_sight([], frozenset())
    trimmer.trim_due(reader)
    reader.close()
    assert treadle("trail --json").json == []
