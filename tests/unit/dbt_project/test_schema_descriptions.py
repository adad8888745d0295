"""Descriptions of a JSON schema, by relation and field."""

from typing import Any

import pytest

from treadle.dbt_project.schema_descriptions import find_descriptions


def test_objects_are_flattened_and_arrays_are_subtables() -> None:
    rate = {"properties": {"rate": {"description": "Percent"}}}
    schema = {
        "description": "Not of a field",
        "properties": {
            "Id": {"description": " The key \n"},
            "Geo": {"description": "Place", "properties": {"Lat": {"description": "North"}}},
            "items": {
                "description": "Bought",
                "items": {"properties": {"taxes": {"items": rate}}},
            },
            "tags": {"items": {"description": "A tag"}},
            "grid": {"items": {"items": {"description": "A cell"}}},
        },
    }
    assert find_descriptions(schema, str.lower) == {
        ((), "id"): "The key",
        ((), "geo"): "Place",
        ((), "geo__lat"): "North",
        ((), "items"): "Bought",
        (("items", "taxes"), "rate"): "Percent",
        (("tags",), "value"): "A tag",
        (("grid", "value"), "value"): "A cell",
    }


@pytest.mark.parametrize(
    "schema",
    [None, True, [], {}, {"properties": [1]}, {"properties": {"a": True, "b": {"description": 1}}}],
)
def test_what_is_no_description_is_none(schema: Any) -> None:
    assert find_descriptions(schema, str) == {}
