"""Crash points: armed only by a test, once, at a place that is there."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec

import treadle
from treadle import failpoint

SOURCE = Path(treadle.__file__).parent

DIES_AT_THE_SECOND_PASS = """
import sys
from treadle import failpoint
failpoint.arm(sys.argv[1])
failpoint.reach("log.answer")
failpoint.reach("log.append")
print("passed", flush=True)
failpoint.reach("log.append")
print("lived", flush=True)
"""


def test_every_named_point_is_in_the_source_and_every_point_there_has_a_name() -> None:
    found = {
        name
        for path in SOURCE.rglob("*.py")
        if path.name != "failpoint.py"
        for name in re.findall(r'failpoint\.reach\("([^"]+)"\)', path.read_text())
    }
    assert found == {
        *failpoint.FAILPOINTS,
        *failpoint.MOVE_FAILPOINTS,
        *failpoint.POSTGRES_LOG_FAILPOINTS,
        *failpoint.PART_FAILPOINTS,
        *failpoint.SHOW_FAILPOINTS,
        *failpoint.STAGE_FAILPOINTS,
        *failpoint.STEP_FAILPOINTS,
        *failpoint.UNIT_FAILPOINTS,
    }


def test_nobody_arms_a_point_but_the_orders() -> None:
    arming = {
        path.name
        for path in SOURCE.rglob("*.py")
        if re.search(r"failpoint\.arm\(|from treadle\.failpoint import", path.read_text())
    }
    assert arming == {"child_channel.py"}


def test_an_unarmed_point_does_nothing() -> None:
    assert failpoint.get_armed_file() is None
    assert failpoint.reach is failpoint._do_nothing
    failpoint.reach("log.append")


def test_a_process_dies_once(tmp_path: Path) -> None:
    file = tmp_path / "once"
    file.write_bytes(msgspec.json.encode(failpoint.FailpointPlan("log.append", passes=2)))
    command = [sys.executable, "-c", DIES_AT_THE_SECOND_PASS, str(file)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (first.returncode, first.stdout) == (-9, "passed\n")
    assert not file.exists()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (0, "passed\nlived\n")


def test_the_variable_of_the_tests_means_nothing_to_treadle(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treadle", "serve", "--data", str(tmp_path / "data")],
        env={"TREADLE_CRASH_POINT": str(tmp_path / "plan")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "TREADLE_CRASH_POINT sets nothing" in done.stderr
