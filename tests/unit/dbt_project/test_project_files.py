"""The files of a project: what is in them, and when they are written."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from tests.unit.dbt_project.builders import ORDERS, load_tables, make_relation, make_table

from treadle.dbt_project.loaded_source import LoadedSource
from treadle.dbt_project.project_files import (
    FileAction,
    FileChange,
    ProjectChoice,
    is_ours,
    plan_file_changes,
    write_files,
)
from treadle.dbt_project.sources_file import FreshnessRule
from treadle.destinations.layout import REJECTED, REJECTED_COLUMNS
from treadle.tables.model import Relation, Table

CHOICE = ProjectChoice()


def read_source(files: dict[str, str], name: str = "shop") -> dict[str, Any]:
    document = yaml.safe_load(files[f"models/treadle/{name}/sources.yml"])
    assert document["version"] == 2
    [source] = document["sources"]
    assert isinstance(source, dict)
    return source


def test_a_source_is_described_with_its_tables_and_columns() -> None:
    source = read_source(write_files([load_tables(ORDERS)], CHOICE))
    tables = {table["name"]: table for table in source.pop("tables")}
    assert source == {
        "name": "shop",
        "description": "What treadle loaded of Shop.",
        "loader": "treadle",
        "schema": "shop",
        "quoting": {"schema": True, "identifier": True},
        "config": {"loaded_at_field": "_sdc_batched_at"},
    }
    assert list(tables) == ["orders", "orders__items", "orders__items__taxes"]
    assert tables["orders"]["identifier"] == "orders"
    columns = {column["name"]: column for column in tables["orders"]["columns"]}
    assert columns["id"] == {
        "name": "id",
        "quote": True,
        "data_type": "bigint",
        "data_tests": ["unique", "not_null"],
    }
    assert "data_tests" not in columns["customer__name"]
    assert columns["_sdc_batched_at"]["data_type"] == "timestamp with time zone"
    assert columns["_sdc_batched_at"]["description"]
    assert (
        tables["orders__items"]["description"]
        == "Elements of the array items in records of orders."
    )


def test_a_key_of_several_columns_and_an_odd_one_have_tests_of_their_own() -> None:
    odd = make_table(make_relation("odd", {'a"{{b': "text"}, ('a"{{b',)))
    files = write_files([load_tables(ORDERS, odd)], CHOICE)
    tests = sorted(path for path in files if path.startswith("tests/"))
    assert tests == [
        "tests/treadle/shop/key_of_shop__odd.sql",
        "tests/treadle/shop/key_of_shop__orders__items.sql",
        "tests/treadle/shop/key_of_shop__orders__items__taxes.sql",
    ]
    assert files[tests[1]].partition("\n")[2] == (
        'with keys as (\n    select\n        "_sdc_level_0_id" as key_1,\n'
        '        "_sdc_source_key_id" as key_2\n'
        "    from {{ source('shop', 'orders__items') }}\n)\n"
        "select key_1, key_2, count(*) as row_count\nfrom keys\ngroup by key_1, key_2\n"
        "having count(*) > 1\n    or key_1 is null\n    or key_2 is null\n"
    )
    source = read_source(files)
    [table] = [one for one in source["tables"] if one["name"] == "odd"]
    assert all("data_tests" not in column for column in table["columns"])


def test_freshness_is_of_root_tables() -> None:
    choice = ProjectChoice(freshness=FreshnessRule(90, 2880), database="loaded")
    source = read_source(write_files([load_tables(ORDERS)], choice))
    assert source["database"] == "loaded"
    assert source["config"]["freshness"] == {
        "warn_after": {"count": 90, "period": "minute"},
        "error_after": {"count": 2, "period": "day"},
    }
    assert [table.get("config", 0) for table in source["tables"]] == [
        0,
        {"freshness": None},
        {"freshness": None},
    ]


def test_the_same_tables_give_the_same_files_in_any_order() -> None:
    other = make_table(make_relation("Orders", {"id": "bigint"}, ("id",)))
    shop, web = load_tables(ORDERS, other), load_tables(ORDERS, name="web")
    files = write_files([shop, web], CHOICE)
    assert write_files([web, load_tables(other, ORDERS)], CHOICE) == files
    assert all(is_ours(text) and text.endswith("\n") for text in files.values())


def test_names_that_dbt_refuses_are_replaced_and_kept_as_identifiers() -> None:
    odd = make_table(make_relation('{{ "x" }}', {"id": "bigint"}, ("id",)))
    files = write_files([load_tables(odd)], ProjectChoice(prefix="raw_"))
    assert list(files) == [
        "models/treadle/shop/sources.yml",
        "models/treadle/shop/raw_shop___x_.sql",
    ]
    [table] = read_source(files)["tables"]
    assert table["name"] == "_x_"
    assert table["identifier"] == '{{ \'\\x7b\\x7b ""x"" \\x7d\\x7d\' }}'


def load_rejections(*tables: Table, columns: int = 6) -> LoadedSource:
    """A source with the table of rejected records, of a release that had so many columns."""
    relation = Relation((), REJECTED, REJECTED_COLUMNS[:columns], (), REJECTED)
    return replace(load_tables(*tables), rejections=relation)


@pytest.mark.parametrize(
    ("freshness", "config"), [(None, {}), (FreshnessRule(60), {"freshness": None})]
)
def test_rejected_records_are_a_table_without_a_model(
    freshness: FreshnessRule | None, config: dict[str, Any]
) -> None:
    choice = ProjectChoice(freshness=freshness)
    files = write_files([load_rejections(ORDERS)], choice)
    assert files.keys() == write_files([load_tables(ORDERS)], choice).keys()
    *others, table = read_source(files)["tables"]
    assert len(others) == 3
    columns = table.pop("columns")
    assert table == {
        "name": "_sdc_rejected",
        "identifier": "_sdc_rejected",
        "description": "Records and fields of this source that could not be stored, and why.",
        "config": {"loaded_at_field": "_sdc_rejected_at", **config},
    }
    assert [(one["name"], one["data_type"]) for one in columns] == [
        ("record", "text"),
        ("reason", "text"),
        ("table_name", "text"),
        ("_sdc_rejected_at", "timestamp with time zone"),
        ("code", "text"),
        ("field", "text"),
    ]
    assert all(one["description"] for one in columns)


def test_rejected_records_have_their_own_name_and_the_columns_that_are_there() -> None:
    odd = make_table(make_relation("_sdc rejected", {"id": "bigint"}, ("id",)))
    source = read_source(write_files([load_rejections(odd, columns=4)], CHOICE))
    named = {table["identifier"]: table for table in source["tables"]}
    assert named["_sdc_rejected"]["name"] == "_sdc_rejected"
    assert named["_sdc rejected"]["name"].startswith("_sdc_rejected_")
    assert [one["name"] for one in named["_sdc_rejected"]["columns"]] == [
        *("record", "reason", "table_name", "_sdc_rejected_at"),
    ]


def test_a_source_of_which_nothing_is_loaded_has_no_files() -> None:
    assert write_files([load_tables(), load_rejections()], CHOICE) == {}


OURS, THEIRS = "-- Written by `treadle dbt`, some time\nold\n", "select 1\n"


@pytest.mark.parametrize(
    ("wanted", "present", "changes"),
    [
        ({"a": "new"}, {}, [FileChange("a", FileAction.ADD, "new")]),
        ({"a": "new"}, {"a": OURS}, [FileChange("a", FileAction.CHANGE, "new")]),
        ({"a": "new"}, {"a": THEIRS}, [FileChange("a", FileAction.CHANGE, "new", is_foreign=True)]),
        ({"a": OURS}, {"a": OURS}, []),
        ({"a": THEIRS}, {"a": THEIRS}, []),
        ({}, {"a": OURS}, [FileChange("a", FileAction.REMOVE)]),
        ({}, {"a": THEIRS}, []),
    ],
)
def test_only_own_files_are_replaced_and_removed(
    wanted: dict[str, str], present: dict[str, str], changes: list[FileChange]
) -> None:
    assert plan_file_changes(wanted, present) == changes
