"""The short forms of the fault runs on Redshift, or what its proxy makes of PostgreSQL."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.commit import cuts
from tests.faults.kill import cycles
from tests.faults.points import FIRST, die
from tests.faults.traffic import Rig

POINTS = (FIRST, "destination.after-rows", "destination.before-commit", "destination.after-commit")

pytestmark = [pytest.mark.slow, pytest.mark.release]


def test_deaths_around_a_commit_lose_and_double_nothing(tmp_path: Path, redshift_url: str) -> None:
    rig = Rig(tmp_path, redshift_url, {"orders": True, "events": False}, seed=5)
    with rig.running():
        for point in POINTS:
            assert die(rig, point, passes=1, whole=True) == [], point


def test_kills_at_random_times_lose_and_double_nothing(tmp_path: Path, redshift_url: str) -> None:
    tally = Tally("kill")
    cycles(tmp_path, redshift_url, 5, 1, tally, "kill")
    assert tally.violations == []
    assert tally.passed == 5


def test_a_cut_at_the_commit_loses_and_doubles_nothing(tmp_path: Path, redshift_url: str) -> None:
    tally = Tally("commit")
    cuts(tmp_path, redshift_url, 18, 1, tally)
    assert tally.violations == []
    assert tally.counts["first loads"] == 12
