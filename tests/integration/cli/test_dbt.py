"""`treadle dbt` on what is loaded: its SQL gives the same in DuckDB and PostgreSQL."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.dbt_render import DbtRenderer
from tests.integration.cli.shop import Shop

from treadle.cli.query import query_destination
from treadle.dbt_project.split_folding import fold_columns
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "dbt"
PAGE = ROOT / "docs" / "how-to" / "model-with-dbt.md"
ODD = ('{{ "x" }}', "a b", "A-b", "Größe", "it's", "a}}\n#{%", "1d")


@pytest.fixture(params=["duckdb", "postgres"])
def shop(
    request: pytest.FixtureRequest,
    data: Path,
    treadle: Treadle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgres" else None
    if url is not None:
        monkeypatch.setenv("TREADLE_DESTINATION", url)
    made = Shop(data, treadle, url)
    project = tmp_path / "analytics"
    project.mkdir()
    (project / "dbt_project.yml").touch()
    monkeypatch.chdir(project)
    yield made
    made.close()


def query(shop: Shop, sql: str) -> list[dict[str, Any]]:
    found = query_destination(shop.config.destination_url, sql)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def read_model(shop: Shop, name: str) -> list[dict[str, Any]]:
    return query(shop, DbtRenderer(Path()).render_model(name))


def find_files() -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(Path().glob("*/**/*")) if path.is_file()}


def test_fields_that_are_split_are_one_column(shop: Shop, treadle: Treadle) -> None:
    prices: list[Any] = [3, 3.5, 1e300, -(2**53)]
    mixed: list[Any] = [7, 2.5, "x", True, 1e15, 4.0, None]
    shop.push("prices", [{"id": n, "v": v} for n, v in enumerate(prices)], first=1, keys=("id",))
    shop.push("mixed", [{"id": n, "v": v} for n, v in enumerate(mixed)], first=1, keys=("id",))
    assert treadle("dbt").code == 0
    rows = {row["id"]: row["v"] for row in read_model(shop, "stg_web__prices")}
    assert rows == dict(enumerate(map(float, prices)))
    assert all(isinstance(value, float) for value in rows.values())
    rows = {row["id"]: row["v"] for row in read_model(shop, "stg_web__mixed")}
    assert rows == dict(enumerate(["7", "2.5", "x", "true", "1000000000000000", "4", None]))


TYPES = {
    "bi": ColumnType.BIGINT,
    "de": ColumnType.DECIMAL,
    "do": ColumnType.DOUBLE,
    "st": ColumnType.TEXT,
    "ti": ColumnType.TIMESTAMP,
}
EXACT = "cast('1234567890123456789.000000001' as numeric(38, 9))"


def fold(shop: Shop, **values: str) -> list[Any]:
    """What a field gives whose columns, by their suffix, each have a value in a row of its own."""
    columns = [Column(suffix, "field", TYPES[suffix]) for suffix in values]
    rows = (
        ", ".join(
            f"{sql if suffix == given else f'case when false then {sql} end'} as {suffix}"
            for suffix, sql in values.items()
        )
        for given in values
    )
    union = " union all ".join(f"select {place} as place, {row}" for place, row in enumerate(rows))
    statement = f"select {fold_columns(columns)} as found from ({union}) as t order by place"
    return [row["found"] for row in query(shop, statement)]


def test_what_is_folded_keeps_its_value(shop: Shop) -> None:
    shop.push("t", [{"id": 1}], first=1)
    whole, exact = fold(shop, bi="9007199254740993", de=EXACT)
    assert (whole, str(exact)) == (9007199254740993, "1234567890123456789.000000001")
    assert fold(shop, de=EXACT, do="cast(0.25 as double precision)") == [
        1234567890123456789.0,
        0.25,
    ]
    at = "cast('2026-01-31 12:00:00.25+02' as timestamp with time zone)"
    assert fold(shop, de=EXACT, st="'x'", ti=at) == [
        *("1234567890123456789.000000001", "x", "2026-01-31T10:00:00.25Z"),
    ]
    for value, text in (("100", "100"), ("1.50", "1.5"), ("0", "0"), ("-10.010", "-10.01")):
        assert fold(shop, de=f"cast({value} as numeric(38, 9))", st="'x'") == [text, "x"]
        assert fold(shop, de=f"cast({value} as numeric(38, 2))", st="'x'") == [text, "x"]
    assert fold(shop, de="cast(100 as numeric(38, 0))", st="'x'") == ["100", "x"]
    number, *_ = fold(shop, do="cast('NaN' as double precision)", bi="1")
    assert number != number


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_time_as_text_is_the_same_in_every_session(shop: Shop) -> None:
    columns = [Column("ti", "field", ColumnType.TIMESTAMP), Column("st", "field", ColumnType.TEXT)]
    statement = (
        f"select {fold_columns(columns)} from (select cast('2026-01-31 12:00:00+02' as timestamp"
        " with time zone) as ti, cast(null as text) as st) as t"
    )
    assert shop.config.destination is not None
    odd = "-c datestyle=German -c timezone=America/New_York"
    with psycopg.connect(shop.config.destination, options=odd) as connection:
        assert connection.execute(statement.encode()).fetchall() == [("2026-01-31T10:00:00Z",)]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)  # DuckDB has none
def test_decimals_beyond_the_doubles_break_no_query(shop: Shop) -> None:
    double = "cast(1 as double precision)"
    for value, expected in (("1e400", float("inf")), ("-1e400", float("-inf")), ("1e-400", 0.0)):
        assert fold(shop, de=f"cast('{value}' as numeric)", do=double) == [expected, 1.0]


ORDERS = [
    {"id": 1, "customer": {"name": "Ann"}, "items": [
        {"sku": "A", "qty": 2, "taxes": [{"rate": 5}, {"rate": 7}]},
        {"sku": "B", "qty": 1, "taxes": [{"rate": 9}]},
    ]},
    {"id": 2, "customer": {"name": "Bob"}, "items": [{"sku": "C", "qty": "many"}]},
]  # fmt: skip


def test_rows_of_arrays_have_the_fields_above_and_no_stale_ones(
    shop: Shop, treadle: Treadle
) -> None:
    assert treadle("source options web stale_children=keep").code == 0
    shop.push("orders", ORDERS, first=1, keys=("id",))
    newer = {"id": 1, "customer": {"name": "Ann"}, "items": [{"sku": "Z", "qty": 3}]}
    assert treadle("dbt").code == 0
    taxes = read_model(shop, "stg_web__orders__items__taxes")
    assert sorted(
        (row["orders__customer__name"], row["items__sku"], row["items__qty"], row["rate"])
        for row in taxes
    ) == [("Ann", "A", "2", 5), ("Ann", "A", "2", 7), ("Ann", "B", "1", 9)]
    shop.push("orders", [newer], first=5, keys=("id",))
    assert len(query(shop, "select * from web.orders__items")) == 3
    items = read_model(shop, "stg_web__orders__items")
    assert sorted((row["_sdc_source_key_id"], row["sku"], row["qty"]) for row in items) == [
        (1, "Z", "3"),
        (2, "C", "many"),
    ]
    assert read_model(shop, "stg_web__orders__items__taxes") == []
    rendered = DbtRenderer(Path())
    assert sorted(rendered.tests) == [
        "key_of_web__orders__items",
        "key_of_web__orders__items__taxes",
    ]
    for test in rendered.tests.values():
        assert query(shop, rendered.render(test)) == []


def test_rejected_records_are_in_the_sources_where_they_are(shop: Shop, treadle: Treadle) -> None:
    shop.push("orders", [{"id": 1}], first=1, keys=("id",))

    def count_rejected() -> int:
        rendered = DbtRenderer(Path())
        sql = rendered.render("select count(*) as n from {{ source('web', '_sdc_rejected') }}")
        [row] = query(shop, sql)
        return int(row["n"])

    assert treadle("dbt").code == 0
    assert count_rejected() == 0
    shop.push("orders", [{"id": 2**70}], first=2, keys=("id",))
    assert treadle("dbt --check").code == 0
    assert count_rejected() == 1
    shop.change("alter table web._sdc_rejected drop column field")
    assert treadle("dbt").out.startswith("~ models/treadle/web/sources.yml\n")
    tables = {one["name"]: one for one in DbtRenderer(Path()).sources["web"]["tables"]}
    assert [one["name"] for one in tables["_sdc_rejected"]["columns"]] == [
        *("record", "reason", "table_name", "_sdc_rejected_at", "code"),
    ]
    shop.change("drop table web._sdc_rejected")
    assert treadle("dbt").code == 0
    assert "_sdc_rejected" not in Path("models/treadle/web/sources.yml").read_text()


def test_appended_and_keyless_rows_are_joined_to_their_own(shop: Shop, treadle: Treadle) -> None:
    assert treadle("source options web loading_behavior=append --table visits").code == 0
    for first in (1, 1):
        shop.push("visits", [{"id": 1, "pages": ["a", "b"]}], first=first, keys=("id",))
    shop.push("hits", [{"at": 1, "pages": [["a"], ["b", "c"]]}, {"at": 1, "pages": ["d"]}], first=9)
    assert treadle("dbt").code == 0
    assert len(read_model(shop, "stg_web__visits__pages")) == 4
    inner = read_model(shop, "stg_web__hits__pages__value")
    assert sorted((row["_sdc_level_0_id"], row["value"], row["hits__at"]) for row in inner) == [
        (0, "a", 1),
        (1, "b", 1),
        (1, "c", 1),
    ]


def test_any_names_are_read(shop: Shop, treadle: Treadle) -> None:
    for place, name in enumerate(ODD):
        record = {"id": 1, f"c{name}": 1, name: [{name: name}]}
        shop.accept(name, [record], first=place * 10, keys=("id",))
    shop.accept("names", [{"id": 1, **{f"c{name}": 1 for name in ODD}}], first=1, keys=("id",))
    shop.loader.load_once()
    assert treadle("dbt --prefix", "raw_").code == 0
    rendered = DbtRenderer(Path())
    assert len(rendered.models) == 2 * len(ODD) + 1
    counts = (
        f"(select count(*) from ({rendered.render_model(name)}) as one)" for name in rendered.models
    )
    [row] = query(shop, f"select {' + '.join(counts)} as rows_of_all")
    assert row["rows_of_all"] == len(rendered.models)
    for test in rendered.tests.values():
        assert query(shop, rendered.render(test)) == []
    assert treadle("dbt --check --prefix", "raw_").code == 0


def test_the_model_of_the_example_project_gives_the_revenue(shop: Shop, treadle: Treadle) -> None:
    records = [json.loads(line) for line in (EXAMPLE / "orders.ndjson").read_text().splitlines()]
    shop.push("orders", records, first=1, keys=("id",))
    assert treadle("dbt").code == 0
    model = (EXAMPLE / "models" / "marts" / "revenue_by_customer.sql").read_text()
    rows = query(shop, DbtRenderer(Path()).render(model.replace("stg_shop__", "stg_web__")))
    assert sorted(tuple(row.values()) for row in rows) == [("Ann", 2, 7, 11.5), ("Bob", 1, 1, 3.0)]


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_the_commands_of_the_page_run(shop: Shop, treadle: Treadle) -> None:
    shop.push("orders", ORDERS, first=1, keys=("id",))
    lines = re.findall(r"(?m)^treadle (dbt .*)$", PAGE.read_text())
    assert len(lines) == 4
    for line in lines:
        done = treadle(line)
        assert done.code == 0, (line, done)
    named = re.findall(r"`(analytics/models/treadle/[\w./]+\.\w+)`", PAGE.read_text())
    assert len(named) == 2
    for path in named:
        assert Path(path.replace("shop", "web")).exists(), path


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_a_run_writes_what_changed_and_nothing_else(shop: Shop, treadle: Treadle) -> None:
    nothing = treadle("dbt")
    assert (nothing.code, nothing.err) == (0, "treadle: Nothing is loaded of web yet.\n")
    shop.push("orders", ORDERS, first=1, keys=("id",))
    assert treadle("dbt --check").code == 1
    assert find_files() == {}
    done = treadle("dbt --source web")
    assert "+ models/treadle/web/stg_web__orders__items.sql\n" in done.out
    assert done.out.endswith("6 files of 6 changed.\n")
    files = find_files()
    assert len(files) == 6
    again = treadle("dbt")
    assert (again.code, again.out) == (0, "Nothing changes: 6 files as it should be.\n")
    assert treadle("dbt --check --json").json == {"changes": [], "written": False, "files": 6}
    shop.push("orders", [{"id": 3, "note": "x"}], first=9, keys=("id",))
    checked = treadle("dbt --check")
    assert checked.code == 1
    assert checked.out.splitlines()[-1] == "4 files would change."
    assert find_files() == files
    assert treadle("dbt").code == 0
    assert '"note"' in find_files()["models/treadle/web/stg_web__orders.sql"]


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_files_of_others_stay_and_own_ones_go(shop: Shop, treadle: Treadle) -> None:
    shop.push("orders", ORDERS, first=1, keys=("id",))
    mine = Path("models/treadle/web/stg_web__orders.sql")
    mine.parent.mkdir(parents=True)
    mine.write_text("select 1\n")
    (mine.parent / "mart.sql").write_text("select 2\n")
    refused = treadle("dbt")
    assert refused.code == 2
    assert refused.err == (
        "treadle: Treadle did not write models/treadle/web/stg_web__orders.sql, so nothing was "
        "written. Move the file away, or replace it with --force.\n"
    )
    assert len(find_files()) == 2
    assert "needs --force" in treadle("dbt --check").out
    assert treadle("dbt --force").code == 0
    assert "customer__name" in mine.read_text()
    shop.change("drop table web.orders__items__taxes")
    assert treadle("dbt").out.splitlines()[:3] == [
        "~ models/treadle/web/sources.yml",
        "- models/treadle/web/stg_web__orders__items__taxes.sql",
        "- tests/treadle/web/key_of_web__orders__items__taxes.sql",
    ]
    shop.change("drop table web.orders")
    assert treadle("dbt --source web").code == 0
    assert list(find_files()) == ["models/treadle/web/mart.sql"]
    assert not Path("tests/treadle/web").exists()


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_files_have_the_rights_that_the_user_gives(
    shop: Shop, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.push("orders", [{"id": 1}], first=1, keys=("id",))
    former = os.umask(0o027)
    try:
        assert treadle("dbt --out", "deep/project").code == 0
    finally:
        os.umask(former)
    path = Path("deep/project/models/treadle/web/sources.yml")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(Path("deep").stat().st_mode) == 0o750


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_what_a_schema_says_of_fields_is_in_the_sources(
    shop: Shop, treadle: Treadle, tmp_path: Path
) -> None:
    item = {"type": "object", "properties": {"qty": {"description": "How many {{ pieces }}"}}}
    properties = {
        "customer": {"properties": {"name": {"description": "As on the invoice."}}},
        "items": {"description": "What was bought", "type": "array", "items": item},
    }
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"properties": properties}))
    assert treadle("source schema web orders --set", str(schema)).code == 0
    shop.push("orders", ORDERS, first=1, keys=("id",))
    assert treadle("dbt").code == 0
    tables = {table["name"]: table for table in DbtRenderer(Path()).sources["web"]["tables"]}
    [name] = [one for one in tables["orders"]["columns"] if one["name"] == "customer__name"]
    assert name["description"] == "As on the invoice."
    items = tables["orders__items"]
    assert items["description"].startswith("What was bought. Elements of the array items ")
    split = [one["description"] for one in items["columns"] if one["name"].startswith("qty")]
    assert len(split) == 2
    assert all(text.startswith("How many {{ pieces }}. The values of qty that") for text in split)


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_a_schema_of_another_source_is_not_described(shop: Shop, treadle: Treadle) -> None:
    shop.push("orders", [{"id": 1}], first=1, keys=("id",))
    shop.change("update _treadle.schemas set account_id = 99")
    refused = treadle("dbt")
    assert (refused.code, find_files()) == (2, {})
    assert "belongs to another source" in refused.err


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_what_cannot_be_meant_is_refused(shop: Shop, treadle: Treadle) -> None:
    for words, said in (
        (("--freshness", "6"), "--freshness is to be a number with s, m, h, d or w"),
        (("--freshness", "30s"), "whole minutes"),
        (("--freshness", "1h,2h,3h"), "one or two times"),
        (("--freshness", "2d,6h"), "fail later than it warns"),
        (("--prefix", "a b"), "lower-case letters"),
        (("--source", "none"), "There is no source"),
        (("--out", str(shop.data / "store.sqlite")), "is a file"),
    ):
        done = treadle("dbt", *words)
        assert done.code == 2
        assert said in done.err
    Path("dbt_project.yml").unlink()
    assert "no dbt_project.yml; name the project with --out" in treadle("dbt").err
    assert find_files() == {}


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_a_project_has_one_destination(shop: Shop, treadle: Treadle, tmp_path: Path) -> None:
    shop.push("orders", [{"id": 1}], first=1, keys=("id",))
    url = f"duckdb:///{tmp_path}/other.duckdb"
    assert treadle("destination create --name Other --ignore-unmapped-sources --url", url).code == 0
    [account] = shop.store.accounts.list_accounts()
    [other] = [row for row in shop.store.destinations.list_destinations() if row.name == "Other"]
    shop.store.sources.create_source(
        account.id,
        type="import_api",
        display_name="Else",
        name="else",
        destination_id=other.id,
        bootstrap_token=False,
    )
    refused = treadle("dbt")
    assert refused.code == 2
    assert "load into several destinations" in refused.err
    assert treadle("dbt --source web").code == 0
