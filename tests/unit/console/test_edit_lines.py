"""Edits as people type them."""

import json
import shlex

import msgspec
import pytest

from treadle.console.edit_lines import (
    EditLineError,
    TypedEdit,
    encode_filter_resend,
    encode_record_resend,
    lay_out_record,
    name_edit,
    parse_edit,
)
from treadle.control.reject_requests import parse_resend


def test_lines_are_an_edit_and_its_request() -> None:
    edit = parse_edit('amount = 12\n\n  paid=true\nnote = "a = b"\n', "old\n other \n")
    assert {name: bytes(value) for name, value in edit.put.items()} == {
        "amount": b"12",
        "paid": b"true",
        "note": b'"a = b"',
    }
    assert list(edit.drop) == ["old", "other"]
    raw = encode_filter_resend({"cause_id": 3, "since": None}, edit, 7)
    assert json.loads(raw) == {
        "filter": {"cause_id": 3},
        "edit": {
            "set": {"amount": 12, "paid": True, "note": "a = b"},
            "unset": ["old", "other"],
        },
        "expected": 7,
    }
    asked = parse_resend(raw, 1, preview=False)
    assert asked.expected == 7
    assert asked.query is not None
    assert asked.query.cause_id == 3
    assert asked.edit.put["note"] == b'"a = b"'
    assert shlex.split(name_edit(edit)) == [
        "--set", "amount=12", "--set", "paid=true", "--set", 'note="a = b"', "--unset", "old",
        "--unset", "other",
    ]  # fmt: skip


def test_a_number_keeps_its_digits() -> None:
    edit = parse_edit(f"n = {10**30}", "")
    assert parse_resend(encode_filter_resend({"cause_id": 1}, edit), 1, preview=True).edit.put == {
        "n": str(10**30).encode()
    }


@pytest.mark.parametrize(
    ("set_text", "unset_text", "told"),
    [
        ("amount", "", "Line 1 of the fields to set is to be FIELD = JSON"),
        ("a = 1\nb = paid", "", "Line 2 of the fields to set has a value that is no JSON: 'paid'"),
        ("= 1", "", "Line 1"),
        ("a = 1", "a", "The field 'a' is to be set and to be left out."),
        ("a = 1\n" * 101, "", "There are 101 lines, and 100 fit."),
    ],
)
def test_a_wrong_line_is_named(set_text: str, unset_text: str, told: str) -> None:
    with pytest.raises(EditLineError) as caught:
        parse_edit(set_text, unset_text)
    assert told in str(caught.value)


def test_one_record_is_sent_as_it_was_or_in_place_of_it() -> None:
    asked = parse_resend(encode_record_resend("10.2", '{"id": 1}'), 1, preview=False)
    assert (asked.ids, asked.expected, asked.edit.record) == (("10.2",), 1, b'{"id": 1}')
    assert not parse_resend(encode_record_resend("10.2", None), 1, preview=False).edit
    parse_resend(encode_record_resend("10.2", '{"id": "\ud800"}'), 1, preview=False)


def test_a_record_is_laid_out_without_a_change_of_its_values() -> None:
    text = f'{{"id":{10**30},"a":[1.10]}}'
    assert lay_out_record(text).splitlines()[1] == f'  "id": {10**30},'
    assert "1.10" in lay_out_record(text)
    assert lay_out_record("{broken") == "{broken"
    assert not TypedEdit({}, [])
    assert TypedEdit({"a": msgspec.Raw(b"1")})
