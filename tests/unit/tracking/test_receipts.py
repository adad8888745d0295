"""Receipts as texts, and preferences of clients."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.ingest.prefer_header import LoadPreference, parse_prefer
from treadle.ingest.receipts_endpoint import parse_wait_seconds
from treadle.timestamps import format_microseconds as written
from treadle.tracking.receipts import Receipt, ReceiptCodec

ids = st.integers(0, 2**63 - 1)
OURS = ReceiptCodec("installation", "log")


@given(ids, ids, st.integers(1, 20_000))
def test_a_receipt_is_read_back(source: int, first: int, entries: int) -> None:
    receipt = Receipt(source, first, entries)
    text = OURS.encode(receipt)
    assert re.fullmatch(r"rc_[A-Za-z0-9_-]+", text)
    assert OURS.decode(text) == receipt


def test_receipts_of_earlier_releases_are_good() -> None:
    """Made by the release before installations could have several logs."""
    long = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
    for codec, receipt, text in (
        (ReceiptCodec("0" * 36, "a log"), Receipt(7, 1042, 2), "rc_kwfNBBICoo7ctTLY-v4"),
        (
            ReceiptCodec(*long),
            Receipt(123_456, 2**40, 20_000),
            "rc_k84AAeJAzwAAAQAAAAAAzU4g7f1aXWH6te8",
        ),
    ):
        assert codec.decode(text) == receipt
        assert codec.encode(receipt) == text


def test_a_receipt_is_of_the_log_of_its_source() -> None:
    ids = {7: "log", 8: "second"}
    several = ReceiptCodec(
        "installation", "log", lambda: ["log", "second"], lambda source_id: ids[source_id]
    )
    second = ReceiptCodec("installation", "second")
    for source, alone in ((7, OURS), (8, second)):
        receipt = Receipt(source, 1042, 2)
        assert several.encode(receipt) == alone.encode(receipt)
        assert several.decode(alone.encode(receipt)) == receipt
        assert several.get_log_id(source) == ids[source]
    assert OURS.decode(second.encode(Receipt(8, 1042, 2))) is None
    assert several.decode(ReceiptCodec("installation", "third").encode(Receipt(7, 1, 1))) is None


@given(st.integers(0, 24), st.integers(1, 255))
def test_a_changed_receipt_is_none(place: int, change: int) -> None:
    text = OURS.encode(Receipt(7, 123_456, 2))
    place %= len(text)
    other = chr((ord(text[place]) + change) % 256)
    changed = text[:place] + other + text[place + 1 :]
    found = OURS.decode(changed)
    # The last character holds spare bits: two of its forms may say the same.
    assert found is None or (place == len(text) - 1 and found == Receipt(7, 123_456, 2))


@pytest.mark.parametrize(
    "other", [ReceiptCodec("another", "log"), ReceiptCodec("installation", "other")]
)
def test_receipts_of_other_installations_and_logs_are_none(other: ReceiptCodec) -> None:
    assert OURS.decode(other.encode(Receipt(1, 1, 1))) is None


@given(st.text(max_size=60))
def test_any_text_is_read_without_harm(text: str) -> None:
    assert OURS.decode(text) is None
    assert OURS.decode("rc_" + text) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("ack=loaded", LoadPreference(True, 10.0)),
        ("wait=5, ack=loaded", LoadPreference(True, 5.0)),
        ('Wait="3" , ACK="Loaded"; x=1', LoadPreference(True, 3.0)),
        ("wait=1000, ack=loaded", LoadPreference(True, 60.0)),
        ("wait=soon, ack=loaded", LoadPreference(True, 10.0)),
        ("wait=5", LoadPreference(False, 5.0)),
        ("respond-async, ack=stored", LoadPreference(False, 10.0)),
        ("", LoadPreference(False, 10.0)),
    ],
)
def test_preferences(header: str, expected: LoadPreference) -> None:
    assert parse_prefer(header) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("61", 60.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_wait_seconds(text: str, seconds: float | None) -> None:
    assert parse_wait_seconds(text) == seconds


def test_times_are_written_in_utc() -> None:
    assert written(1_578_950_703_123_456) == "2020-01-13T21:25:03.123456Z"
    assert written(0) == "1970-01-01T00:00:00.000000Z"
