import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.text import NulEscape, digest_text, make_storable

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
