"""Counts and sizes for people."""

import pytest

from treadle.counting import count_noun, format_size


def test_one_is_not_several() -> None:
    assert count_noun(0, "record") == "0 records"
    assert count_noun(1, "record") == "1 record"
    assert count_noun(2_000, "record") == "2,000 records"
    assert count_noun(2, "entry", "entries") == "2 entries"
    assert count_noun(1, "entry", "entries") == "1 entry"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 KB"),
        (1_024, "1.0 KB"),
        (59_408_384, "57 MB"),
        (28_384_321_536, "26 GB"),
        (1_048_000, "1.0 MB"),
        (10 * 1024**3, "10 GB"),
        (2**70, "1,048,576 PB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text
