"""The short forms of the fault runs on MariaDB, which cannot undo a schema change."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.faults import outage
from tests.faults.command import Tally
from tests.faults.commit import cuts
from tests.faults.kill import cycles
from tests.faults.points import CHANGES, FIRST, die
from tests.faults.traffic import Rig

POINTS = (FIRST, *CHANGES, "destination.before-commit", "destination.after-commit")
"""Around what is committed for itself."""

DAILY = (CHANGES[-1],)
"""Between a statement that changes the schema and the load."""

KILLS = 5


@pytest.mark.slow
@pytest.mark.parametrize("points", [DAILY, pytest.param(POINTS, marks=pytest.mark.release)])
def test_deaths_around_schema_changes_lose_and_double_nothing(
    tmp_path: Path, mariadb_url: str, points: Sequence[str]
) -> None:
    rig = Rig(tmp_path, mariadb_url, {"orders": True, "events": False}, seed=5)
    with rig.running():
        for point in points:
            assert die(rig, point, passes=1, whole=True) == [], point


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_times_lose_and_double_nothing(
    tmp_path: Path, mariadb_url: str, seed: int
) -> None:
    tally = Tally("kill")
    cycles(tmp_path, mariadb_url, KILLS, seed, tally, "kill")
    assert tally.violations == []
    assert tally.passed == KILLS


def test_a_cut_at_the_commit_loses_and_doubles_nothing(tmp_path: Path, mariadb_url: str) -> None:
    tally = Tally("commit")
    cuts(tmp_path, mariadb_url, 18, 1, tally)
    assert tally.violations == []
    assert tally.counts["first loads"] == 12


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("count", [len(outage.MYSQL_KINDS)])
def test_each_outage_once_loses_and_doubles_nothing(mariadb_url: str, count: int) -> None:
    tally = Tally("outage")  # on a server of its own; the fixture says whether there can be one
    outage.run(argparse.Namespace(cycles=count, seed=5, destination=["mysql"]), tally)
    assert tally.violations == []
    assert tally.passed == count
