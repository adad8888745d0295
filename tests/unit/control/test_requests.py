"""What bodies ask for (connect-api.md 2.5, 2.10)."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.errors import CREATE_RULE, NAME_RULE, STREAMS_RULE, UPDATE_RULE
from treadle.control.requests import (
    CREATE_KEYS,
    UPDATE_KEYS,
    SourceCreation,
    SourceUpdate,
    parse_creation,
    parse_selected_streams,
    parse_update,
)
from treadle.errors import RequestRefusedError
from treadle.store.sources import UNSET

NO_JSON_OBJECT = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"5",
    b'"type"',
    b"{",
    b"{'type': 1}",
    b'{"type":"import_api","display_name":"\xff"}',
    b'{"type":"import_api","display_name":"\\ud800"}',
    b'\xef\xbb\xbf{"type":"import_api","display_name":"a"}',
    b'{"a":' * 100_000,
    b"[" * 1_000_000,
    b"1" * 100_000,
    b'{"type":1e999999}',
    b"\x00",
]


def _refusal(read: Callable[[bytes], object], raw: bytes) -> tuple[int, Any]:
    with pytest.raises(RequestRefusedError) as caught:
        read(raw)
    return caught.value.status, caught.value.body


def _coded(code: str, message: str) -> tuple[int, Any]:
    return 400, {"error": code, "data": {"message": message}}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_source_named_by_its_label() -> None:
    asked = parse_creation(b'{"type":"import_api","display_name":"Import API"}')
    assert asked == SourceCreation("import_api", "Import API", "import_api", True, (), None)


def test_a_source_with_everything() -> None:
    body = {
        "type": "import_api",
        "display_name": "####",
        "name": "$".join("_a"),
        "properties": {},
        "destination_id": 7,
    }
    assert parse_creation(_json(body)) == SourceCreation("import_api", "####", "_$a", False, (), 7)


@pytest.mark.parametrize("raw", NO_JSON_OBJECT, ids=lambda raw: repr(raw[:20]))
def test_what_is_no_json_object_has_the_answer_of_a_bad_body(raw: bytes) -> None:
    assert _refusal(parse_creation, raw) == _coded("InvalidBody", CREATE_RULE)
    assert _refusal(parse_update, raw) == _coded("InvalidBody", UPDATE_RULE)
    assert _refusal(parse_selected_streams, raw) == (400, STREAMS_RULE)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"paused_at": None},
        {"type": ""},
        {"type": None},
        {"type": 5},
        {"type": ["import_api"]},
        {"display_name": ""},
        {"display_name": None},
        {"display_name": {"a": 1}},
        {"properties": None},
        {"properties": []},
        {"properties": {"frequency_in_minutes": 30}},
        {"destination_id": "7"},
        {"destination_id": True},
        {"destination_id": 1.5},
    ],
    ids=repr,
)
def test_a_creation_is_held_to_its_keys_and_their_types(change: dict[str, object]) -> None:
    body = {"type": "import_api", "display_name": "A"} | change
    assert _refusal(parse_creation, _json(body)) == _coded("InvalidBody", CREATE_RULE)


@pytest.mark.parametrize("missing", ["type", "display_name"])
def test_a_creation_needs_a_type_and_a_display_name(missing: str) -> None:
    body = {"type": "import_api", "display_name": "A"}
    del body[missing]
    assert _refusal(parse_creation, _json(body)) == _coded("InvalidBody", CREATE_RULE)


def test_the_type_is_checked_before_the_name_and_the_body_before_the_type() -> None:
    body = {"type": "platform.hubspot", "display_name": "####", "name": "No"}
    message = "invalid source type (platform.hubspot)"
    assert _refusal(parse_creation, _json(body)) == _coded("InvalidType", message)
    assert _refusal(parse_creation, _json(body | {"x": 1})) == _coded("InvalidBody", CREATE_RULE)


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "é", "a" * 50, "a\n", None, 5, ["a"]])
def test_an_explicit_name_must_be_legal(name: object) -> None:
    body = {"type": "import_api", "display_name": "A", "name": name}
    assert _refusal(parse_creation, _json(body)) == _coded("InvalidName", NAME_RULE)


@pytest.mark.parametrize(
    ("display_name", "derived"),
    [("####", ""), ("2019 orders", "2019_orders"), ("L" * 60, "l" * 60), ("   ", ""), ("日", "")],
)
def test_a_display_name_must_give_a_legal_name(display_name: str, derived: str) -> None:
    message = f"invalid name after deriving it from display_name ({display_name} -> {derived})"
    body = {"type": "import_api", "display_name": display_name}
    assert _refusal(parse_creation, _json(body)) == _coded("InvalidDisplayName", message)


@pytest.mark.parametrize("display_name", ["a\0b", "a" + "!" * 255])
def test_a_display_name_must_be_one_that_can_be_kept(display_name: str) -> None:
    expected = _coded("InvalidDisplayName", f"invalid display_name ({display_name})")
    body = {"type": "import_api", "display_name": display_name}
    assert _refusal(parse_creation, _json(body)) == expected
    assert _refusal(parse_update, _json({"display_name": display_name})) == expected


def test_an_update_may_leave_out_everything() -> None:
    assert parse_update(b"{}") == SourceUpdate(UNSET, UNSET, UNSET, ())


def test_an_update_with_everything() -> None:
    body = {
        "display_name": "日本",
        "paused_at": "2019-06-01T00:00:00.5Z",
        "destination_id": 7,
        "properties": {},
    }
    assert parse_update(_json(body)) == SourceUpdate("日本", 1_559_347_200_000_000, 7, ())
    nulls = {"paused_at": None, "destination_id": None}
    assert parse_update(_json(nulls)) == SourceUpdate(UNSET, None, None, ())


@pytest.mark.parametrize(
    "body",
    [
        {"type": "import_api"},
        {"name": "b"},
        {"deleted_at": None},
        {"paused_at": "yesterday"},
        {"paused_at": 5},
        {"paused_at": True},
        {"properties": None},
        {"properties": [1]},
        {"destination_id": "7"},
        {"destination_id": False},
    ],
    ids=repr,
)
def test_an_update_is_held_to_its_keys_and_their_types(body: dict[str, object]) -> None:
    assert _refusal(parse_update, _json(body)) == _coded("InvalidBody", UPDATE_RULE)


@pytest.mark.parametrize(
    ("display_name", "shown"),
    [("", ""), ("  ", "  "), (None, "null"), (5, "5"), ({"a": [1]}, '{"a":[1]}'), (True, "true")],
)
def test_a_bad_display_name_is_shown_as_sent(display_name: object, shown: str) -> None:
    expected = _coded("InvalidDisplayName", f"invalid display_name ({shown})")
    assert _refusal(parse_update, _json({"display_name": display_name})) == expected


@pytest.mark.parametrize("depth", [10, 200, 500, 900, 2_000])
def test_a_deep_display_name_is_refused_however_deep(depth: int) -> None:
    raw = b'{"display_name":' + b"[" * depth + b"]" * depth + b"}"
    status, body = _refusal(parse_update, raw)
    assert status == 400
    assert body["error"] in ("InvalidDisplayName", "InvalidBody")


@pytest.mark.parametrize(
    ("streams", "shown"),
    [
        ([{"metadata": []}], "nil"),
        ([{"tap_stream_id": None, "metadata": []}], "nil"),
        ([{"tap_stream_id": "orders", "metadata": []}], "orders"),
        ([{"tap_stream_id": 5, "metadata": []}], "5"),
        (
            [
                {"tap_stream_id": "a", "metadata": [{"breadcrumb": [], "metadata": {}}]},
                {"tap_stream_id": "b", "metadata": []},
            ],
            "a b",
        ),
    ],
)
def test_selected_streams_are_named_as_the_error_prints_them(streams: object, shown: str) -> None:
    selected = parse_selected_streams(_json({"streams": streams}))
    assert " ".join(one.shown for one in selected) == shown


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"streams": {}},
        {"streams": [5]},
        {"streams": [{"tap_stream_id": "a"}]},
        {"streams": [{"tap_stream_id": "a", "metadata": {}}]},
        {"streams": [{"tap_stream_id": "a", "metadata": [5]}]},
        {"streams": [{"tap_stream_id": "a", "metadata": [{"metadata": {}}]}]},
        {"streams": [{"tap_stream_id": "a", "metadata": [{"breadcrumb": []}]}]},
    ],
    ids=repr,
)
def test_a_selection_without_a_part_is_refused(body: object) -> None:
    assert _refusal(parse_selected_streams, _json(body)) == (400, STREAMS_RULE)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
keys = st.sampled_from(sorted(CREATE_KEYS | UPDATE_KEYS | {"streams"})) | st.text(max_size=3)


def _statuses(raw: bytes) -> set[int]:
    """The statuses a body is refused with by those that read bodies."""
    found: set[int] = set()
    for read in (parse_creation, parse_update, parse_selected_streams):
        try:
            read(raw)
        except RequestRefusedError as refused:
            found.add(refused.status)
    return found


@given(st.dictionaries(keys, values) | values)
def test_every_json_value_is_understood_or_refused_with_400(value: object) -> None:
    assert _statuses(_json(value)) <= {400}


@given(st.binary())
def test_any_bytes_are_understood_or_refused_with_400(raw: bytes) -> None:
    assert _statuses(raw) <= {400}
