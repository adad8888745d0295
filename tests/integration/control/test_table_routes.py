"""`/v1/tables/{table}/schema`: set, shown and removed by an account for its own sources."""

from typing import Any
from urllib.parse import quote

import pytest
from tests.integration.control.api import Api

from treadle.store.table_schemas import TABLE_SCHEMA_BYTES_MAX

SCHEMA: dict[str, Any] = {"properties": {"at": {"type": "string", "format": "date-time"}}}


def path_of(table: str, source: int | None = None) -> str:
    query = "" if source is None else f"?source={source}"
    return f"/v1/tables/{quote(table, safe='')}/schema{query}"


def code(answer: Any) -> tuple[int, str]:
    return answer.status, answer.body["error"]


def test_a_schema_is_set_shown_and_removed(api: Api) -> None:
    source = api.create("Shop")["id"]
    assert code(api.get(path_of("orders"))) == (404, "InvalidId")
    made = api.put(path_of("orders"), SCHEMA)
    assert made.status == 200
    assert made.body == {
        "source_id": source,
        "table": "orders",
        "schema": SCHEMA,
        "updated_at": made.body["updated_at"],
    }
    assert api.get(path_of("orders", source)).body == made.body
    other: dict[str, Any] = {"properties": {}}
    assert api.put(path_of("orders"), other).body["schema"] == other
    assert api.delete(path_of("orders")).body["schema"] == other
    assert code(api.delete(path_of("orders"))) == (404, "InvalidId")
    assert code(api.get(path_of("orders"))) == (404, "InvalidId")


@pytest.mark.parametrize("table", ["a b", "a\nb", "schema", "records", "é\u202e"])
def test_any_name_of_a_table(api: Api, table: str) -> None:
    api.create("Shop")
    assert api.put(path_of(table), SCHEMA).body["table"] == table
    assert api.get(path_of(table)).body["table"] == table


def test_the_source_is_named_where_there_are_several(api: Api) -> None:
    assert code(api.put(path_of("t"), SCHEMA)) == (404, "InvalidId")
    first, second = api.create("First")["id"], api.create("Second")["id"]
    assert code(api.put(path_of("t"), SCHEMA)) == (404, "InvalidId")
    assert api.put(path_of("t", first), SCHEMA).body["source_id"] == first
    assert code(api.get(path_of("t", second))) == (404, "InvalidId")
    api.delete(f"/v4/sources/{second}")
    assert api.get(path_of("t")).body["source_id"] == first
    assert code(api.put(path_of("t", second), SCHEMA)) == (404, "InvalidId")


def test_another_account_knows_nothing_of_it(api: Api) -> None:
    source = api.create("Shop")["id"]
    api.put(path_of("t"), SCHEMA)
    _, token = api.another_account()
    for method in ("GET", "PUT", "DELETE"):
        answer = api.call(method, path_of("t", source), SCHEMA, token=token)
        assert code(answer) == (404, "InvalidId")
    assert api.get(path_of("t")).status == 200


@pytest.mark.parametrize(
    "body",
    [[], 5, None, {"properties": 5}, {"$ref": "http://elsewhere.example/"}, {"type": "decimal"}],
)
def test_a_schema_that_cannot_be_used(api: Api, body: object) -> None:
    api.create("Shop")
    assert code(api.put(path_of("t"), body)) == (400, "InvalidSchema")
    assert api.get(path_of("t")).status == 404


def test_all_schemas_of_a_source_have_a_limit(api: Api) -> None:
    api.create("Shop")
    half = {"properties": {}, "description": "x" * (TABLE_SCHEMA_BYTES_MAX // 2)}
    assert api.put(path_of("a"), half).status == 200
    assert code(api.put(path_of("b"), half)) == (400, "InvalidSchema")
    assert api.put(path_of("a"), half).status == 200  # in its own place
    assert api.put(path_of("b"), SCHEMA).status == 200
