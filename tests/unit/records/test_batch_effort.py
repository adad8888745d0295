"""What one request of /v2/import/batch may cost, and what is answered when it costs more."""

import time

import pytest
from tests.schema_attacks import (
    FINDINGS,
    OTHERS,
    compile_slowly,
    make_body,
    match_slowly,
    try_alternatives,
)

from treadle.errors import RequestRefusedError
from treadle.records import batch
from treadle.records.message_batch import decode_batch
from treadle.records.validation.effort import EffortSpentError

INLINE_BYTES_MAX = 512 * 1024
INLINE_SECONDS_MAX = 0.5
"""Of processor time, on a machine that may be slow and measures it in steps; it takes 0.03 s."""


def outcome(body: bytes) -> str:
    try:
        batch.read_inline(body)
    except EffortSpentError:
        return "elsewhere"
    except RequestRefusedError as refused:
        return str(refused.status)
    return "accepted"


@pytest.mark.parametrize("name", [*FINDINGS, *OTHERS])
def test_no_body_takes_long_where_others_wait(name: str) -> None:
    body = {**FINDINGS, **OTHERS}[name]()
    if len(body) > INLINE_BYTES_MAX:
        return
    assert outcome(body) in ("elsewhere", "400", "accepted")
    for read in (outcome, batch.read_fast):
        before = time.thread_time()
        read(body)
        assert time.thread_time() - before < INLINE_SECONDS_MAX


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [compile_slowly(100), try_alternatives(12_000, 1_500)],
    ids=["slow compilation", "many alternatives"],
)
def test_a_request_that_takes_too_much_effort_is_refused(body: bytes) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        batch.encode_body(body)
    text = (
        "Invalid JSON schema: it makes too much work of these records: use fewer alternatives,"
        " references and patterns, or send fewer records at once"
    )
    assert (refused.value.status, refused.value.body) == (400, {"error": text})


def test_a_pattern_that_is_slow_for_a_value_is_named() -> None:
    with pytest.raises(RequestRefusedError) as refused:
        batch.encode_body(match_slowly(600))
    text = r"Invalid JSON schema: ^(?:(a|a?)+\1b|.*)$ takes more than 50,000 steps for one value"
    assert (refused.value.status, refused.value.body) == (400, {"error": text})


PLAIN = {"properties": {"id": {"type": "integer"}, "name": {"type": ["null", "string"]}}}
RECORDS = [{"id": number, "name": f"name {number}"} for number in range(1_000)]


@pytest.mark.parametrize(
    ("schema", "records"),
    [
        (PLAIN, RECORDS),
        ({**PLAIN, "additionalProperties": False}, RECORDS[:100]),
        ({"properties": {"name": {"maxLength": 20, "type": "string"}}}, RECORDS),
        ({"properties": {"name": {"pattern": "^name [0-9]+$"}}}, RECORDS[:100]),
        ({"properties": {"name": {"enum": [one["name"] for one in RECORDS[:20]]}}}, RECORDS[:20]),
        ({"properties": {"id": {"multipleOf": 1}}}, RECORDS[:100]),
    ],
)
def test_usual_bodies_are_read_at_once(
    schema: dict[str, object], records: list[dict[str, object]]
) -> None:
    body = make_body(schema, records, ["id"])
    assert batch.read_inline(body) == batch.read_body(body) == batch.read_fast(body)


def test_one_wrong_record_among_many_is_found_where_nobody_waits() -> None:
    body = make_body(PLAIN, [*RECORDS, {"id": "x"}])
    with pytest.raises(RequestRefusedError) as refused:
        batch.encode_body(body)
    text = "Record 1000 did not conform to schema:\n#/id: expected type: Number, found: String\n"
    assert refused.value.body == {"error": text}


def test_what_a_task_process_answers_is_what_is_read_here() -> None:
    body = make_body(PLAIN, RECORDS, ["id"])
    [(table, records, payload)] = batch.decode_payloads(batch.encode_body(body))
    assert (table, records) == ("t", 1_000)
    assert [decode_batch(payload)] == batch.read_body(body)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        OTHERS["a long unknown type"],
        OTHERS["a long missing key"],
        OTHERS["wrong messages"],
        lambda: (
            b'{"table_name":"t","schema":{},"messages":[{"action":"%s","sequence":1}]}'
            % (b"x" * 5_000_000)
        ),
    ],
)
def test_no_refusal_repeats_much_of_a_body(body: object) -> None:
    assert callable(body)
    with pytest.raises(RequestRefusedError) as refused:
        batch.encode_body(body())
    assert len(str(refused.value.body)) < 80 * 1024
