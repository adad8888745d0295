"""`treadle audit` after loads into a real destination, and after changes by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop
from tests.kinds import some_at_release

from treadle.cli.audit import explain_nothing
from treadle.log.protocol import TrimPoint
from treadle.log.sqlite.log import SqliteReader


@pytest.fixture(
    params=["duckdb", "postgres", *some_at_release("mariadb", "clickhouse", "redshift")]
)
def shop(request: pytest.FixtureRequest, data: Path, treadle: Treadle) -> Iterator[Shop]:
    fixtures = {
        "clickhouse": "clickhouse_url",
        "mariadb": "mariadb_url",
        "postgres": "postgres_database",
        "redshift": "redshift_url",
    }
    name = fixtures.get(request.param)
    url = None if name is None else request.getfixturevalue(name)
    made = Shop(data, treadle, url)
    made.push("orders", [{"id": 1, "a": "x"}, {"id": 2}, {"id": 3}], first=1, keys=("id",))
    made.push("orders", [{"id": 2, "a": "y"}, {"id": 4}], first=10, keys=("id",))
    made.push("orders", [{"id": 1, "a": "late"}], first=0, keys=("id",))
    made.push("events", [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}], first=1)
    made.push("events", [{"n": 5}], first=9)
    yield made
    made.close()


def test_what_was_loaded_is_there(shop: Shop, treadle: Treadle) -> None:
    found = shop.audit()
    assert {name: row["verdict"] for name, row in found.items()} == {
        "events": "as loaded",
        "orders": "as loaded",
    }
    orders, events = found["orders"], found["events"]
    assert (orders["accepted"], orders["loaded"], orders["superseded"]) == (6, 5, 1)
    assert (orders["rows"], events["rows"], events["looked_up"]) == (4, 5, 5)
    assert treadle("audit").out.split()[:2] == ["source", "table"]
    assert list(shop.audit("--table", "orders")) == ["orders"]
    assert shop.audit("--counts")["orders"]["looked_up"] == 0
    assert treadle("audit --table ordres").out == (
        "Nothing was compared: no records were accepted for a table 'ordres'.\n"
    )


def test_what_was_not_compared_is_a_sentence() -> None:
    assert "no load into" in explain_nothing(None, ())
    told = explain_nothing("orders", {"orders"})
    assert told.startswith("Nothing was compared: no load of 'orders' into the present destination")
    assert "`treadle replay`" in told


def test_rows_deleted_by_hand_are_found_and_named(shop: Shop) -> None:
    shop.change('DELETE FROM "web"."orders" WHERE id = 3')
    shop.change('DELETE FROM "web"."events" WHERE n IN (2, 5)')
    found = shop.audit()
    assert found["orders"]["differences"] == ["1 record of the log has no row: id 3 (position 1)"]
    [missing, short] = found["events"]["differences"]
    assert missing.startswith("2 records of the log have no row: __sdc_primary_key")
    assert short == "2 rows fewer than its loads wrote"
    # A later load of the same key brings the row back.
    shop.push("orders", [{"id": 3}], first=50, keys=("id",))
    assert shop.audit("--table", "orders")["orders"]["verdict"] == "as loaded"


def test_without_the_log_rows_of_each_load_are_counted(shop: Shop) -> None:
    reader = SqliteReader(shop.config.log_path)
    for source_id, name in reader.statistics.list_tables():
        reader.trim([TrimPoint(source_id, name, 10**6)])
    reader.close()
    assert shop.audit()["orders"]["verdict"] == "as loaded"
    shop.change('DELETE FROM "web"."events" WHERE n = 2')
    assert shop.audit()["events"]["differences"] == ["1 row fewer than its loads wrote"]


def test_folded_reports_are_compared_load_by_load(shop: Shop, treadle: Treadle) -> None:
    for n in range(3):
        shop.push("events", [{"n": 10 + n}], first=20 + n)
    before = shop.audit("--counts")
    later = shop.loader.clock() + 26 * 3_600_000_000
    shop.loader.clock = lambda: later
    shop.loader._fold_reports()
    loads = treadle("loads --table events --json").json
    assert (len(loads), sum(one["loads"] for one in loads)) == (2, 5)
    assert "4 loads" in treadle("loads --table events").out
    assert shop.audit("--counts") == before
    shop.change('DELETE FROM "web"."events" WHERE n = 11')
    [short] = shop.audit("--counts")["events"]["differences"]
    assert short == "1 row fewer than its loads wrote"


def test_other_changes_by_hand(shop: Shop) -> None:
    shop.change('UPDATE "web"."orders" SET _sdc_sequence = 2 WHERE id = 4')
    shop.change(
        'INSERT INTO "web"."events" (__sdc_primary_key, n, _sdc_batched_at)'
        ' SELECT \'copy\', n, _sdc_batched_at FROM "web"."events" WHERE n = 5'
    )
    found = shop.audit()
    assert found["orders"]["differences"] == [
        "1 row has a lower sequence than a record of the log: id 4 (position 2)"
    ]
    assert found["events"]["differences"] == ["1 row more than its loads wrote"]
    shop.change('DROP TABLE "web"."events"')
    assert shop.audit()["events"]["differences"] == ["the table is gone; its loads wrote 5 rows"]


def test_deletes_versions_and_rejections_are_no_differences(shop: Shop, treadle: Treadle) -> None:
    assert treadle("source options web --table hard hard_delete=true").code == 0
    shop.push("hard", [{"id": 1}, {"id": 2}], first=1, keys=("id",))
    gone = {"id": 1, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}
    shop.push("hard", [gone], first=5, keys=("id",))
    shop.push("turned", [{"id": 1}, {"id": 2}], first=1, keys=("id",), version=1)
    shop.push("turned", [{"id": 3}], first=5, keys=("id",), version=2, activations=[(1, 2)])
    shop.push("odd", [{"id": 1}, {"id": None}], first=1, keys=("id",))
    found = shop.audit()
    assert {name: found[name]["verdict"] for name in ("hard", "turned", "odd")} == dict.fromkeys(
        ("hard", "turned", "odd"), "as loaded"
    )
    assert [found[name]["rows"] for name in ("hard", "turned", "odd")] == [1, 1, 1]
    assert found["odd"]["rejected"] == 1
    shop.change('DELETE FROM "web"."hard" WHERE id = 2')
    shop.change('DELETE FROM "web"."turned" WHERE id = 3')
    found = shop.audit()
    assert "id 2 (position" in found["hard"]["differences"][0]
    assert "id 3 (position" in found["turned"]["differences"][0]


def test_a_destination_that_is_away_is_not_compared(data: Path, treadle: Treadle) -> None:
    shop = Shop(data, treadle, None)
    shop.push("events", [{"n": 1}], first=1)
    shop.config.warehouse_path.write_bytes(b"no database" * 1000)
    row = shop.audit()["events"]
    shop.close()
    assert (row["verdict"], "not a DuckDB database" in row["not_compared"]) == (
        "not compared",
        True,
    )


def test_sources_of_one_name_are_told_apart(data: Path, treadle: Treadle, tmp_path: Path) -> None:
    shop = Shop(data, treadle, None)
    shop.push("orders", [{"id": 1}, {"id": 2}], first=1, keys=("id",))
    other, _ = shop.store.accounts.create_account("other")
    place = f"duckdb://{tmp_path / 'elsewhere.duckdb'}"
    shop.store.destinations.set_default_destination(other.id, "duckdb", place, "elsewhere")
    assert treadle(f"source create Web --account {other.id}").code == 0
    shop.accept("orders", [{"id": 3}], first=5, keys=("id",))
    [line] = treadle("log stats --json").json
    assert (line["source"], line["records_waiting"]) == ("web", 1)
    orders = shop.audit()["orders"]
    assert (orders["accepted"], orders["loaded"], orders["rows"]) == (3, 2, 2)
    shop.close()
