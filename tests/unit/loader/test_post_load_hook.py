from typing import Any

from tests.loads import load as plain

from treadle.loader.post_load_hook import build_hook_body
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


def test_all_rejected_means_no_bookmarks() -> None:
    [table] = build_hook_body(load(rows_rejected=111, tables={}), "shop")["tables"]
    assert (table["num_rows"], table["bookmark_metadata"]) == (0, None)
