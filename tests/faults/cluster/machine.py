"""What of this machine can be taken from a node: processor time, its processes, its disk.

Control groups are those of version 1, where they are mounted and may be made.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.servers.processes import children

GROUPS: Final = Path("/sys/fs/cgroup")
CONTROLLERS: Final = ("cpu", "cpuacct")
PERIOD_US: Final = 100_000
"""Of the quota of processor time."""

SLOW_SECONDS: Final = 0.2
"""Added to each fsync of a slow disk."""

GROUP_SECONDS_MAX: Final = 10.0


class NoMachineryError(RuntimeError):
    """The machine does not give what a fault needs; the text says what."""


@dataclass(slots=True)
class ControlGroup:
    """A control group of version 1 for the processes of a node.

    Attributes:
        name: of its folder below each controller.
        controllers: those that could be had, of `CONTROLLERS`.
    """

    name: str
    controllers: list[str] = field(default_factory=list)

    def make(self) -> None:
        """Make it under every controller that is there."""
        for controller in CONTROLLERS:
            folder = GROUPS / controller / self.name
            with contextlib.suppress(OSError):
                folder.mkdir()
                self.controllers.append(controller)

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return a command that enters the group and becomes another one, with its process id."""
        if not self.controllers:
            return list(command)
        enter = "; ".join(
            f"echo $$ > {GROUPS / controller / self.name / 'cgroup.procs'}"
            for controller in self.controllers
        )
        return ["/bin/sh", "-c", f'{enter}; exec "$@"', "sh", *command]

    def limit(self, share: float) -> None:
        """Give the group so much of one core.

        Raises:
            NoMachineryError: there is no such controller here.
        """
        if "cpu" not in self.controllers:
            raise NoMachineryError("a share of a core needs the controller cpu of control groups")
        folder = GROUPS / "cpu" / self.name
        (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (folder / "cpu.cfs_quota_us").write_text(str(round(PERIOD_US * share)))

    def read_processor_seconds(self) -> float:
        """Return what its processes, dead ones too, have used; 0 where nobody counts."""
        path = GROUPS / "cpuacct" / self.name / "cpuacct.usage"
        return int(path.read_text()) / 1e9 if path.exists() else 0.0

    def remove(self) -> None:
        """Remove it, once its processes have ended."""
        deadline = time.monotonic() + GROUP_SECONDS_MAX
        for controller in self.controllers:
            while time.monotonic() < deadline:
                try:
                    (GROUPS / controller / self.name).rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)
                else:
                    break
        self.controllers.clear()


def list_tree(pid: int) -> list[int]:
    """Return a process and all below it, parents first."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def stop_tree(pid: int) -> list[int]:
    """Stop a process and all below it; returns those that were stopped.

    Parents first, so that none of them makes another one meanwhile.
    """
    stopped: list[int] = []
    while True:
        new = [one for one in list_tree(pid) if one not in stopped]
        if not new:
            return stopped
        for one in new:
            send_signal(one, signal.SIGSTOP)
        stopped += new


def send_signal(pid: int, which: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, which)


class SlowDisk:
    """Makes each fsync of some processes, and of those that they make, take longer.

    Raises:
        NoMachineryError: there is no `strace`, or it may not look at other processes.
    """

    def __init__(self, pids: Sequence[int], seconds: float = SLOW_SECONDS) -> None:
        program = shutil.which("strace")
        if program is None:
            raise NoMachineryError("a slow disk needs the program strace")
        calls = "fsync,fdatasync"
        delay = f"inject={calls}:delay_exit={round(seconds * 1e6)}"
        command = [program, "-qq", "-f", "-e", f"trace={calls}", "-e", delay, "-o", os.devnull]
        for pid in pids:
            command += ["-p", str(pid)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def heal(self) -> None:
        """Let the processes go."""
        self._process.terminate()
        try:
            self._process.wait(GROUP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(slots=True)
class MemoryDisk:
    """A disk of a fixed size, in memory, that can be filled.

    Attributes:
        folder: where it is mounted.
        size: in bytes.
    """

    folder: Path
    size: int
    mounted: bool = False

    def mount(self, user: int, group: int) -> None:
        """Mount it, for one user.

        Raises:
            NoMachineryError: that is not allowed here.
        """
        options = f"size={self.size},mode=700,uid={user},gid={group}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoMachineryError(f"a disk cannot be mounted: {done.stderr.strip()}")
        self.mounted = True

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), self._filler.open("wb") as out:
            while True:
                out.write(bytes(1 << 20))
                out.flush()

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Remove it with what is in it."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
            self.mounted = False

    @property
    def _filler(self) -> Path:
        # Beside what the server knows: a hidden file in its folder is not copied to a standby.
        return self.folder / "pgsql_tmp_filler"
