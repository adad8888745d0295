"""Tests of a whole server that take one kind of destination with each change, a release both.

What differs between the kinds has tests of its own for each: the suites of `tests/conformance` and
`tests/integration/destinations`. The list of what a release passes besides is in CONTRIBUTING.md.
"""

import pytest


def _take_daily(daily: str, at_release: str) -> pytest.MarkDecorator:
    kinds = [daily, pytest.param(at_release, marks=pytest.mark.release)]
    return pytest.mark.parametrize("destination_url", kinds, indirect=True)


DUCKDB_DAILY = _take_daily("duckdb", "postgres")
POSTGRES_DAILY = _take_daily("postgres", "duckdb")
