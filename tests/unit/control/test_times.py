"""Instants on the wire (connect-api.md 4.6)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.times import instant
from treadle.timestamps import format_seconds as seconds

CREATED = 1_549_385_095_000_000


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (CREATED, "2019-02-05T16:44:55Z"),
        (CREATED + 999_999, "2019-02-05T16:44:55Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
    ],
)
def test_an_instant_is_written_in_whole_seconds(microseconds: int, text: str) -> None:
    assert seconds(microseconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-02-05T16:44:55Z", "2019-02-05T16:44:55Z"),
        ("2019-02-05T16:44:55.999Z", "2019-02-05T16:44:55Z"),
        ("2019-02-05T16:44:55.123456789012Z", "2019-02-05T16:44:55Z"),
        ("2019-02-05t16:44:55z", "2019-02-05T16:44:55Z"),
        ("2019-02-05 16:44:55", "2019-02-05T16:44:55Z"),
        ("2019-02-05T16:44", "2019-02-05T16:44:00Z"),
        ("2019-02-05", "2019-02-05T00:00:00Z"),
        ("2019-02-05T17:44:55+01:00", "2019-02-05T16:44:55Z"),
        ("2019-02-05T17:44:55+0100", "2019-02-05T16:44:55Z"),
        ("2019-02-05T06:44:55-10", "2019-02-05T16:44:55Z"),
        ("1969-07-20T20:17:40Z", "1969-07-20T20:17:40Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_iso_8601_is_understood_and_written_back_in_utc(text: str, expected: str) -> None:
    found = instant(text)
    assert found is not None
    assert seconds(found) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2019",
        "2019-02",
        "2019-02-30T00:00:00Z",
        "2019-02-05T25:00:00Z",
        "2019-02-05T16:44:60Z",
        "2019-02-05x16:44:55Z",
        "2019-W06-2",
        "20190205T164455Z",
        "1549385095",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00Z",
        "٢٠١٩-02-05T16:44:55Z",
        "2019-02-05T16:44:55Z\n",
    ],
)
def test_anything_else_names_no_instant(text: str) -> None:
    assert instant(text) is None


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_what_is_written_is_read_back(at: datetime) -> None:
    written = at.replace(microsecond=0).isoformat() + "Z"
    found = instant(written)
    assert found is not None
    assert seconds(found) == written
    # What clients parse with (connect-api.md 4.6).
    parsed = datetime.strptime(seconds(found), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert parsed == at.replace(microsecond=0, tzinfo=UTC)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    found = instant(text)
    assert found is None or seconds(found).endswith("Z")
