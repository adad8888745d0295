from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.timestamps import (
    format_exact,
    format_microseconds,
    format_milliseconds,
    format_seconds,
    from_datetime,
    to_datetime,
)

LEAP = from_datetime(datetime(2024, 2, 29, 12, 30, 15, 7_890, tzinfo=UTC))
FIRST = from_datetime(datetime.min.replace(tzinfo=UTC))
LAST = from_datetime(datetime.max.replace(tzinfo=UTC))


@given(st.datetimes(timezones=st.timezones()))
def test_datetimes_come_back(moment: datetime) -> None:
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        return
    assert to_datetime(from_datetime(moment)) == utc


def test_a_zone_counts() -> None:
    east = timezone(timedelta(hours=2))
    assert from_datetime(datetime(1970, 1, 1, 2, tzinfo=east)) == 0


def test_parts_that_are_not_written_are_cut_off() -> None:
    assert format_seconds(LEAP) == "2024-02-29T12:30:15Z"
    assert format_milliseconds(LEAP) == "2024-02-29T12:30:15.007Z"
    assert format_microseconds(LEAP) == "2024-02-29T12:30:15.007890Z"
    assert format_exact(LEAP) == "2024-02-29T12:30:15.00789Z"
    assert format_exact(0) == format_seconds(0) == "1970-01-01T00:00:00Z"
    assert format_seconds(-1) == "1969-12-31T23:59:59Z"
    assert format_milliseconds(-1) == "1969-12-31T23:59:59.999Z"


@given(st.integers(FIRST, LAST))
def test_the_formats_agree_in_the_years_1_to_9999(instant: int) -> None:
    exact = format_microseconds(instant)
    assert exact == f"{exact[:23]}{exact[23:26]}Z"
    assert format_seconds(instant) == f"{exact[:19]}Z"
    assert format_milliseconds(instant) == f"{exact[:23]}Z"
    fraction = exact[19:26].rstrip("0").rstrip(".")
    assert format_exact(instant) == f"{exact[:19]}{fraction}Z"


def test_only_the_exact_format_knows_other_years() -> None:
    assert format_exact(LAST + 1) == "+10000-01-01T00:00:00Z"
    assert format_exact(FIRST - 1) == "0000-12-31T23:59:59.999999Z"
    for write in (format_seconds, format_milliseconds, format_microseconds):
        with pytest.raises(OverflowError):
            write(LAST + 1)
