"""What is pasted is taken for what it is, and copied as it is."""

import json

import pytest

from treadle.console.pasted_text import PastedBody, PasteKind, PasteRefusedError, read_pasted


def read(text: str, table: str = "t", keys: tuple[str, ...] = ("id",)) -> PastedBody:
    return read_pasted(text, table, keys, 7, 1000)


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": 1, "price": 1.10}, {"id": 2}]',
        '{"id": 1, "price": 1.10}\n\n{"id": 2}\n',
        '\ufeff  {"id": 1, "price": 1.10}\r\n{"id": 2}',
    ],
)
def test_records_become_a_push_with_their_digits(text: str) -> None:
    found = read(text)
    assert found.kind is PasteKind.RECORDS
    assert b'"data":{"id": 1, "price": 1.10}' in found.body
    first, second = json.loads(found.body)
    assert first == {
        "client_id": 7,
        "table_name": "t",
        "action": "upsert",
        "key_names": ["id"],
        "sequence": 1000,
        "data": {"id": 1, "price": 1.1},
    }
    assert second["sequence"] == 1001
    assert found.quote_record(1) == '{"id": 2}'
    assert found.quote_record_of("t", 1) == (1, '{"id": 2}')


def test_one_object_over_several_lines_is_one_record() -> None:
    assert len(json.loads(read('{"id": 1,\n "a": {\n}}').body)) == 1


def test_bodies_of_requests_are_taken_as_they_are() -> None:
    message = {
        "client_id": 1,
        "table_name": "a",
        "sequence": 5,
        "action": "upsert",
        "key_names": [],
        "data": {"x": 1},
    }
    body = json.dumps([message, {**message, "table_name": "b", "data": {"x": 2}}])
    found = read(body, table="")
    assert (found.kind, found.body.decode()) == (PasteKind.PUSH, body)
    assert found.quote_record_of("b", 0) == (1, '{"x": 2}')
    alone = read(json.dumps(message), table="")
    assert (alone.kind, json.loads(alone.body)) == (PasteKind.PUSH, [message])
    batch = json.dumps(
        {
            "table_name": "c",
            "schema": {},
            "messages": [{"action": "upsert", "sequence": 1, "data": {"y": 3}}, {"action": "x"}],
        }
    )
    found = read(batch, table="")
    assert (found.kind, found.body.decode()) == (PasteKind.BATCH, batch)
    assert found.quote_record_of("c", 0) == (0, '{"y": 3}')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Nothing was pasted"),
        ("[]", "The array is empty"),
        ("[1, 2", "begins as a JSON array, and is none"),
        ("id,name\n1,Ann", "Line 1 is no JSON object"),
        ('{"id": 1}\n{"id": ', "Line 2 is no JSON object"),
        ("[" * 100_000, "begins as a JSON array"),
        ('{"id": 1}\nnull', "Line 2 is no JSON object"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PasteRefusedError, match=said):
        read(text)


def test_plain_records_need_a_table() -> None:
    with pytest.raises(PasteRefusedError, match="name the table"):
        read('{"id": 1}', table="")


def test_hostile_text_is_bytes_that_can_be_sent() -> None:
    found = read('{"id": "\ud800\u202e<script>"}')
    assert b"<script>" in found.body
    assert "\u202e" not in found.quote_record(0)
