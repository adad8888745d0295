"""`treadle table` shows what the store and the log know of tables."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.integration.cli.conftest import Treadle
from tests.loads import load

from treadle.store.key_files import load_cipher
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation
from treadle.store.store import Store

AT = 1_559_347_200_000_000


def fill(data: Path, source_id: int) -> None:
    columns = (KeptColumn("id", "id", "bigint", False, False),)
    kept = KeptColumns(("id",), (KeptRelation((), "orders", columns),))
    details = {
        "mode": "upsert",
        "table_version": 0,
        "left_out": [{"table": "orders", "field": "long", "reason": "too long"}],
        "schema_changes": [{"kind": "table_added", "relation": "orders", "columns": 1}],
    }
    made = replace(load(source_id, "orders", 1, AT), columns=kept, details=details)
    failed = load(source_id, "stuck", 2, AT, error="The key changed.")
    with closing(
        Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    ) as store:
        store.loads.record_load(made, [])
        store.loads.record_failure(failed, stopped=True)


def test_tables_are_listed_and_shown(data: Path, treadle: Treadle) -> None:
    assert treadle("account create").code == 0
    fill(data, treadle("source create Web --json").json["source_id"])
    lines = treadle("table list web").out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["table", "state"],
        ["orders", "idle"],
        ["stuck", "stopped"],
    ]
    found = treadle("table list web --state stopped --json").json
    assert [table["table"] for table in found["tables"]] == ["stuck"]
    assert found["states"]["idle"] == 1
    assert len(treadle("table list web --limit 1 --json").json["tables"]) == 1
    assert "State is some of idle" in treadle("table list web --state busy").err
    shown = treadle("table show web orders").out
    assert "web.orders: idle, key id, mode upsert, version 0" in shown
    assert "orders    id      id     bigint  no        2019-06-01T00:00:00.000000Z" in shown
    assert "too long" in shown
    assert "The key changed." in treadle("table show web stuck").out
    assert treadle("table show web orders --json").json["key"] == ["id"]
    missing = treadle("table show web none")
    assert (missing.code, missing.err) == (2, "treadle: Table not found (none).\n")


def test_the_history_of_a_table_has_a_line_for_each_change(data: Path, treadle: Treadle) -> None:
    assert treadle("account create").code == 0
    fill(data, treadle("source create Web --json").json["source_id"])
    lines = treadle("table history web orders").out.splitlines()
    assert lines[1].endswith("table orders made with 1 column")
    assert lines[2].endswith("field long of orders left out: too long")
    assert "The key changed." in treadle("table history web stuck").out
    [event] = treadle("table history web stuck --json").json["events"]
    assert event["kind"] == "table_stopped"


def test_loads_are_asked_for(data: Path, treadle: Treadle) -> None:
    assert treadle("account create").code == 0
    fill(data, treadle("source create Web --json").json["source_id"])
    done = treadle("table load web orders")
    assert done.out == "Asked for orders, of which 0 records wait.\n"
    assert treadle("table retry web stuck --json").json["state"] == "stopped"
    refused = treadle("table retry web orders")
    assert (refused.code, refused.out) == (2, "")
    assert "only one that failed or stopped is tried again" in refused.err
