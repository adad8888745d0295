"""Counts for people."""

from treadle.counting import count_noun, count_subject


def test_one_is_not_several() -> None:
    assert count_noun(0, "record") == "0 records"
    assert count_noun(1, "record") == "1 record"
    assert count_noun(2_000, "record") == "2,000 records"
    assert count_noun(2, "entry", "entries") == "2 entries"
    assert count_noun(1, "entry", "entries") == "1 entry"
    assert count_subject(1, "record", "waits", "wait") == "1 record waits"
    assert count_subject(0, "record", "waits", "wait") == "0 records wait"
