"""A server of an earlier commit is upgraded while a sender pushes: nothing is lost or doubled."""

import os
from pathlib import Path

import pytest
from tests.upgrade.former_release import (
    FIRST_REVISION,
    NoHistoryError,
    find_former_revision,
    unpack_source,
)
from tests.upgrade.retrying_sender import PEOPLE, expect_people
from tests.upgrade.upgrade_run import Ending, upgrade_under_load

from treadle.store.migration import HEAD_REVISION


@pytest.fixture(params=["first", "newest"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The source of the first commit that counts, or of the newest release."""
    try:
        newest = find_former_revision()
        if request.param == "newest" and newest == FIRST_REVISION:
            pytest.skip("no release was tagged yet")
        chosen = FIRST_REVISION if request.param == "first" else newest
        return unpack_source(chosen, tmp_path / "source")
    except NoHistoryError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.mark.release
@pytest.mark.parametrize(
    ("destination_url", "ending"),
    [("duckdb", "stop"), ("postgres", "kill")],
    indirect=["destination_url"],
)
def test_an_upgrade_under_load_loses_and_doubles_nothing(
    source: Path, tmp_path: Path, destination_url: str | None, ending: Ending
) -> None:
    report = upgrade_under_load(source, tmp_path, destination_url, ending)
    assert report.faults == ()
    assert report.migrated[1] == HEAD_REVISION
    assert report.requests > report.before


def test_what_was_sent_last_of_a_key_is_its_row() -> None:
    assert expect_people(0) == {}
    assert expect_people(1) == {place: place for place in range(PEOPLE)}
    rows = expect_people(9)
    assert len(rows) == 40
    assert (rows[0], rows[4], rows[5], rows[39]) == (40, 44, 5, 39)
