"""`treadle replay` after changes by hand, and what it refuses."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop

from treadle.data_lock import take_lock
from treadle.log.protocol import TrimPoint
from treadle.log.sqlite.log import SqliteReader

REPLAY = "replay --source web --table orders"


@pytest.fixture(params=["duckdb", "postgres"])
def shop(request: pytest.FixtureRequest, data: Path, treadle: Treadle) -> Iterator[Shop]:
    """Three rows, of which one has a later state and one was deleted by hand."""
    url = request.getfixturevalue("postgres_database") if request.param == "postgres" else None
    made = Shop(data, treadle, url)
    made.push("orders", [{"id": 1, "a": "x"}, {"id": 2}, {"id": 3}], first=1, keys=("id",))
    made.push("orders", [{"id": 2, "a": "y"}], first=10, keys=("id",))
    made.change('DELETE FROM "web"."orders" WHERE id = 3')
    yield made
    made.close()


def test_a_table_is_compared_and_put_right(shop: Shop, treadle: Treadle) -> None:
    dry = treadle(REPLAY, "--dry-run", "--json")
    assert dry.code == 1
    parted = {"only_there": 0, "only_in_the_log": 1, "different": 0}
    told = {"source": "web", "table": "orders", "entries": 2, "records": 4, "position": 2}
    told |= {"built_in": None, "differs": True, "doubts": [], "swapped": False}
    assert json.loads(dry.out) == told | {"tables": [{"table": "orders"} | parted]}
    assert shop.audit()["orders"]["verdict"] == "differs"

    done = treadle(REPLAY)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == (
        "Built web.orders again from 4 records in 2 entries of the log, up to position 2."
    )
    assert done.out.splitlines()[-1] == "web.orders now holds the rebuilt rows."
    orders = shop.audit()["orders"]
    assert (orders["verdict"], orders["rows"], orders["looked_up"]) == ("as loaded", 3, 3)

    # Once more changes nothing, and loading goes on.
    done = treadle(REPLAY)
    assert (done.code, done.out.splitlines()[-1]) == (0, "The table holds the same.")
    shop.push("orders", [{"id": 1, "a": "z"}, {"id": 4}], first=20, keys=("id",))
    orders = shop.audit()["orders"]
    assert (orders["verdict"], orders["rows"]) == ("as loaded", 4)


def test_an_audit_sees_what_is_changed_after_a_replay(shop: Shop, treadle: Treadle) -> None:
    assert treadle(REPLAY).code == 0
    shop.change('DELETE FROM "web"."orders" WHERE id = 2')
    found = shop.audit()["orders"]["differences"]
    assert found == ["1 record of the log has no row: id 2 (position 2)"]
    shop.change('DROP TABLE "web"."orders"')
    gone = shop.audit()["orders"]
    assert gone["not_compared"] == "it is gone, and was not loaded since it was built again"
    assert treadle(REPLAY).code == 0
    assert shop.audit()["orders"]["verdict"] == "as loaded"


def test_what_is_built_can_be_kept(shop: Shop, treadle: Treadle) -> None:
    for _ in range(2):
        done = treadle(REPLAY, "--into", "again")
        assert (done.code, done.out.splitlines()[-1]) == (1, "It stays in the schema again.")
        ids = treadle("query", "SELECT id, a FROM again.orders ORDER BY id", "--csv")
        assert ids.out.split() == ["id,a", "1,x", "2,y", "3,"]
    # A part of the time, built beside it, and only compared.
    done = treadle(REPLAY, "--into", "before", "--to", "2001-01-01")
    assert "Beware: only a part of the log was taken, by the times that were given." in done.out
    assert "from 0 records in 0 entries" in done.out


def test_a_log_that_was_trimmed_swaps_nothing_unless_forced(shop: Shop, treadle: Treadle) -> None:
    reader = SqliteReader(shop.config.log_path)
    reader.trim([TrimPoint(shop.source_id, "orders", 1)])
    reader.close()
    done = treadle(REPLAY)
    assert done.code == 2
    assert "Nothing was swapped, because rows may be lost: the log no longer reaches" in done.err
    rows = "SELECT id FROM web.orders ORDER BY id"
    assert treadle("query", rows, "--csv").out.split() == ["id", "1", "2"]
    assert treadle(REPLAY, "--force").code == 0
    assert treadle("query", rows, "--csv").out.split() == ["id", "2"]


def test_what_is_refused(shop: Shop, treadle: Treadle) -> None:
    def refused(line: str, *words: str) -> str:
        done = treadle(line, *words)
        assert (done.code, done.out) == (2, "")
        return done.err

    said = refused("replay --source web --table order")
    assert "Nothing was ever accepted for a table 'order' of the source web" in said
    assert "there is orders" in said
    assert "no source 'wep'" in refused("replay --source wep --table orders")
    shop.change("CREATE SCHEMA theirs")
    shop.change("CREATE TABLE theirs._sdc_rejected (note varchar)")
    assert "schema theirs holds _sdc_rejected, which" in refused(REPLAY, "--into", "theirs")
    assert "is the schema of a source" in refused(REPLAY, "--into", "web")
    assert "cannot be a schema" in refused(REPLAY, "--into", "_treadle")
    assert "swap nothing" in refused(REPLAY, "--into", "again", "--force")
    assert "later than --from" in refused(REPLAY, "--from", "2026-01-02", "--to", "2026-01-02")
    assert "is to be a time" in refused(REPLAY, "--to", "noon")
    lock = take_lock(shop.data / "replay.lock", 0.0)
    assert "Another replay is at work" in refused(REPLAY)
    os.close(lock)
