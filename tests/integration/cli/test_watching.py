"""`treadle status`, `problems` and `requests`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop
from tests.loads import load

from treadle.store.key_files import load_cipher
from treadle.store.store import Store
from treadle.traces.refusal_file import RefusalFile
from treadle.traces.refusals import KeptRefusal, RefusalGroup


@pytest.fixture
def shop(data: Path, treadle: Treadle) -> Iterator[Shop]:
    made = Shop(data, treadle, None)
    made.push("orders", [{"id": 1}], first=1)
    yield made
    made.close()


def refuse(data: Path, at: int) -> None:
    file = RefusalFile(data / "refusals", "worker 1")
    group = RefusalGroup("push", 401, "Not \x1b[31mAuthorized")
    file.add(KeptRefusal(at, group, "9f86d081", "192.0.2.7", 12, "said"))
    file.close()


def test_before_the_first_start(treadle: Treadle, data: Path) -> None:
    assert treadle("status").code == 2
    treadle("account create --name first")
    found = treadle("status --json").json
    assert found["totals"]["accepted"] == 0
    assert (found["problems"], found["processes"]) == ({}, {})
    assert "none was started" in treadle("status").out
    assert treadle("problems").out == "Nothing to act on.\n"
    assert treadle("problems --json").json == []
    assert treadle("requests --refused --json").json == []


def test_a_shop_at_one_look(treadle: Treadle, shop: Shop, data: Path) -> None:
    store = Store.open(f"sqlite:///{data / 'store.sqlite'}", load_cipher(data / "secret.key", None))
    [source, *_] = store.sources.list_sources()
    store.loads.record_failure(
        load(source.id, "stuck", 9, 1_700_000_000_000_000, error="no \x1b[31mkey"), stopped=True
    )
    store.close()
    refuse(data, 1_700_000_000_000_000)
    shown = treadle("status").out
    assert "accepted" in shown
    assert "1 critical; see `treadle problems`" in shown
    problems = treadle("problems").out
    assert "table_stopped" in problems
    assert "\x1b" not in problems
    refused = treadle("requests --refused").out
    assert "push" in refused
    assert "\x1b" not in refused
    rows = treadle("requests --json").json
    assert rows[-1]["state"] == "refused" or rows[0]["state"] == "refused"
    assert all(row["receipt"] for row in rows if row["state"] != "refused")
    assert treadle(f"requests --source {source.id} --json").json == [
        row for row in rows if row["source"] == source.name
    ]
    assert treadle("requests --limit 0").code == 2
    assert treadle("status --watch x").code == 2


def test_one_request_by_its_receipt(treadle: Treadle, shop: Shop) -> None:
    [pushed] = treadle("requests --json").json
    [line] = treadle(f"requests --receipt {pushed['receipt']} --json").json
    assert (line["table"], line["records"], line["state"]) == ("orders", 1, pushed["state"])
    assert "orders" in treadle(f"requests --receipt {pushed['receipt']}").out
    wrong = treadle("requests --receipt rc_wrong")
    assert wrong.code == 2
    assert "his is no receipt of this server" in wrong.err
