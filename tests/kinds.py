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


def some_at_release(*values: Any) -> list[Any]:
    """Values for `parametrize` that a release takes besides."""
    return [pytest.param(value, marks=pytest.mark.release) for value in values]


DUCKDB_DAILY = _take_daily("duckdb", "postgres")
POSTGRES_DAILY = _take_daily("postgres", "duckdb")
BOTH_AT_RELEASE = pytest.mark.parametrize(
    "destination_url", some_at_release("duckdb", "postgres"), indirect=True
)


def take_some_daily(cases: Iterable[Any], every: int) -> list[Any]:
    """Numbered cases for `parametrize`: each so manyth with each change, all at a release.

    With 0 a release alone takes them.
    """
    return [
        pytest.param(
            case,
            id=case["id"],
            marks=[pytest.mark.release] if not every or place % every else [],
        )
        for place, case in enumerate(cases)
    ]
