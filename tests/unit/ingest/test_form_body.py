"""Form-encoded bodies as JSON, within the bounds of any body."""

import json
import tracemalloc
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RequestRefusedError
from treadle.ingest.form_body import FORM_TYPE, convert_form, is_form

texts = st.text(st.characters(codec="utf-8"), max_size=8)
MANY_ESCAPES = b"a=" + b"%41" * 500_000


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_what_a_library_encodes_is_decoded(fields: list[tuple[str, str]]) -> None:
    expected: dict[str, list[str]] = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value)
    body = urlencode(fields).encode()
    assert is_form(FORM_TYPE, body)
    assert json.loads(convert_form(body)) == {
        name: values if len(values) > 1 else values[0] for name, values in expected.items()
    }


@given(st.binary(max_size=40))
def test_any_bytes_are_converted_or_refused(body: bytes) -> None:
    status = None
    try:
        json.loads(convert_form(body))
    except RequestRefusedError as refused:
        status = refused.status
    assert status in (None, 400)


@pytest.mark.parametrize(
    ("kind", "body", "form"),
    [
        (FORM_TYPE, b"a=1", True),
        (FORM_TYPE.upper(), b"a=1", True),
        ("application/json", b"a=1", False),
        ("", b"a=1", False),
        (FORM_TYPE, b"a", False),
        (FORM_TYPE, b"", False),
        (FORM_TYPE, b' {"a":"="}', False),
        (FORM_TYPE, b'\xef\xbb\xbf[{"a":"="}]', False),
        (FORM_TYPE, b'"a=b"', False),
    ],
)
def test_what_is_a_form(kind: str, body: bytes, form: bool) -> None:
    assert is_form(kind, body) is form


@pytest.mark.parametrize(
    ("text", "found"), [(b"%", "%"), (b"%4", "%4"), (b"%zz%41", "%zzA"), (b"a%2", "a%2")]
)
def test_what_is_no_escape_stays(text: bytes, found: str) -> None:
    assert json.loads(convert_form(b"a=" + text)) == {"a": found}


@pytest.mark.parametrize("size", [65_534, 65_535, 65_536, 65_537, 65_538, 131_072])
def test_escapes_are_not_cut_in_two(size: int) -> None:
    text = b"x" * size + b"%C3%A9" * 50_000
    assert json.loads(convert_form(b"a=" + text)) == {"a": "x" * size + "é" * 50_000}


@pytest.mark.slow
def test_escapes_by_the_million_are_not_kept() -> None:
    """A piece for each of them would be fifty times the body."""
    calls: list[None] = []
    tracemalloc.start()
    try:
        found = convert_form(MANY_ESCAPES, lambda: calls.append(None))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == b'{"a":"' + b"A" * 500_000 + b'"}'
    assert peak < 8 * len(MANY_ESCAPES)
    assert len(calls) > 20
