"""What staging models select, and how they join."""

from tests.unit.dbt_project.builders import (
    ORDERS,
    load_tables,
    make_child,
    make_relation,
    make_table,
    model_tables,
)

from treadle.dbt_project.loaded_source import LoadedSource, name_relations
from treadle.dbt_project.model_names import NAME_BYTES_MAX
from treadle.dbt_project.staging_model import COLUMNS_MAX, list_columns, list_pairs, write_model

ROW = ["_sdc_batched_at", "_sdc_received_at", "_sdc_sequence", "_sdc_table_version"]


def test_a_table_is_read_with_its_key_first() -> None:
    assert write_model(model_tables(ORDERS)["orders"]) == (
        'select\n    "id",\n    "customer__name",\n    "_sdc_batched_at",\n'
        '    "_sdc_received_at",\n    "_sdc_sequence",\n    "_sdc_table_version"\n'
        "from {{ source('shop', 'orders') }}\n"
    )


def test_a_subtable_is_joined_by_key_and_sequence_and_has_the_fields_above() -> None:
    assert write_model(model_tables(ORDERS)["orders__items"]) == (
        "with child as (\n    select * from {{ source('shop', 'orders__items') }}\n),\n"
        "parent as (\n    select * from {{ ref('stg_shop__orders') }}\n)\n"
        'select\n    child."_sdc_source_key_id",\n    child."_sdc_level_0_id",\n'
        '    child."qty",\n    child."sku",\n'
        '    parent."customer__name" as "orders__customer__name",\n'
        '    child."_sdc_batched_at",\n    child."_sdc_received_at",\n'
        '    child."_sdc_sequence",\n    child."_sdc_table_version"\n'
        "from child\njoin parent\n"
        '    on child."_sdc_source_key_id" = parent."id"\n'
        '    and child."_sdc_sequence" = parent."_sdc_sequence"\n'
    )


def test_a_deeper_subtable_is_joined_by_the_indexes_above_too() -> None:
    taxes = model_tables(ORDERS)["orders__items__taxes"]
    assert list_pairs(taxes) == [
        ("_sdc_source_key_id", "_sdc_source_key_id"),
        ("_sdc_level_0_id", "_sdc_level_0_id"),
        ("_sdc_sequence", "_sdc_sequence"),
    ]
    assert [column.name for column in list_columns(taxes)] == [
        *("_sdc_source_key_id", "_sdc_level_0_id", "_sdc_level_1_id", "rate"),
        *("items__qty", "items__sku", "orders__customer__name"),
        *ROW,
    ]


def test_a_subtable_is_joined_to_the_root_where_the_one_between_is_gone() -> None:
    loaded = load_tables(ORDERS)
    [(table, physical)] = loaded.tables
    there = {name: one for name, one in physical.items() if name != "orders__items"}
    partial = LoadedSource("shop", "Shop", "shop", ((table, there),))
    [(_, [root, taxes])] = name_relations([partial], "stg_")
    assert taxes.parent is root
    assert list_pairs(taxes) == [
        ("_sdc_source_key_id", "id"),
        ("_sdc_sequence", "_sdc_sequence"),
    ]


def test_a_table_without_its_root_has_no_models() -> None:
    loaded = load_tables(ORDERS)
    [(table, physical)] = loaded.tables
    there = {name: one for name, one in physical.items() if name != "orders"}
    partial = LoadedSource("shop", "Shop", "shop", ((table, there),))
    assert name_relations([partial], "stg_") == [("shop", [])]


def test_rows_that_are_appended_are_joined_by_their_load() -> None:
    root = make_relation("visits", {"id": "bigint"}, ())
    child = make_child("visits__pages", {"value": "text"}, 1, "pages")
    models = model_tables(make_table(root, child, append=True))
    assert list_pairs(models["visits__pages"])[-1] == ("_sdc_batched_at", "_sdc_batched_at")


def test_a_split_field_is_one_column_with_the_name_of_the_field() -> None:
    columns = {"id": "bigint", "price__bi": "bigint price", "price__st": "text price"}
    model = model_tables(make_table(make_relation("orders", columns, ("id",))))["orders"]
    assert [column.name for column in list_columns(model)] == ["id", "price", *ROW]
    assert 'coalesce(cast("price__bi" as text), "price__st") as "price"' in write_model(model)


def test_names_of_fields_above_are_short_and_differ_from_those_of_the_row() -> None:
    long = "x" * 59
    root = make_relation("orders", {"id": "bigint", "a": "text", long: "text"}, ("id",))
    child = make_child("orders__items", {"Orders__A": "text"}, 1, "items")
    names = [
        one.name for one in list_columns(model_tables(make_table(root, child))["orders__items"])
    ]
    assert "Orders__A" in names
    assert "orders__a" not in names
    assert len({name.lower() for name in names}) == len(names)
    assert max(len(name.encode()) for name in names) == NAME_BYTES_MAX


def test_a_view_does_not_get_more_columns_than_it_may_have() -> None:
    many = {f"c{number}": "bigint" for number in range(COLUMNS_MAX - 8)}
    root = make_relation("orders", {"id": "bigint", **many}, ("id",))
    child = make_child("orders__items", {"a": "text", "b": "text", "c": "text"}, 1, "items")
    columns = list_columns(model_tables(make_table(root, child))["orders__items"])
    assert all(column.is_own for column in columns)
    wide = list_columns(
        model_tables(make_table(root, make_child("orders__x", {}, 1, "x")))["orders__x"]
    )
    assert len(wide) == COLUMNS_MAX - 8 + 6


def test_a_column_that_the_user_dropped_is_not_read() -> None:
    loaded = load_tables(ORDERS)
    [(table, physical)] = loaded.tables
    items = physical["orders__items"]
    columns = {name: one for name, one in items.columns.items() if name != "_sdc_sequence"}
    there = {**physical, "orders__items": type(items)(columns, items.key)}
    partial = LoadedSource("shop", "Shop", "shop", ((table, there),))
    [(_, [_, found, _])] = name_relations([partial], "stg_")
    assert list_pairs(found) == []
    assert "_sdc_sequence" not in write_model(found)
    assert "join" not in write_model(found)
