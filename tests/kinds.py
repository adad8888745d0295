"""Tests that take one kind of destination, or some of many cases, with each change; a release all.

What differs between the kinds has tests of its own for each: the suites of `tests/conformance` and
`tests/integration/destinations`. The list of what a release passes besides is in CONTRIBUTING.md.
"""

from collections.abc import Iterable
from typing import Any

import pytest


def _take_daily(daily: str, at_release: str) -> pytest.MarkDecorator:
    kinds = [daily, pytest.param(at_release, marks=pytest.mark.release)]
    return pytest.mark.parametrize("destination_url", kinds, indirect=True)


CLICKHOUSE_AT_RELEASE = pytest.param("clickhouse", marks=pytest.mark.release)
"""For a fixture of whole programs: its engine takes some seconds of processor time for each."""

DUCKDB_DAILY = _take_daily("duckdb", "postgres")
POSTGRES_DAILY = _take_daily("postgres", "duckdb")


def take_some_daily(cases: Iterable[Any], every: int) -> list[Any]:
    """Numbered cases for `parametrize`: each so manyth with each change, all at a release."""
    return [
        pytest.param(case, id=case["id"], marks=[pytest.mark.release] if place % every else [])
        for place, case in enumerate(cases)
    ]
