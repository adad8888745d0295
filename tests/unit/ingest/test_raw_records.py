"""Bare records, and what webhooks and the plain door make of them."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RequestRefusedError
from treadle.http import limits as http_limits
from treadle.ingest import raw_records
from treadle.ingest.raw_records import parse_records
from treadle.ingest.records_endpoint import RecordsTarget, SequenceCounter
from treadle.ingest.records_endpoint import check_records as judge_plain
from treadle.ingest.webhook_endpoint import WebhookSettings, parse_webhook_settings
from treadle.ingest.webhook_endpoint import build_batches as judge_hook
from treadle.records.json_decoder import BOM
from treadle.records.limits import BODY_BYTES_MAX
from treadle.records.record_reader import read_records

VALID = b'{"id":1}'


def test_one_byte_order_mark_is_skipped_and_no_more() -> None:
    [record] = parse_records(BOM + VALID)
    assert bytes(record.text) == VALID
    with pytest.raises(RequestRefusedError) as caught:
        parse_records(BOM + BOM + VALID)
    assert caught.value.status == 400


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(), values, max_size=4), min_size=1, max_size=5)


@given(objects, st.booleans())
def test_lines_and_arrays_hold_the_same_records(records: list[Any], escaped: bool) -> None:
    texts = [json.dumps(record, ensure_ascii=escaped) for record in records]
    try:
        lines = "\n".join(texts).encode()
        array = ("[" + ",".join(texts) + "]").encode()
    except UnicodeEncodeError:
        return  # unpaired surrogates can be sent as escapes only
    by_line, by_array = parse_records(lines), parse_records(array)
    assert [bytes(record.text) for record in by_line] == [bytes(record.text) for record in by_array]
    assert [record.value for record in by_line] == [record.value for record in by_array]


@given(objects)
def test_what_is_accepted_is_what_the_loader_reads(records: list[Any]) -> None:
    body = json.dumps(records).encode()
    parsed = parse_records(body)
    (batch,) = judge_plain(parsed, RecordsTarget("t", (), None), range(len(records)))
    assert read_records(batch) == [record.value for record in parsed]
    assert len(batch) == len(records)


@given(objects, st.text(min_size=1))
def test_webhooks_leave_out_records_without_their_key(records: list[Any], key: str) -> None:
    body = json.dumps(records).encode()
    batches = judge_hook(parse_records(body), WebhookSettings("data", (key,), upsert=True), 17)
    kept = [record.value for record in parse_records(body) if record.value.get(key) is not None]
    assert [row for batch in batches for row in read_records(batch)] == kept
    for batch in batches:
        assert (batch.key_names, set(batch.sequences)) == ((key,), {17})


@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    status = None
    try:
        parse_records(body)
    except RequestRefusedError as refused:
        status = refused.status
    assert status in (None, 400)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 5)), max_size=20))
def test_numbers_grow_even_when_the_clock_does_not(steps: list[tuple[int, int]]) -> None:
    moments = iter([moment for moment, _ in steps])
    numbers = SequenceCounter(lambda: next(moments))
    taken = [number for _, count in steps for number in numbers.reserve(count)]
    assert taken == sorted(set(taken))


@pytest.mark.parametrize(
    ("settings", "hook"),
    [
        ({}, WebhookSettings()),
        (
            {"webhook": {"table": "events", "key": ["a", "b"]}},
            WebhookSettings("events", ("a", "b")),
        ),
        ({"webhook": {"upsert": True, "other": 1}}, WebhookSettings(upsert=True)),
        ({"webhook": {"key": "id"}}, WebhookSettings(key=("id",))),
        ({"webhook": {"key": 5}}, WebhookSettings()),
        ({"webhook": {"provider": "stripe"}}, WebhookSettings(provider="stripe")),
        ({"webhook": None}, WebhookSettings()),
    ],
)
def test_webhook_settings(settings: dict[str, Any], hook: WebhookSettings) -> None:
    assert parse_webhook_settings(settings) == hook


def test_the_limit_of_bodies_is_one_number() -> None:
    assert http_limits.BODY_BYTES_MAX == BODY_BYTES_MAX


@pytest.mark.parametrize(
    "body",
    [
        b"{}\n" * 6_900_000,
        b"{}" * 10_000_000,
        b"1\n" * 10_000_000,
        b"{} " + b"1 " * 10_000_000,
        b'{"a":"} x"}' + b'"",'.rstrip(b",") * 9_000_000,
        b'{"a":"} x"}' + b"[]" * 9_000_000,
    ],
    ids=["lines", "together", "numbers", "numbers behind", "texts behind", "arrays behind"],
)
def test_records_by_the_million_are_not_kept(body: bytes) -> None:
    """Each took 70 bytes until they were counted: 20 MB became 750."""
    tracemalloc.start()
    try:
        with pytest.raises(RequestRefusedError) as caught:
            parse_records(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.status == 400
    assert peak < 64 * 1024 * 1024


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=3), st.text() | st.just("} {") | st.just([{}]), max_size=3
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["", "\n", " ", "\n\n", "\r\n"]),
    st.sampled_from([None, 1]),
)
def test_records_are_the_same_wherever_they_are_split(
    records: list[dict[str, object]], between: str, indent: int | None
) -> None:
    body = between.join(json.dumps(record, indent=indent) for record in records).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_records, "_LINES_BYTES", 3)
        assert [record.value for record in parse_records(body)] == records
    assert [record.value for record in parse_records(body)] == records
