"""The short forms of `python -m tests.faults.kill` and `python -m tests.faults.points`."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.kill import cycles
from tests.faults.points import die
from tests.faults.traffic import Rig
from tests.kinds import DUCKDB_DAILY, POSTGRES_DAILY

POINTS = (
    "log.after-commit",
    "destination.before-commit",
    "destination.after-commit",
    "loader.recover",
)
"""Around the commits of a record's way, where a death leaves most to mend."""


SERVERS, KILLS = 5, 5
"""For each destination: 5 kills of one on every change, 45 more of both before a release."""


@pytest.fixture
def destination_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "duckdb":
        return None
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.mark.slow
@DUCKDB_DAILY
@pytest.mark.parametrize(
    "seed",
    # One server on every change, the others before a release.
    [pytest.param(seed, marks=[pytest.mark.release] if seed else []) for seed in range(SERVERS)],
)
def test_kills_at_random_times_lose_and_double_nothing(
    tmp_path: Path, destination_url: str | None, seed: int
) -> None:
    tally = Tally("kill")
    cycles(tmp_path, destination_url, KILLS, seed, tally, "kill")
    assert tally.violations == []
    assert tally.passed == KILLS


@pytest.mark.slow
@POSTGRES_DAILY
def test_kills_around_every_commit_lose_and_double_nothing(
    tmp_path: Path, destination_url: str | None
) -> None:
    rig = Rig(tmp_path, destination_url, {"orders": True, "events": False}, seed=5)
    with rig.running():
        for point in POINTS:
            assert die(rig, point, passes=1, whole=True) == [], point
