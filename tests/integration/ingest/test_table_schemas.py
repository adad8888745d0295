"""The schema of a table at every door: what does not fit is refused, what fits is typed by it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.servers.cases import ENV, OK, REC, VALID, compare, e422
from tests.servers.ingest import CLIENT, Answer, ImportServer
from tests.servers.loading import Warehouse

PUSH = "/v2/import/push"
RECORDS = "/v1/tables/orders/records?key=id"
HOOK_SETTINGS = {"webhook": {"table": "orders"}}
SCHEMA = {
    "properties": {
        "id": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "price": {"type": "number", "multipleOf": 0.01},
    }
}
GOOD: dict[str, Any] = {"id": 1, "at": "2026-01-02T03:04:05Z", "price": 0.1}
BAD: dict[str, Any] = {"id": 2, "at": 5, "price": "x"}


def set_schema(server: ImportServer, table: str = "orders", schema: Any = SCHEMA) -> None:
    source = server.store.sources.get_source(CLIENT, server.source_id)
    assert source is not None
    server.store.table_schemas.set_schema(source, table, json.dumps(schema).encode())
    server.ingest.token_cache.invalidate()


def make_record(data: dict[str, Any], table: str = "orders") -> dict[str, Any]:
    return REC | {"table_name": table, "data": data}


def refused(server: ImportServer, path: str, body: Any, records: str) -> Answer:
    answer = server.post(path, body)
    assert answer.status == 422
    assert answer.header("treadle-records") == records
    return answer


def test_every_door_holds_records_to_it(server: ImportServer) -> None:
    server.store.sources.update_source(CLIENT, server.source_id, settings=HOOK_SETTINGS)
    hook = f"/v1/clients/{CLIENT}/token/{server.token}"
    set_schema(server)
    body = [make_record(GOOD), make_record({"a": 1, "id": 1}, "other"), make_record(BAD)]
    answer = refused(server, PUSH, body, "2")
    [wrong] = answer.json()["errors"]
    assert sorted(wrong["reason"]["data"]) == [
        "#/at: expected type: String, found: Integer",
        "#/price: expected type: Number, found: String",
        "#: 2 schema violations found",
    ]
    refused(server, "/v2/import/validate", body, "2")
    planned = refused(server, f"{PUSH}?dry_run=1", body, "2")
    assert planned.json()["records"] == [2]
    refused(server, RECORDS, [GOOD, BAD, GOOD, BAD], "1,3")
    refused(server, hook, [GOOD, BAD], "1")
    assert server.accepted() == 0

    compare(server.post(PUSH, body[:2]), 201, OK)
    compare(server.post("/v2/import/validate", body[:2]), 200, VALID)
    compare(server.post(RECORDS, [GOOD]), 201, OK)
    compare(server.post(hook, GOOD), 200, OK)
    kept = [(batch.table_name, batch.form, batch.schema) for batch in server.batches()]
    text = json.dumps(SCHEMA).encode()
    assert kept == [
        ("orders", "schema", text),
        ("other", "json", b""),
        ("orders", "schema", text),
        ("orders", "schema", text),
    ]


def test_it_begins_and_ends_with_the_setting(server: ImportServer) -> None:
    source = server.store.sources.get_source(CLIENT, server.source_id)
    assert source is not None
    for _ in range(2):
        compare(server.post(PUSH, [make_record(BAD)]), 201, OK)
        set_schema(server)
        refused(server, PUSH, [make_record(BAD)], "0")
        server.store.table_schemas.remove_schema(source, "orders")
        server.ingest.token_cache.invalidate()
    compare(server.post(PUSH, [make_record(BAD)]), 201, OK)
    # Of another source it says nothing.
    set_schema(server)
    foreign = server.post(PUSH, [make_record(BAD) | {"client_id": 9999}], token=server.other_token)
    compare(foreign, 201, OK)


def test_batches_and_transit_keep_their_own_types(server: ImportServer) -> None:
    set_schema(server, ENV["table_name"], {"properties": {"id": {"type": "null"}}})
    compare(server.post("/v2/import/batch", ENV), 201, OK)
    raw = json.dumps([REC]).encode()
    compare(server.post(PUSH, raw, content_type="application/transit+json"), 201, OK)
    assert [batch.form for batch in server.batches()] == ["schema", "transit"]
    refused(server, PUSH, [REC], "0")


def test_a_large_push_and_a_costly_schema_go_to_a_task_process(server: ImportServer) -> None:
    """More than is checked where others wait; the answer is the same."""
    set_schema(server)
    good = [make_record(GOOD | {"id": at, "text": "x" * 250}) for at in range(15_000)]
    compare(server.post(PUSH, good), 201, OK)
    refused(server, PUSH, [*good[:-1], make_record(BAD)], "14999")
    alternatives = {"anyOf": [{"required": [f"f{at}"]} for at in range(400)]}
    set_schema(server, "orders", alternatives)
    answer = server.post(PUSH, [make_record({"id": at}) for at in range(300)])
    assert answer.status == 422
    assert server.ingest._executor._tasks.list_processes()
    set_schema(server, "orders", {"anyOf": [{"required": [f"f{at}"]} for at in range(12_000)]})
    costly = server.post(PUSH, [make_record({"id": at, "f11999": 1}) for at in range(1_500)])
    compare(
        costly,
        422,
        lambda said: (
            "makes too much work" in said["message"] or "cannot be used" in said["message"]
        ),
    )
    assert costly.header("treadle-records") is None
    compare(server.post(PUSH, [make_record(BAD, "other")]), 201, OK)


def test_a_reason_names_the_key_as_ever(server: ImportServer) -> None:
    set_schema(server)
    answer = server.post(PUSH, [make_record({"at": 5})])
    compare(answer, 422, e422({"data": ["data must include keys"]}))


def test_what_fits_is_typed_by_it(house: Warehouse) -> None:
    """Times and decimals, by plain JSON, become times and decimals in the table."""
    house.store.sources.update_source(CLIENT, house.source_id, settings=HOOK_SETTINGS)
    set_schema(house)
    compare(house.post(PUSH, [make_record(GOOD | {"other": "2026-01-01T00:00:00Z"})]), 201, OK)
    compare(house.post(RECORDS, [GOOD | {"id": 2}]), 201, OK)
    house.load()
    found = house.rows('id, epoch("at"), price, typeof("at"), typeof(price), other', "orders")
    second = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    decimal = next(iter({row[4] for row in found}))
    assert decimal.startswith("DECIMAL")
    assert found == [
        (1, second, Decimal("0.1"), "TIMESTAMP WITH TIME ZONE", decimal, "2026-01-01T00:00:00Z"),
        (2, second, Decimal("0.1"), "TIMESTAMP WITH TIME ZONE", decimal, None),
    ]
