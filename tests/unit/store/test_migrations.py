"""A migration says which releases may open the store after it."""

import importlib
import re
from pathlib import Path

import pytest

from treadle.store import migration, migrations

FIRST: int = 28
"""The migration that brought the column."""


def read_versions() -> dict[str, object]:
    """Revision -> its `least_version`, of each migration from FIRST on."""
    found: dict[str, object] = {}
    for path in (Path(str(migrations.__file__)).parent / "versions").glob("*.py"):
        number = re.match(r"\d{4}(?=_)", path.name)
        if number is not None and int(number[0]) >= FIRST:
            module = importlib.import_module(f"treadle.store.migrations.versions.{path.stem}")
            found[module.revision] = getattr(module, "least_version", "missing")
    return found


def test_each_migration_says_which_treadle_may_open_the_store_after_it() -> None:
    versions = read_versions()
    assert versions
    for revision, least in versions.items():
        assert least is None or least == revision, f"{revision} says {least!r}"
    assert max((str(least) for least in versions.values() if least), default="") == (
        migration.LEAST_VERSION
    )


@pytest.mark.parametrize(
    ("found", "least", "may"),
    [
        ("9999", "", True),
        ("9999", migration.HEAD_REVISION, True),
        ("9999", "9998", False),
        (migration.HEAD_REVISION, "", False),  # it is known, so nobody asks
        ("0001", "", False),
    ],
)
def test_a_newer_store_is_opened_where_it_allows_that(found: str, least: str, may: bool) -> None:
    assert migration.may_open(found, least) is may
