"""Reading Transit records together gives what reading every value by itself gives."""

import json as stdlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.errors import RequestRefusedError
from treadle.records import partial_decode, push
from treadle.records.transit import reader

texts = st.sampled_from(
    ["", "a", "name", "other", "~", "~~tilde", "~^caret", "~`tick", "~:keyword", "~:k", "~$symbol",
     "~#set", "~#m", "^ ", "^0", "^1", "^2", "^9", "^10", "^", "~i12", "~i-3", "~ix", "~n1",
     "~f1.50", "~f-0", "~f1e3", "~d2.5", "~zNaN", "~z-INF", "~m0", "~m-1", "~m1578950703123",
     "~m99999999999999",
     "~t2020-01-13T21:25:03.123Z", "~t2020-01-13T21:25:03Z", "~t2020-02-30T00:00:00Z",
     "~t0000-03-01T00:00:00Z", "~t2016-12-31T23:59:60Z", "~t2016-12-31T24:00:00Z",
     "~t2020-01-13T21:25:03.123456+01:00", "~u531a379e-31bb-4ce1-8690-158dceb64be6",
     "~u531A379E-31bb-4ce1-8690-158dceb64be6", "~?t", "~_", "~xother", "\0~i1", "x\0^9"]
)  # fmt: skip
scalars = texts | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.lists(st.tuples(texts, values), max_size=4)
    compact = pairs.map(lambda found: ["^ ", *(part for pair in found for part in pair)])
    return compact | pairs.map(dict)


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | maps(inner),
    max_leaves=6,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An array of maps of few shapes: most alike, some with other values, some with other keys."""
    first = draw(maps(values) | values)
    others = [draw(maps(values) | values), *(draw(values) for _ in range(2))]
    records = [first]
    for _ in range(draw(st.integers(1, 4))):
        records += [first] * draw(st.integers(0, 40))
        records.append(draw(st.sampled_from(others)))
    changed = draw(st.dictionaries(st.integers(0, len(records) - 1), values, max_size=6))
    for index, value in changed.items():
        record = records[index]
        if isinstance(record, list) and len(record) > 2:
            records[index] = [*record[:-1], value]
        elif isinstance(record, dict) and record:
            records[index] = record | {next(iter(record)): value}
    escaped = draw(st.booleans())
    text = stdlib.dumps(records, separators=(",", ":"))
    return (text.replace('"~', '"\\u007e') if escaped else text).encode()


def outcome(work: Any, *arguments: Any) -> str:
    try:
        return repr(work(*arguments))
    except RequestRefusedError as refused:
        return repr((refused.status, refused.body))


@settings(max_examples=examples(400), deadline=None)
@given(bodies())
def test_together_is_as_singly(body: bytes) -> None:
    assert outcome(reader.decode_transit, body) == outcome(reader.decode_exactly, body)


def pushed(body: bytes) -> push.PushBody:
    return push.decode_body(body, transit=True)


envelopes = st.fixed_dictionaries(
    {
        "client_id": st.sampled_from([4321, 4321, 4321, "4321", 4321.0, "~f4321", True, None]),
        "table_name": st.sampled_from(["t", "t", "u", " ", None, 1]),
        "sequence": st.sampled_from([1, 2, -1, "~i3", "~n9223372036854775808", 1.0, True, "~f1"]),
        "action": st.sampled_from(["upsert", "upsert", "upsert", "~:upsert", "switch_view", None]),
        "key_names": st.sampled_from([["id"], ["id"], [], ["name"], ["id", "id"], [1], "id", None]),
        "data": st.fixed_dictionaries(
            {"id": st.sampled_from([1, "k", "x" * 1025, None, [1], {}, "~f1", "~_"])},
            optional={"name": scalars},
        )
        | st.sampled_from([None, [], {}]),
    },
    optional={
        "table_version": st.sampled_from([0, 1, None, -1, True, 2**63, "~i5"]),
        "namespace": st.none(),
        "other": st.none(),
    },
)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(envelopes, min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=5))
def test_the_quick_check_is_as_the_general_one(
    kinds: list[dict[str, Any]], more: list[int]
) -> None:
    records = kinds + [kinds[index % len(kinds)] for index in more]
    body = stdlib.dumps(records).encode()
    try:
        sent = pushed(body)
    except RequestRefusedError:
        return
    assert outcome(push.check_body, sent, 4321) == outcome(push.check_body_exactly, sent, 4321)


@pytest.mark.parametrize("count", [1, 15, 16, 1000, 20_000])
def test_batches_of_any_size(count: int) -> None:
    record = {
        "client_id": 4321,
        "table_name": "t",
        "sequence": 1,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": "~f1.5", "n": 2**64},
    }
    sent = pushed(stdlib.dumps([record] * count).encode())
    assert push.check_body(sent, 4321) == push.check_body_exactly(sent, 4321)


def test_too_many_points_in_one_of_many() -> None:
    record = {
        "client_id": 4321,
        "table_name": "t",
        "sequence": 1,
        "action": "upsert",
        "key_names": [],
        "data": {"a": [0] * 10_001},
    }
    few = record | {"data": {"a": [0] * 10_000}}
    sent = pushed(stdlib.dumps([few, record]).encode())
    assert outcome(push.check_body, sent, 4321) == outcome(push.check_body_exactly, sent, 4321)
    assert "10000 data points" in outcome(push.check_body, sent, 4321)


def test_depth_is_counted_in_any_form() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}"), ('["^ ","a",', "]")):
        for leaf in ("1", '"~i1"'):
            fits = "[" + opening * 255 + leaf + closing * 255 + "]"
            assert reader.decode_transit(fits.encode()) == reader.decode_exactly(fits.encode())
            deep = "[" + opening * 256 + leaf + closing * 256 + "]"
            assert "nested deeper" in outcome(reader.decode_transit, deep.encode())
            assert "nested deeper" in outcome(reader.decode_exactly, deep.encode())


def judged(body: bytes) -> str:
    return outcome(lambda: push.check_body(push.decode_body(body, transit=True), 4321))


def in_parts(body: bytes) -> str:
    """What `judged` gives when the body counts as large and is decoded a few bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push, "LARGE_BODY_BYTES", 0)
        patch.setattr(partial_decode, "_PART_BYTES", 200)
        return judged(body)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(envelopes, min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=5))
