"""The short forms of the fault runs on MariaDB, which cannot undo a schema change."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.faults import outage
from tests.faults.calls import LOADS
from tests.faults.command import Tally
from tests.faults.commit import cuts
from tests.faults.hang import ENDINGS, Scene, stall
from tests.faults.kill import cycles
from tests.faults.points import CHANGES, FIRST, die
from tests.faults.soak import parts
from tests.faults.test_soak import SMALL
from tests.faults.traffic import Rig
from tests.faults.units import EVENTS, unit_scene
from tests.faults.units import cycles as unit_cycles
from tests.servers.mariadb import MariaServer

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
@pytest.mark.parametrize("count", [len(outage.KINDS)])
def test_each_outage_once_loses_and_doubles_nothing(mariadb_url: str, count: int) -> None:
    tally = Tally("outage")  # on a server of its own; the fixture says whether there can be one
    outage.run(argparse.Namespace(cycles=count, seed=5, destination=["mysql"]), tally)
    assert tally.violations == []
    assert tally.passed == count


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_load_hangs(tmp_path: Path, mariadb_url: str, ending: str) -> None:
    held = stall(1, ending, only=LOADS)
    assert Scene(tmp_path, mariadb_url, held).run() == []
    assert held.called in LOADS


@pytest.mark.slow
@pytest.mark.release
def test_tables_go_on_whatever_happens_to_a_loader(
    tmp_path: Path, mariadb_server: MariaServer, mariadb_url: str
) -> None:
    tally = Tally("units")
    with unit_scene(tmp_path, mariadb_server, 2) as scene:
        unit_cycles(scene, EVENTS, len(EVENTS), tally)
    assert tally.violations == []
    assert tally.counts["tables taken over"] > 0


@pytest.mark.slow
@pytest.mark.release
def test_much_of_everything_stays_in_bounds(tmp_path: Path, mariadb_url: str) -> None:
    tally = Tally("soak")
    with MariaServer() as database:  # its own: it is stopped
        parts(tmp_path, database.url(), database, SMALL, tally, "mysql")
    assert tally.violations == []
    assert tally.passed == 5
