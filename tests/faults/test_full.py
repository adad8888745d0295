"""The short form of `python -m tests.faults.full`."""

import subprocess
from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.full import RESERVE, cycles, small_disk


@pytest.mark.slow
@pytest.mark.parametrize("reserve", [RESERVE, pytest.param(0, marks=pytest.mark.release)])
def test_a_full_disk_refuses_loses_nothing_and_resumes(tmp_path: Path, reserve: int) -> None:
    try:
        with small_disk(tmp_path):
            pass
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small file system can be mounted here")
    (tmp_path / "disk").rmdir()
    tally = Tally("full")
    cycles(tmp_path, 2, 4, reserve, tally)
    assert tally.violations == []
