import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.text import (
    NulEscape,
    digest_text,
    escape_json,
    escape_lines,
    escape_unprintable,
    make_storable,
)

TEXTS = st.text(st.characters() | st.sampled_from("\0\\\x1a01\ud800\n"))


@given(TEXTS)
def test_a_storable_text_has_neither_nul_nor_half_a_pair(text: str) -> None:
    stored = make_storable(text)
    assert "\0" not in stored
    stored.encode()  # raises for a surrogate without its half
    assert make_storable(stored) == stored


def test_what_cannot_be_stored_is_left_out_or_shown() -> None:
    assert make_storable("a\0b\ud800c") == "ab?c"


@pytest.mark.parametrize(("mark", "second"), [("\\", "\\"), ("\x1a", "1")])
@given(text=TEXTS)
def test_an_escaped_text_has_no_nul_and_comes_back(mark: str, second: str, text: str) -> None:
    spelling = NulEscape(mark, second)
    escaped = spelling.escape(text)
    assert "\0" not in escaped
    assert spelling.unescape(escaped) == text


def test_the_two_spellings_that_are_on_disk() -> None:
    assert NulEscape("\\", "\\").escape("a\0b\\") == "a\\0b\\\\"
    assert NulEscape("\x1a", "1").escape("a\0b\x1a") == "a\x1a0b\x1a1"


def test_half_a_pair_counts_in_a_digest() -> None:
    assert len({digest_text("\ud800"), digest_text("\ud801"), digest_text("?")}) == 3


UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that a terminal obeys or does not show."""


def test_every_character_that_cannot_be_seen_is_escaped() -> None:
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in UNSEEN:
            shown = escape_unprintable(character)
            assert shown.isascii(), f"{number:x}"
            assert shown.isprintable(), f"{number:x}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;pwned\x07\x1b[2J", "\\x1b]0;pwned\\x07\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b2J", "\\x9b2J"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("pay\u200bload\ufeff", "pay\\u200bload\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u3164", "\\u3164"),
        ("\x7f", "\\x7f"),
        ("Łódź 東京 😀 %s {x} [bold]", "Łódź 東京 😀 %s {x} [bold]"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_how_unprintable_characters_are_shown(text: str, shown: str) -> None:
    assert escape_unprintable(text) == shown


ANYTHING = st.text(st.characters() | st.sampled_from('\x1b\x9b\u202e\u2028\ud800\n\\"\U000e0001'))


@given(ANYTHING)
def test_a_shown_text_is_one_line_of_characters_that_can_be_seen(text: str) -> None:
    shown = escape_unprintable(text)
    assert not [one for one in shown if unicodedata.category(one) in UNSEEN]
    assert len(shown.splitlines()) <= 1
    assert escape_unprintable(shown) == shown


@given(ANYTHING)
def test_several_lines_stay_lines(text: str) -> None:
    assert escape_lines(text).count("\n") == text.count("\n")


@given(
    st.recursive(ANYTHING | st.integers(), lambda of: st.lists(of) | st.dictionaries(ANYTHING, of))
)
def test_escaped_json_has_the_same_value(value: object) -> None:
    for written in (json.dumps(value, ensure_ascii=False, indent="\t"), json.dumps(value)):
        shown = escape_json(written)
        assert json.loads(shown) == value
        assert not [one for one in shown if unicodedata.category(one) in UNSEEN]
