"""The short forms of `python -m tests.faults.kill` and `python -m tests.faults.points`."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.kill import cycles
from tests.faults.points import die
from tests.faults.traffic import Rig
from tests.kinds import BOTH_AT_RELEASE, POSTGRES_DAILY

POINTS = (
    "log.after-commit",
    "destination.before-commit",
    "destination.after-commit",
    "loader.recover",
)
"""Around the commits of a record's way, where a death leaves most to mend."""

POINTS_DAILY = ("log.after-commit", "destination.after-commit")
"""Where something is committed that nobody has heard of."""


SERVERS, KILLS = 5, 5
"""Before a release, into each kind of destination."""


@pytest.fixture
def destination_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "duckdb":
        return None
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.mark.slow
@BOTH_AT_RELEASE
@pytest.mark.parametrize("seed", range(SERVERS))
def test_kills_at_random_times_lose_and_double_nothing(
    tmp_path: Path, destination_url: str | None, seed: int
) -> None:
    tally = Tally("kill")
    cycles(tmp_path, destination_url, KILLS, seed, tally, "kill")
    assert tally.violations == []
    assert tally.passed == KILLS


@pytest.mark.slow
@POSTGRES_DAILY
@pytest.mark.parametrize("points", [POINTS_DAILY, pytest.param(POINTS, marks=pytest.mark.release)])
def test_kills_around_every_commit_lose_and_double_nothing(
    tmp_path: Path, destination_url: str | None, points: Sequence[str]
) -> None:
    rig = Rig(tmp_path, destination_url, {"orders": True, "events": False}, seed=5)
    with rig.running():
        for point in points:
            assert die(rig, point, passes=1, whole=True) == [], point
