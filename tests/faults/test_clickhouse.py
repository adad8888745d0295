"""The short forms of the fault runs on ClickHouse, where each statement is done for itself."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.commit import cuts
from tests.faults.kill import cycles
from tests.faults.points import CHANGES, FIRST, die
from tests.faults.traffic import Rig

POINTS = (FIRST, *CHANGES, "destination.before-commit", "destination.after-commit")
"""Around what is done for itself."""

KILLS = 5


@pytest.mark.slow
@pytest.mark.release
def test_deaths_around_the_steps_of_a_load_lose_and_double_nothing(
    tmp_path: Path, clickhouse_url: str
) -> None:
    rig = Rig(tmp_path, clickhouse_url, {"orders": True, "events": False}, seed=5)
    with rig.running():
        for point in POINTS:
            assert die(rig, point, passes=1, whole=True) == [], point


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_times_lose_and_double_nothing(
    tmp_path: Path, clickhouse_url: str, seed: int
) -> None:
    tally = Tally("kill")
    cycles(tmp_path, clickhouse_url, KILLS, seed, tally, "kill")
    assert tally.violations == []
    assert tally.passed == KILLS


@pytest.mark.slow
@pytest.mark.release
def test_a_cut_at_the_commit_loses_and_doubles_nothing(tmp_path: Path, clickhouse_url: str) -> None:
    tally = Tally("commit")
    cuts(tmp_path, clickhouse_url, 18, 1, tally)
    assert tally.violations == []
    assert tally.counts["first loads"] == 12
