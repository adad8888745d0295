"""Schemas of tables: which records fit, what is said of others, and what that may cost."""

import json
import time
from typing import Any

import pytest

from treadle.errors import RequestRefusedError
from treadle.records import push, table_schema
from treadle.records.message_batch import MessageBatch
from treadle.records.table_schema import FAILURES_MAX, RecordFailure
from treadle.records.validation.effort import Effort, EffortSpentError, make_request_effort
from treadle.records.validation.schema_loader import SchemaError

SCHEMA = json.dumps(
    {
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "price": {"type": ["null", "number"], "multipleOf": 0.01},
        }
    }
).encode()
SCHEMAS = {"orders": SCHEMA}
GOOD: dict[str, Any] = {"id": 1, "at": "2026-01-01T00:00:00Z", "price": 1.5}
WRONG = ["#/at: [yesterday] is not a valid date-time. Expected [yyyy-MM-dd'T'HH:mm:ssZ]"]


def make_batches(*records: tuple[str, dict[str, Any]], transit: bool = False) -> list[MessageBatch]:
    body = [
        {"client_id": 1, "table_name": table, "sequence": at, "action": "upsert"}
        | {"key_names": ["id"], "data": data}
        for at, (table, data) in enumerate(records)
    ]
    raw = json.dumps(body).encode()
    return push.check_body(push.decode_body(raw, transit=transit), 1)


def find(batches: list[MessageBatch], schemas: Any = SCHEMAS) -> list[RecordFailure]:
    found = table_schema.find_failures(batches, schemas, make_request_effort(10_000))
    question = table_schema.encode_question(batches, schemas)
    encoded = table_schema.find_encoded_failures(question)
    assert table_schema.decode_failures(encoded) == found
    return found


def test_records_that_fit_get_the_schema_of_their_table() -> None:
    batches = make_batches(("orders", GOOD), ("other", GOOD), ("orders", GOOD | {"price": None}))
    assert find(batches) == []
    orders, other = table_schema.add_schemas(batches, SCHEMAS)
    assert (orders.table_name, orders.form, orders.schema) == ("orders", "schema", SCHEMA)
    assert (orders.data, orders.sequences, orders.key_names) == (
        batches[0].data,
        batches[0].sequences,
        ("id",),
    )
    assert other == batches[1]


def test_records_that_do_not_fit_are_named_by_their_place_in_the_table() -> None:
    bad = GOOD | {"at": "yesterday"}
    batches = make_batches(("orders", GOOD), ("other", bad), ("orders", bad), ("orders", GOOD))
    [failure] = find(batches)
    assert (failure.table_name, failure.place) == ("orders", 1)
    assert failure.lines[0].startswith("#/at: ")


def test_a_table_that_changes_its_key_names_is_counted_on() -> None:
    batches = make_batches(("orders", GOOD), ("orders", GOOD | {"at": 5}))
    first, second = make_batches(("orders", GOOD)), make_batches(("orders", GOOD | {"at": 5}))
    assert [one.place for one in find(batches)] == [1]
    assert [one.place for one in find([*first, *second])] == [1]


def test_only_the_first_of_many_are_explained() -> None:
    batches = make_batches(*[("orders", GOOD | {"at": at}) for at in range(100)])
    found = find(batches)
    assert [one.place for one in found] == list(range(FAILURES_MAX))


def test_transit_and_batches_have_their_types_already() -> None:
    bad = make_batches(("orders", GOOD | {"at": "yesterday"}), transit=True)
    assert find(bad) == []
    assert table_schema.add_schemas(bad, SCHEMAS) == bad


def test_odd_texts_are_read_as_everywhere() -> None:
    raw = (
        b'[{"client_id":1,"table_name":"orders","sequence":1,"action":"upsert","key_names":["id"],'
        b'"data":{"id":"\\ud800","price":1e400}}]'
    )
    batches = push.check_body(push.decode_body(raw, transit=False), 1)
    assert find(batches) == []
    strict = {"orders": b'{"properties":{"id":{"type":"integer"}}}'}
    assert [one.lines for one in find(batches, strict)] == [
        ["#/id: expected type: Number, found: String"]
    ]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"5",
        b"[]",
        b"{",
        b"\xff",
        b'{"properties":5}',
        b'{"type":"none"}',
        b'{"$ref":"http://x/"}',
        b'{"a":' * 300 + b"1" + b"}" * 300,
    ],
)
def test_what_can_be_no_schema(document: bytes) -> None:
    with pytest.raises(SchemaError):
        table_schema.prepare_schema(document)


def test_a_schema_is_kept_without_its_blanks() -> None:
    sent = b'\xef\xbb\xbf { "a" : [ 1.50 , 1e400, "\xc3\xa9 \\ud800" ] }\n'
    assert table_schema.prepare_schema(sent) == b'{"a":[1.50,1e400,"\xc3\xa9 \\ufffd"]}'


def test_a_schema_that_takes_too_much_effort_is_refused_when_it_is_set() -> None:
    patterns = {f"f{at}": {"pattern": "(x{1,250}){1,90}"} for at in range(500)}
    before = time.thread_time()
    with pytest.raises(SchemaError):
        table_schema.prepare_schema(json.dumps({"properties": patterns}).encode())
    assert time.thread_time() - before < 5


def test_the_effort_of_a_request_bounds_the_check() -> None:
    schema = {"anyOf": [{"required": [f"f{at}"]} for at in range(1_000)]}
    schemas = {"orders": json.dumps(schema).encode()}
    batches = make_batches(*[("orders", {"id": at}) for at in range(2_000)])
    with pytest.raises(EffortSpentError):
        table_schema.find_inline_failures(batches, schemas)
    with pytest.raises(EffortSpentError):
        table_schema.find_failures(batches, schemas, Effort(1_000))


def test_a_schema_that_cannot_be_used_any_more_is_refused_with_its_table() -> None:
    with pytest.raises(RequestRefusedError) as refused:
        find(make_batches(("orders", GOOD)), {"orders": b'{"properties":5}'})
    assert refused.value.status == 422
    assert "the table orders cannot be used" in str(refused.value.body)


def test_the_places_of_records_in_a_body() -> None:
    body = b"""\xef\xbb\xbf[
     {"table_name":"a","action":"upsert","data":{"x":[{}]}},
     {"table_name":"b","action":"upsert"}, {"table_name":"a","action":"switch_view"},
     {"table_name":"a","action":"upsert"}]"""
    assert push.locate_records(body) == {"a": [0, 3], "b": [1]}
