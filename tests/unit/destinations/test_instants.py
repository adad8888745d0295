"""Instants of a DuckDB file as Python values."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.duckdb.connection import instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_years_python_knows_are_datetimes(at: datetime) -> None:
    assert instant((at - EPOCH) // timedelta(microseconds=1)) == at


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (253_402_300_800_000_000, "10000-01-01 00:00:00.000000+00"),
        (-62_135_596_800_000_001, "0001-12-31 23:59:59.999999+00 BC"),
        (-9_223_372_022_400_000_000, "290309-12-22 00:00:00.000000+00 BC"),
        (9_223_372_036_854_775_806, "294247-01-10 04:00:54.775806+00"),
    ],
)
def test_other_years_are_texts(microseconds: int, expected: str) -> None:
    assert instant(microseconds) == expected
    with duckdb.connect() as connection:
        text = connection.execute("SELECT make_timestamp(?)::VARCHAR", [microseconds]).fetchall()[
            0
        ][0]
    assert text.split()[0] == expected.split()[0]
