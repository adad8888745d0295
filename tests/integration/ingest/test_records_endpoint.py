"""`POST /v1/tables/{table}/records`: bare records."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.cases import NOT_ACTIVE, OK, compare, e422, env, malformed, rec
from tests.servers.ingest import Answer, ImportServer

from treadle.records.message_batch import MessageBatch


class Door(ImportServer):
    def write(self, body: bytes, path: str = "/v1/tables/people/records?key=id") -> Answer:
        return self.post(path, body, content_type="application/x-ndjson")

    def one(self) -> MessageBatch:
        (batch,) = self.batches()
        return batch


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    with door.running():
        yield door
    door.store.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":1,"n":1.50}\n{"id":2}\n',
        b'\xef\xbb\xbf{"id":1,"n":1.50}\r\n\r\n{"id":2}',
        b'[{"id":1,"n":1.50},{"id":2}]',
        b' [ {"id":1,"n":1.50} , {"id":2} ] ',
    ],
)
def test_lines_and_arrays(door: Door, body: bytes) -> None:
    answer = door.write(body)
    compare(answer, 201, OK)
    assert (answer.header("treadle-receipt") or "").startswith("rc_")
    batch = door.one()
    assert batch.data == b'[{"id":1,"n":1.50},{"id":2}]'
    assert (batch.table_name, batch.key_names, batch.form) == ("people", ("id",), "json")


def test_one_object_over_several_lines(door: Door) -> None:
    compare(door.write(json.dumps({"id": 1}, indent=2).encode()), 201, OK)
    assert json.loads(door.one().data) == [{"id": 1}]


def test_generated_sequences_grow(door: Door) -> None:
    for _ in range(3):
        compare(door.write(b'{"id":1}\n' * 1000), 201, OK)
    found = [sequence for batch in door.batches() for sequence in batch.sequences]
    assert len(set(found)) == 3000
    assert sorted(found) == found
    assert 1_600_000_000_000_000_000 < found[0] < 2**63


def test_sequences_of_the_sender(door: Door) -> None:
    path = "/v1/tables/people/records?key=id&sequence=version"
    compare(door.write(b'{"id":1,"version":7}\n{"id":1,"version":5}', path), 201, OK)
    assert door.one().sequences == [7, 5]
    wrong = door.write(b'{"id":1,"version":"7"}\n{"id":1}', path)
    numbers = ["should be a number", "should be an integer"]
    compare(wrong, 422, e422({"sequence": numbers}, {"sequence": ["can't be blank"]}))


def test_tables_and_keys_of_any_name(door: Door) -> None:
    path = "/v1/tables/a%2Fb%20c%0A/records?key=x%26y&key=z"
    compare(door.write(b'{"x&y":1,"z":2}', path), 201, OK)
    assert (door.one().table_name, door.one().key_names) == ("a/b c\n", ("x&y", "z"))


@pytest.mark.parametrize("length", [1024, 1025])
def test_the_longest_name_of_a_table_on_every_way_in(door: Door, length: int) -> None:
    name = "é" * length
    record = rec(table_name=name)
    switch = {"client_id": 4321, "action": "switch_view", "table_name": name, "sequence": 1}
    packed = ["^ ", *(each for pair in record.items() for each in pair)]
    packed[packed.index(record["data"])] = ["^ ", "id", 1]
    message = "cannot be longer than 1024 characters"
    refused = e422({"table_name": [message]})
    for body, expected in (
        ([record], refused),
        ([record, record], e422(*[{"table_name": [message]}] * 2)),
        ([switch | {"table_version": 1}], refused),
    ):
        answer = door.post("/v2/import/push", body)
        compare(answer, *((201, OK) if length == 1024 else (422, expected)))
    transit = "application/transit+json"
    answer = door.post("/v2/import/push", [packed], content_type=transit)
    compare(answer, *((201, OK) if length == 1024 else (422, refused)))
    answer = door.write(b'{"id":1}', f"/v1/tables/{'%C3%A9' * length}/records")
    compare(answer, *((201, OK) if length == 1024 else (422, refused)))
    answer = door.post("/v2/import/batch", env(table_name=name))
    assert answer.status == (201 if length == 1024 else 400)
    assert door.accepted() == (6 if length == 1024 else 0)


def test_without_a_key_every_record_is_a_row(door: Door) -> None:
    compare(door.write(b'{"id":1}\n{}', "/v1/tables/people/records"), 201, OK)
    assert door.one().key_names == ()


def test_a_key_that_is_named_twice_counts_once_and_too_many_are_refused(door: Door) -> None:
    path = "/v1/tables/people/records?"
    compare(door.write(b'{"id":1,"b":2}', path + "key=b&key=id&" + "key=b&" * 1300), 201, OK)
    assert door.one().key_names == ("b", "id")
    names = [f"k{number}" for number in range(33)]
    record = json.dumps(dict.fromkeys(names, 1)).encode()
    compare(door.write(record, path + "&".join(f"key={name}" for name in names[:32])), 201, OK)
    message = "At most 32 keys may be named in the URL"
    refused = door.write(record, path + "&".join(f"key={name}" for name in names))
    compare(refused, 400, {"status": "ERROR", "message": message})
    assert door.accepted() == 2


def test_numbers_and_text_stay_as_sent(door: Door) -> None:
    body = b'{"id":123456789012345678901234567890,"t":"\\ud800","e":1e400}'
    compare(door.write(body), 201, OK)
    assert door.one().data == b"[" + body.replace(b"\\ud800", b"\\ufffd") + b"]"


MISSING = {"data": ["data must include keys"]}
REFUSED: list[tuple[bytes, int, Any]] = [
    (b"", 400, malformed),
    (b"nonsense", 400, malformed),
    (b'{"id":1}\n{"id":', 400, malformed),
    (b'{"id":1},{"id":2}', 400, malformed),
    (b'{"id":[1\n]}\n]', 400, malformed),
    (b'{"id":' + b"[" * 300 + b"]" * 300 + b"}", 400, malformed),
    (b"[" * 100_000, 400, malformed),
    (b'{"id":"\xff"}', 400, malformed),
    (b'{"id":NaN}', 400, malformed),
    (b'{"id":' + b"1" * 5000 + b"}", 400, malformed),
    (b"[]", 400, lambda body: body["status"] == "ERROR"),
    (b"5\n", 400, lambda body: body["status"] == "ERROR"),
    (b'{"id":1}\n[1]', 400, lambda body: body["status"] == "ERROR"),
    (b'{"id":1}\n' * 20_001, 400, lambda body: "20000" in body["message"]),
    (b'{"x":1}\n{"id":2}\n{}', 422, e422(MISSING, MISSING)),
    (b'{"id":null}', 422, e422({"data": ["keys cannot not be null in data"]})),
]


@pytest.mark.parametrize(("body", "status", "expected"), REFUSED, ids=range(len(REFUSED)))
def test_refused_and_nothing_kept(door: Door, body: bytes, status: int, expected: Any) -> None:
    compare(door.write(body), status, expected)
    assert door.accepted() == 0


def test_who_may_write(door: Door) -> None:
    path = "/v1/tables/people/records"
    unknown = {"message": "Not Authorized"}
    compare(door.send("POST", path, b'{"id":1}'), 401, unknown)
    compare(door.post(path, b'{"id":1}', token=door.revoked_token), 401, unknown)
    compare(door.post(path, b'{"id":1}', token=door.paused_token), 401, NOT_ACTIVE)
    compare(door.send("GET", path), 405, "Method not allowed.")
    compare(
        door.post("/v1/tables/%20/records", b"{}"), 422, e422({"table_name": ["can't be blank"]})
    )
    assert door.accepted() == 0
