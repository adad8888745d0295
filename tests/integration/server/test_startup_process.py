"""The work of a start in a forked process."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from treadle.errors import InternalError, OperatorError
from treadle.server.startup_process import StartupProcess


@dataclass(frozen=True, slots=True)
class NotedWork:
    """Writes the id of its process to files; fails, or is killed, where it is told to."""

    folder: Path
    fails_with: Exception | None = None
    killed: bool = False

    def prepare(self) -> None:
        (self.folder / "prepared").write_text(str(os.getpid()))
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails_with is not None:
            raise self.fails_with

    def announce(self) -> None:
        (self.folder / "announced").write_text(str(os.getpid()))


def test_one_process_prepares_and_announces_and_ends(tmp_path: Path) -> None:
    startup = StartupProcess(lambda: NotedWork(tmp_path))
    startup.wait_until_prepared()
    assert not (tmp_path / "announced").exists()
    startup.announce()
    process = (tmp_path / "prepared").read_text()
    assert (tmp_path / "announced").read_text() == process != str(os.getpid())
    with pytest.raises(ChildProcessError):
        os.waitpid(int(process), 0)
    startup.end()  # as often as it is asked for


def test_a_server_that_ends_before_it_answers_is_not_announced(tmp_path: Path) -> None:
    startup = StartupProcess(lambda: NotedWork(tmp_path))
    startup.wait_until_prepared()
    startup.end()
    assert not (tmp_path / "announced").exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(int((tmp_path / "prepared").read_text()), 0)


def test_what_the_work_finds_is_raised_here(tmp_path: Path) -> None:
    startup = StartupProcess(lambda: NotedWork(tmp_path, OperatorError("The folder — is full.")))
    with pytest.raises(OperatorError, match=r"^The folder — is full\.$"):
        startup.wait_until_prepared()


def test_a_process_that_is_killed_is_said(tmp_path: Path) -> None:
    startup = StartupProcess(lambda: NotedWork(tmp_path, killed=True))
    with pytest.raises(OperatorError, match="was ended by SIGKILL"):
        startup.wait_until_prepared()


@pytest.mark.parametrize("fault", [InternalError("a promise was broken"), ValueError("odd")])
def test_a_fault_of_ours_is_shown_with_its_place(
    tmp_path: Path,
    fault: Exception,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A command that ran in this process before may have set one that writes elsewhere.
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    startup = StartupProcess(lambda: NotedWork(tmp_path, fault))
    with pytest.raises(SystemExit) as ended:
        startup.wait_until_prepared()
    assert ended.value.code == 1
    told = capfd.readouterr().err
    assert str(fault) in told
    assert "in prepare" in told
