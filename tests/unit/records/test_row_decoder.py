"""Records read by their shape against the same read as dictionaries."""

import json as plain_json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder, row_decoder
from treadle.records.message_batch import MessageBatch

KEYS = ["id", "a", "A", "é", "with space", "1", "a\tb", 'a"b', "f0"]
TEXTS = [
    *("1", "-0", "1.0", "1e3", "0.1", "1e400", "123456789012345678901234567890", "true", "null"),
    *('"x"', '"\\u0000"', '"\\ud800"', '"\\u00e9"', "[]", "[1,[2]]", '{"a":1}', '{"a":1,"a":2}'),
]


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A JSON array of objects, some with a key twice, now and then with an escaped key."""
    records = draw(
        st.lists(
            st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(TEXTS)), max_size=5),
            min_size=1,
            max_size=5,
        )
    )
    escaped = draw(st.booleans())
    return (
        "["
        + ",".join(
            "{" + ",".join(f"{plain_json.dumps(k, ensure_ascii=escaped)}:{v}" for k, v in r) + "}"
            for r in records
        )
        + "]"
    ).encode()


@given(data=texts(), keys=st.lists(st.sampled_from(KEYS), unique=True), exact=st.booleans())
@settings(max_examples=examples(500), deadline=None)
def test_rows_are_the_records(data: bytes, keys: list[str], exact: bool) -> None:
    shape = row_decoder.get_row_decoder(keys, exact=exact)
    if shape is None:
        assert not keys or any(key in ("a\tb", 'a"b') for key in keys)
        return
    rows = shape.decode_rows(data)
    if rows is None:
        return
    records = json_decoder.decode_json(data, exact=exact)
    assert all(set(record) <= set(keys) for record in records)
    columns = shape.transpose_rows(rows)
    for key, column in zip(keys, columns, strict=True):
        expected = [record.get(key) for record in records]
        assert list(column) == expected
        assert list(map(type, column)) == list(map(type, expected))


def test_what_a_shape_does_not_fit_is_left_to_dictionaries() -> None:
    shape = row_decoder.get_row_decoder(["id", "a"], exact=False)
    assert shape is not None
    assert shape.decode_rows(b'[{"id":1,"a":2},{"id":2}]') is not None
    for data in (b'[{"id":1,"b":2}]', b"[[1,2]]", b"[1]", b'[{"id":1e400}]', b'[{"id":"\\ud800"}]'):
        assert shape.decode_rows(data) is None, data


def batch(records: list[dict[str, Any]]) -> MessageBatch:
    data = plain_json.dumps(records).encode()
    return MessageBatch("t", ("id",), "json", b"", (), list(range(len(records))), 0, None, [], data)


def taught(records: list[dict[str, Any]]) -> row_decoder.ShapePredictor:
    guess = row_decoder.ShapePredictor(exact=False, allowed=lambda keys: "never" not in keys)
    guess.learn_keys(records)
    return guess


def test_a_guess_is_the_shape_of_what_came_before() -> None:
    many = [{"id": number, "a": "x"} for number in range(row_decoder.RECORDS_MIN)]
    found = taught(many).decode_rows(batch(many))
    assert found is not None
    assert found[0].keys == ("id", "a")
    assert taught([]).decode_rows(batch(many)) is None
    assert taught([{"id": 1}]).decode_rows(batch(many)) is None
    assert taught([{"id": 1, "a": 2, "never": 3}]).decode_rows(batch(many)) is None
    assert taught(many).decode_rows(batch(many[1:])) is None  # too few
    sparse = [{"id": number, f"a{number}": 1} for number in range(100)]
    assert taught(sparse).decode_rows(batch(sparse)) is None


def test_a_guess_that_is_often_wrong_is_given_up() -> None:
    many = [{"id": number} for number in range(row_decoder.RECORDS_MIN)]
    other = [{"id": number, "b": 1.5} for number in range(row_decoder.RECORDS_MIN)]
    guess = taught(many)
    for _ in range(5):
        assert guess.decode_rows(batch(other)) is None
    guess.learn_keys(other)
    assert guess.decode_rows(batch(many)) is None


@pytest.mark.parametrize("keys", [[], ["k"] * 0, [f"k{n}" for n in range(257)], ["x" * 20_000]])
def test_shapes_are_kept_small(keys: list[str]) -> None:
    assert row_decoder.get_row_decoder(keys, exact=False) is None


def test_what_is_no_json_is_refused_by_the_other_way() -> None:
    shape = row_decoder.get_row_decoder(["id"], exact=False)
    assert shape is not None
    assert shape.decode_rows(b"[{]") is None
    with pytest.raises(RequestRefusedError):
        json_decoder.decode_json(b"[{]")
