"""Tables as streams (connect-api.md 3.11, 3.12)."""

import json
from typing import Any

from treadle.control.streams import make_schema, render_stream, render_stream_schema
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation, PushedTable


def column(name: str, type_: str, field: str | None = None, **flags: bool) -> KeptColumn:
    return KeptColumn(
        name, field or name, type_, flags.get("nullable", True), flags.get("system", False)
    )


SEQUENCE = column("_sdc_sequence", "bigint", system=True)


def kept(*relations: tuple[tuple[str, ...], tuple[KeptColumn, ...]]) -> KeptColumns:
    return KeptColumns(("id",), tuple(KeptRelation(path, "t", c) for path, c in relations))


def properties(*relations: tuple[tuple[str, ...], tuple[KeptColumn, ...]]) -> Any:
    return make_schema(kept(*relations))["properties"]


def test_a_stream_is_a_table_with_its_key() -> None:
    found = render_stream(PushedTable(7, "Orders", ("id", "region")))
    assert json.dumps(found) == (
        '{"selected": true, "stream_id": 7, "tap_stream_id": "Orders", "stream_name": "Orders", '
        '"metadata": {"selected": true, "table-key-properties": ["id", "region"]}}'
    )


def test_the_schema_is_a_json_document_in_a_text() -> None:
    columns = (
        SEQUENCE,
        column("id", "bigint", nullable=False),
        column("updated_at", "timestamp"),
    )
    found = render_stream_schema(kept(((), columns)))
    assert list(found) == ["schema", "metadata", "non-discoverable-metadata-keys"]
    assert found["schema"] == (
        '{"type":"object","properties":{"id":{"type":["integer"]},'
        '"updated_at":{"type":["null","string"],"format":"date-time"}}}'
    )
    assert found["metadata"] == [
        {"breadcrumb": [], "metadata": {"selected": True, "table-key-properties": ["id"]}},
        {
            "breadcrumb": ["properties", "id"],
            "metadata": {"inclusion": "automatic", "selected": True},
        },
        {
            "breadcrumb": ["properties", "updated_at"],
            "metadata": {"inclusion": "automatic", "selected": True},
        },
    ]
    assert found["non-discoverable-metadata-keys"] == []


def test_every_type_of_column_has_types_of_json() -> None:
    types = ("bigint", "boolean", "decimal", "double", "json", "text", "timestamp")
    found = properties(((), tuple(column(type_, type_) for type_ in types)))
    assert {name: schema["type"][1:] for name, schema in found.items()} == {
        "bigint": ["integer"],
        "boolean": ["boolean"],
        "decimal": ["number"],
        "double": ["number"],
        "json": ["object", "array"],
        "text": ["string"],
        "timestamp": ["string"],
    }


def test_a_split_field_has_all_of_its_types() -> None:
    columns = (
        column("price__do", "double", "price"),
        column("price__de", "decimal", "price"),
        column("price__st", "text", "price"),
        column("at__ti", "timestamp", "at"),
        column("at__st", "text", "at"),
    )
    assert properties(((), columns)) == {
        "at": {"type": ["null", "string"]},
        "price": {"type": ["null", "number", "string"]},
    }


def test_subtables_are_arrays_inside_of_each_other() -> None:
    found = properties(
        (("lines", "taxes"), (SEQUENCE, column("rate", "bigint"))),
        (("lines",), (SEQUENCE, column("sku", "text"))),
        ((), (column("id", "bigint", nullable=False),)),
        (("tags",), (column("value", "text"),)),
    )
    rate = {"type": ["null", "object"], "properties": {"rate": {"type": ["null", "integer"]}}}
    assert found["lines"] == {
        "type": ["null", "array"],
        "items": {
            "type": ["null", "object"],
            "properties": {
                "sku": {"type": ["null", "string"]},
                "taxes": {"type": ["null", "array"], "items": rate},
            },
        },
    }
    assert found["tags"]["items"]["properties"] == {"value": {"type": ["null", "string"]}}
    assert list(found) == ["id", "lines", "tags"]


def test_a_field_may_be_a_value_and_an_array() -> None:
    found = properties(((), (column("a", "text"),)), (("a",), (column("value", "bigint"),)))
    assert found["a"]["type"] == ["null", "string", "array"]
    assert found["a"]["items"]["properties"] == {"value": {"type": ["null", "integer"]}}


def test_an_array_in_an_array_that_is_not_there_has_its_place() -> None:
    found = properties((("a", "b"), (column("x", "bigint"),)))
    inner = found["a"]["items"]["properties"]["b"]["items"]["properties"]
    assert inner == {"x": {"type": ["null", "integer"]}}


def test_a_table_that_was_never_loaded_has_no_fields() -> None:
    found = render_stream_schema(KeptColumns((), ()))
    assert found["schema"] == '{"type":"object","properties":{}}'
    assert found["metadata"] == [
        {"breadcrumb": [], "metadata": {"selected": True, "table-key-properties": []}}
    ]
