import subprocess
import sys
from pathlib import Path

import pytest

from treadle import load_locks
from treadle.errors import RetriableError
from treadle.load_locks import FolderLocks, LockTakenError

HOLDER = """
import sys
from pathlib import Path
from treadle.load_locks import FolderLocks
with FolderLocks(Path(sys.argv[1])).hold(["a", "b"], 0):
    print("held", flush=True)
    sys.stdin.read()
"""


class SteppedClock:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_lock_is_waited_for_and_given_up(tmp_path: Path) -> None:
    clock = SteppedClock()
    folder = tmp_path / "turns"
    locks = FolderLocks(folder, clock.read, clock.sleep)
    with FolderLocks(folder).hold(["a", "b"], 0) as are_ours:
        assert are_ours()
        with locks.hold(["c"], 1):
            assert clock.now == 0
        with pytest.raises(LockTakenError, match="still running"), locks.hold(["b", "c"], 3):
            pytest.fail("somebody else has it")
        assert 3 <= clock.now < 4
    with locks.hold(["c", "b", "a", "a"], 0):
        pass


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    locks = FolderLocks(tmp_path / "turns")
    command = [sys.executable, "-c", HOLDER, str(locks.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockTakenError), locks.hold(["b"], 0):
            pytest.fail("the other process has it")
        holder.kill()
        holder.wait()
    with locks.hold(["a", "b"], 0):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "turns").write_text("")
    with (
        pytest.raises(RetriableError, match="turns cannot be used"),
        FolderLocks(tmp_path / "turns").hold(["a"], 0),
    ):
        pytest.fail("there is no place for it")


def test_a_process_without_an_installation_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_locks, "_used", None)
    assert load_locks.find_locks() is None
