"""The short forms of the fault runs on files, whose loads are committed before they are shown."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.command import Tally
from tests.faults.commit import cuts
from tests.faults.kill import cycles
from tests.faults.points import FIRST, die
from tests.faults.traffic import Rig

from treadle.failpoint import PART_FAILPOINTS, SHOW_FAILPOINTS

if TYPE_CHECKING:
    from tests.servers.iceberg import SeaweedServer

pytestmark = [pytest.mark.release, pytest.mark.slow]

POINTS = (
    FIRST,
    *PART_FAILPOINTS,
    "destination.before-commit",
    "destination.after-commit",
    *SHOW_FAILPOINTS,
)
"""Around the record that is the load."""

KILLS = 5


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return f"files://{tmp_path / 'lake'}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of the server."""
    place = tmp_path / "data"
    place.mkdir()
    return place


def test_deaths_around_the_record_lose_and_double_nothing(data: Path, lake: str) -> None:
    rig = Rig(data, lake, {"orders": True, "events": False}, seed=5)
    with rig.running():
        for point in POINTS:
            assert die(rig, point, passes=1, whole=True) == [], point


@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_times_lose_and_double_nothing(data: Path, lake: str, seed: int) -> None:
    tally = Tally("kill")
    cycles(data, lake, KILLS, seed, tally, "kill")
    assert tally.violations == []
    assert tally.passed == KILLS


def test_a_cut_at_a_record_loses_and_doubles_nothing(
    tmp_path: Path, seaweed_server: "SeaweedServer"
) -> None:
    tally = Tally("commit")
    cuts(tmp_path, seaweed_server.files_url(secrets.token_hex(6)), 18, 1, tally)
    assert tally.violations == []
    assert tally.counts["first loads"] == 12