def test_large_bodies_are_as_small_ones(kinds: list[dict[str, Any]], more: list[int]) -> None:
    records = kinds + [kinds[index % len(kinds)] for index in more]
    body = stdlib.dumps(records, separators=(",", ":")).encode()
    assert in_parts(body) == judged(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"1",
        b'["^ "]',
        b'["~#set",[]]',
        b'["~#set",[1]]',
        b"[1]",
        b'[{},"~#set",[1]]',
        b"[" + b",".join([b'{"a":1}', b'"~#set"', b"[1]"] * 60) + b"]",
        b"[null" + b",null" * 20_000 + b"]",
        b"[[]]",
        b"\xef\xbb\xbf[{}]",
        b'[{"a":"\\ud800"}]',
        b"[{}" + b",{}" * 20_000 + b"]",
        b"[" + b"[" * 256 + b"]" * 256 + b"]",
        b'[["^ ","client_id",4321,"^0",1],["^ ","^1",2]]',
    ],
)
def test_odd_large_bodies_are_as_small_ones(body: bytes) -> None:
    assert in_parts(body) == judged(body)


def test_codes_that_stand_for_more_than_fits() -> None:
    word = "x" * 50_000
    body = f'[["^ ","{word}",[' + ",".join(['"^0"'] * 2_000) + "]]]"
    assert "by cache codes" in judged(body.encode())
    assert "by cache codes" in in_parts(body.encode())


def test_codes_are_counted_over_all_parts_of_a_body() -> None:
    """Each record is within the limit; the body is not."""
    word = "x" * 60_000
    rest = ",".join(['["^ ","^0",["^0"' + ',"^0"' * 99 + "]]"] * 15)
    body = f'[["^ ","{word}",1],{rest}]'.encode()
    assert "by cache codes" in judged(body)
    assert "by cache codes" in in_parts(body)


def test_codes_as_keys_count_for_each_record() -> None:
    word = "x" * 60_000
    body = f'[["^ ","{word}",1]' + ',["^ ","^0",1]' * 1_200 + "]"
    assert "by cache codes" in judged(body.encode())
    assert "by cache codes" not in judged(body.replace(word, "name").encode())


def test_a_large_record_of_very_many_values() -> None:
    body = b'[{"data":[' + b",".join([b"[]"] * 1_100_000) + b"]}]"
    assert "a record with more than 1000000 values" in judged(body)
