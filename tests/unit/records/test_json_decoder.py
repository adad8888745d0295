import json as stdlib
import pickle
import re
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.data_points import count_data_points, has_too_many_points
from treadle.records.limits import DEPTH_MAX, INTEGER_CHARACTERS_MAX

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=examples(200), deadline=None)
@given(values, st.booleans(), st.sampled_from([b"", json_decoder.BOM]))
def test_decodes_what_json_allows(value: Any, ascii_only: bool, mark: bytes) -> None:
    text = mark + stdlib.dumps(value, ensure_ascii=ascii_only).encode()
    assert repr(json_decoder.decode_json(text)) == repr(value)


# Anything a JSON string may hold, so that repairing meets every neighbour of an escape.
pieces = st.sampled_from(
    ["\\ud800", "\\uDFFF", "\\ud83d\\ude00", "\\\\", "\\n", "u", "d800", "\\u0041", "é", '\\"']
)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(pieces, max_size=8))
def test_repair_replaces_unpaired_surrogates_in_their_places(found: list[str]) -> None:
    text = f'"{"".join(found)}"'.encode()
    repaired = json_decoder.repair_json(text)
    assert len(repaired) == len(text)
    read = stdlib.loads(text)
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in read)
    assert json_decoder.decode_json(text) == stdlib.loads(repaired) == expected


@given(
    st.lists(st.sampled_from([r"\\", r"\ud800", r"\udc00", r"\n", r"\u0041", r"\"", "u", "d8"])),
    st.integers(1, 30),
)
def test_repair_is_the_same_wherever_it_is_cut(found: list[str], size: int) -> None:
    text = f'"{"".join(found)}"'.encode()
    whole = json_decoder.repair_json(text)
    with pytest.MonkeyPatch.context() as patch:
        # A cut goes back by two escapes at most.
        patch.setattr(json_decoder, "_PART_BYTES", size + 2 * json_decoder._ESCAPE_BYTES)
        assert json_decoder.repair_json(text) == whole
    assert json_decoder.decode_json(text) == re.sub("[\ud800-\udfff]", "\ufffd", stdlib.loads(text))


@pytest.mark.slow
def test_escapes_by_the_million_are_repaired_in_time() -> None:
    steps: list[int] = []
    for piece in (rb"\ud800", rb"\ud800\udc00", rb"\\ud800", rb"\\", rb"\udc00\\"):
        text = b'"' + piece * (20_000_000 // len(piece)) + b'"'
        began = time.process_time()
        assert len(json_decoder.repair_json(text, lambda: steps.append(1))) == len(text)
        assert time.process_time() - began < 3.0
    assert len(steps) > 100


def nesting(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(nesting, inner), default=0)


@settings(max_examples=examples(200), deadline=None)
@given(values)
def test_depth(value: Any) -> None:
    assert json_decoder.measure_depth(stdlib.dumps(value).encode()) == nesting(value)


@pytest.mark.parametrize(
    ("levels", "too_deep"), [(DEPTH_MAX, False), (DEPTH_MAX + 1, True), (10 * DEPTH_MAX, True)]
)
def test_a_body_is_too_deep_from_one_level_above_the_limit(levels: int, too_deep: bool) -> None:
    inside = b"[" * (levels - 2) + b"]" * (levels - 2)
    for text in (b'[{"a":' + inside + b"}]", b'{"a":[' + inside + b"]}", b"[1,[" + inside + b"]]"):
        assert json_decoder.is_body_too_deep(text) is too_deep
    assert json_decoder.is_body_too_deep(b"[" * levels + b"]" * levels) is too_deep


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 9_000), st.integers(0, 3))
def test_long_integers_do_not_hide(start: int, extra: int) -> None:
    text = b"x" * start + b"7" * (INTEGER_CHARACTERS_MAX + extra) + b"x" * 5
    assert json_decoder.may_hide_long_integer(text)


def test_short_digits_are_not_suspicious() -> None:
    assert not json_decoder.may_hide_long_integer(b'"1234567890123456789012345678901",' * 1_000)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nul",
        b"NaN",
        b"-Infinity",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"[1,]",
        b'{"a":1,}',
        b"{1:2}",
        b'"\n"',
        b'"\\x"',
        b'"\\u12G4"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"[1] x",
        b"\x0b1",
        b"9" * (INTEGER_CHARACTERS_MAX + 1),
        b"[" * 100_000,
    ],
)
def test_refuses_everything_else(text: bytes) -> None:
    for exact in (False, True):
        with pytest.raises(RequestRefusedError) as caught:
            json_decoder.decode_json(text, exact=exact)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        (b"1e400", "1e400"),
        (b"-1E+400", "-1E+400"),
        (b"9" * 310 + b".5", "9" * 310 + ".5"),
        (b"1e99999999999999999999", "1e99999999999999999999"),
        (b"-1e5000000", "-1e5000000"),
    ],
)
def test_huge_numbers_keep_their_literal(text: bytes, literal: str) -> None:
    for exact in (False, True):
        number = json_decoder.decode_json(text, exact=exact)
        assert type(number) is json_decoder.HugeNumber
        assert number.literal == literal
        assert abs(number) > Decimal("1e308")
        again = pickle.loads(pickle.dumps(number))  # noqa: S301 - made in the line above
        assert (again, again.literal) == (number, literal)


def test_exact_numbers() -> None:
    got = json_decoder.decode_json(
        b"[1, 1.0, 1.50, 1e2, 1e-99999999999999999999, -0.0]", exact=True
    )
    assert [(type(number), str(number)) for number in got] == [
        (int, "1"),
        (Decimal, "1.0"),
        (Decimal, "1.50"),
        (Decimal, "1E+2"),
        (Decimal, "0"),
        (Decimal, "-0.0"),
    ]
    assert json_decoder.decode_json(b"1e-99999999999999999999") == 0.0


@settings(max_examples=examples(100), deadline=None)
@given(values)
def test_data_points(value: Any) -> None:
    def leaves(inner: Any) -> int:
        if isinstance(inner, dict):
            return sum(map(leaves, inner.values()))
        return sum(map(leaves, inner)) if isinstance(inner, list) else 1

    assert count_data_points(value) == leaves(value)


@pytest.mark.parametrize(("count", "too_many"), [(10_000, False), (10_001, True)])
def test_too_many_data_points(count: int, too_many: bool) -> None:
    assert has_too_many_points(stdlib.dumps({"a": [None] * count}).encode()) is too_many
    assert has_too_many_points(stdlib.dumps({"a": ["," * 9] * count}).encode()) is too_many
    assert has_too_many_points(stdlib.dumps({"a": [[]] * count * 2}).encode()) is False


@pytest.mark.parametrize("size", [0, 10, 1024 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024 + 5])
def test_bytes_of_a_long_text_are_counted_in_steps(size: int) -> None:
    text = (b"[,{" * (size // 3 + 1))[:size]
    assert [json_decoder.count_bytes(text, one) for one in (b"[", b",", b"x")] == [
        text.count(b"["),
        text.count(b","),
        0,
    ]
