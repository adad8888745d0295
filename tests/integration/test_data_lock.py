"""Who may use a data folder, and who is waited for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.data_lock import is_lock_taken, take_lock
from treadle.errors import OperatorError

SERVER = """
import subprocess, sys
from pathlib import Path
from treadle.data_lock import take_lock
held = take_lock(Path(sys.argv[1]))
if sys.argv[2] == "leaves a child":
    subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[held])
else:
    print("taken", flush=True)
    input()
"""


def server(path: Path, what: str) -> "subprocess.Popen[str]":
    """A process that takes the lock; it, or its child, keeps it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_the_lock_is_free_once_it_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = take_lock(path)
    assert is_lock_taken(path)
    with pytest.raises(OperatorError, match="Another treadle serves"):
        take_lock(path, 0.0)
    os.close(held)
    os.close(take_lock(path, 0.0))
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_server_that_runs_is_waited_for_only_shortly(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with server(path, "stays") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "taken\n"
        with pytest.raises(OperatorError, match="Another treadle serves"):
            take_lock(path, 0.01)
        running.communicate("\n")


def test_children_that_do_not_end_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with server(path, "leaves a child") as gone:
        gone.wait()
        with pytest.raises(OperatorError, match=rf"killed treadle \(process {gone.pid}\)"):
            take_lock(path, 0.0)


def test_the_children_of_a_killed_server_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "lock"
    with server(path, "leaves a child") as gone:
        gone.wait()
        assert is_lock_taken(path)
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            assert gone.stdin is not None
            if len(waits) == 3:
                gone.stdin.close()  # the child ends
            os.sched_yield()

        monkeypatch.setattr("treadle.data_lock.time.sleep", sleep)
        os.close(take_lock(path, 0.001))
    assert len(waits) >= 3
    assert caplog.messages == [
        f"process {gone.pid} was killed; waiting for its children to let go of {tmp_path}"
    ]
