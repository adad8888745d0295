import json
from typing import Any

from tests.loads import load as plain

from treadle.store.hook_body import build_hook_body, encode_hook_body, is_worth_a_delivery
from treadle.store.model import LoadReport


def load(**changes: Any) -> LoadReport:
    values: dict[str, Any] = {
        "rows_received": 111,
        "rows_loaded": 100,
        "rows_rejected": 11,
        "tables": {"myorders": 100, "myorders__items": 240},
        "details": {
            "relations": [["my-orders", "myorders"], ["items", "myorders__items"], ["x", "y"]],
            "batched_at": 1_563_201_908_026_999,
            "new_version": False,
            "table_version": 4,
            "extracted_max": 1_563_201_789_030_000,
            "bookmarks": [["updated_at", "2018", "2019"]],
        },
    }
    return plain(1, "my-orders", 2, **(values | changes))


def test_the_body_of_a_hook() -> None:
    at = "2019-07-15T14:43:09.030Z"
    assert build_hook_body(load(), "shop") == {
        "version": "1.0",
        "minimum_sdc_batched_at": "2019-07-15T14:45:08.026Z",
        "integration_name": "shop",
        "new_version": False,
        "source_root_table_name": "my-orders",
        "destination_root_table_name": "myorders",
        "table_version": 4,
        "tables": [
            {
                "source_table_name": "my-orders",
                "destination_table_name": "myorders",
                "num_rows": 100,
                "num_rows_rejected": 11,
                "bookmark_metadata": [
                    {"key": "updated_at", "min_value": "2018", "max_value": "2019"}
                ],
                "max_time_extracted": at,
            },
            {
                "source_table_name": "items",
                "destination_table_name": "myorders__items",
                "num_rows": 240,
                "num_rows_rejected": 0,
                "bookmark_metadata": None,
                "max_time_extracted": at,
            },
        ],
    }


def test_objects_and_keys_are_told_where_rows_are_in_objects() -> None:
    """Case connect-api.md 2.13: S3 destinations only, else left out."""
    found = load()
    found.details["objects"] = {"myorders": ["bucket/raw/shop/myorders/0_1.parquet"]}
    found.details["primary_keys"] = {
        "myorders": ["id"],
        "myorders__items": ["_sdc_source_key_id", "_sdc_level_0_id"],
    }
    root, items = build_hook_body(found, "shop")["tables"]
    assert [*root][3:6] == ["num_rows_rejected", "s3_objects", "primary_keys"]
    assert root["s3_objects"] == ["bucket/raw/shop/myorders/0_1.parquet"]
    assert root["primary_keys"] == ["id"]
    assert items["s3_objects"] == []
    assert items["primary_keys"] == ["_sdc_source_key_id", "_sdc_level_0_id"]


def test_all_rejected_means_no_bookmarks() -> None:
    [table] = build_hook_body(load(rows_rejected=111, tables={}), "shop")["tables"]
    assert (table["num_rows"], table["bookmark_metadata"]) == (0, None)


def test_what_an_earlier_loader_left_out_has_a_default() -> None:
    body = build_hook_body(plain(1, "orders", 2, at=1_563_201_908_026_999), "shop")
    assert body["minimum_sdc_batched_at"] == "2019-07-15T14:45:08.026Z"
    assert body["tables"] == [
        {
            "source_table_name": "orders",
            "destination_table_name": "orders",
            "num_rows": 1,
            "num_rows_rejected": 0,
            "bookmark_metadata": None,
            "max_time_extracted": None,
        }
    ]


def test_a_time_that_no_text_can_name_is_left_out() -> None:
    far = load(details={"extracted_max": 10**18})
    assert build_hook_body(far, "shop")["tables"][0]["max_time_extracted"] is None


def test_the_body_is_ascii_whatever_a_table_is_called() -> None:
    text = encode_hook_body(plain(1, "\ud800\0\u00e4", 2), "shop")
    assert text.isascii()
    assert json.loads(text)["source_root_table_name"] == "\ud800\0\u00e4"


def test_hooks_are_told_of_loads_that_loaded_or_rejected_or_activated() -> None:
    assert is_worth_a_delivery(load())
    assert is_worth_a_delivery(plain(1, "t", 2, rows_loaded=0, rows_rejected=1, tables={}))
    nothing = plain(1, "t", 2, rows_loaded=0, rows_discarded=1, tables={"t": 0})
    assert not is_worth_a_delivery(nothing)
    activated = plain(1, "t", 2, rows_loaded=0, tables={}, details={"new_version": True})
    assert is_worth_a_delivery(activated)
