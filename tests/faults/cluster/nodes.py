"""The processes of treadle in a cluster: each member in a namespace, with a control group."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import msgspec
from tests.faults.cluster.machine import ControlGroup, list_tree, send_signal, stop_tree
from tests.faults.cluster.network import NetworkNode
from tests.faults.serve import MODULE, VARIABLE
from tests.servers.processes import roles
from tests.servers.treadle import TreadleServer

from treadle.failpoint import FailpointPlan

PORT: Final = 8080
WAIT_SECONDS_MAX: Final = 30.0

SETTINGS: Final = {
    "insecure_http": "true",  # in namespaces that no other machine reaches
    "retention_days": "1",
    "disk_reserve_bytes": "0",
}


ATTACKED: Final = {"load_age_seconds": "0.2", "load_rows": "2000"}
"""Many small loads, so that faults meet some."""


@dataclass(frozen=True, slots=True)
class MemberPlace:
    """Where a member runs, and how it is made.

    Attributes:
        name: among the members.
        role: the setting; "" for a server that knows no roles.
        folder: for its data, log lines and plans.
        environment: further variables: the store, the secret key.
        node: its namespace; None to run on this machine itself.
        settings: further ones.
        attacked: it has doors for faults, a clock and failpoints; else it runs as an operator
            starts it, and nothing is slower for a test.
    """

    name: str
    role: str
    folder: Path
    environment: Mapping[str, str]
    node: NetworkNode | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    attacked: bool = True


class ClusterMember(TreadleServer):
    """`treadle serve --role ..` in a namespace of its own."""

    def __init__(self, place: MemberPlace) -> None:
        self.place = place
        self.host = "127.0.0.1" if place.node is None else place.node.address
        self.plan = place.folder / "plan"
        self.clock = place.folder / "clock"
        self.group = ControlGroup(f"treadle-{os.getpid()}-{place.name}")
        place.folder.mkdir(parents=True, exist_ok=True)
        here = Path(__file__).parents[3]
        its = {"host": self.host, **SETTINGS, **(ATTACKED if place.attacked else {})}
        its |= place.settings
        if place.role:
            its |= {"role": place.role, "member": place.name}
        super().__init__(
            place.folder / "data",
            settings=its,
            environment={
                "PYTHONPATH": f"{here}{os.pathsep}{here / 'src'}",
                **({VARIABLE: os.fspath(self.plan)} if place.attacked else {}),
                **place.environment,
            },
            port=0 if place.node is None else PORT,
            program=MODULE if place.attacked else "treadle",
        )
        self._stopped: list[int] = []
        self.group.make()

    @property
    def name(self) -> str:
        """Among the members."""
        return self.place.name

    @property
    def alive(self) -> bool:
        """Whether its supervisor runs."""
        return self._process is not None and self._process.poll() is None

    def begin_start(self) -> None:
        """Start it and do not wait until it listens."""
        self.clear_plan()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._launch()

    def wait_until_started(self) -> Self:
        """Wait until it listens."""
        self._listen()
        return self

    def kill_all(self) -> None:
        """kill -9 of all its processes, as when its machine vanishes."""
        if self._process is None:
            return
        for pid in list_tree(self.process.pid):
            send_signal(pid, signal.SIGKILL)
        self.process.wait()

    def kill_supervisor(self) -> None:
        """kill -9 of the supervisor alone; its children notice, and end."""
        self.process.kill()
        self.process.wait()

    def kill_child(self, role: str) -> bool:
        """kill -9 of the process of a role, which is started again; whether there was one."""
        child = dict(roles(self.process.pid)).get(role)
        if child is None:
            return False
        send_signal(child, signal.SIGKILL)
        return True

    def stop_all(self) -> None:
        """Stop its processes with SIGSTOP."""
        if self.alive:
            self._stopped = stop_tree(self.process.pid)

    def continue_all(self) -> None:
        """Let them go on."""
        for pid in reversed(self._stopped):
            send_signal(pid, signal.SIGCONT)
        self._stopped = []

    def leave(self) -> None:
        """Stop it as an operator does, and wait until it ended."""
        if self.alive:
            self.stop()

    def set_plan(self, point: str, passes: int = 1) -> None:
        """Let it die at a failpoint."""
        new = self.plan.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(FailpointPlan(point, passes, whole=True)))
        new.replace(self.plan)

    def clear_plan(self) -> bool:
        """Take the plan back; returns whether it had been carried out."""
        carried_out = not self.plan.exists()
        self.plan.unlink(missing_ok=True)
        return carried_out

    def end(self) -> None:
        """End it in any case, and remove its control group."""
        self.continue_all()
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(WAIT_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill_all()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self.end_leftovers()
        self.group.remove()

    def end_leftovers(self) -> None:
        """Kill what a killed supervisor left in the namespace, such as a child that hangs."""
        if self.place.node is None:
            return
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while pids := list_namespace(self.place.node.namespace):
            for pid in pids:
                send_signal(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def read_lines(self) -> list[str]:
        """Return what it logged."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def _place(self, command: list[str]) -> list[str]:
        placed = command if self.place.node is None else self.place.node.wrap(command)
        return self.group.wrap(placed)


def list_namespace(namespace: str) -> list[int]:
    """Return the processes in a namespace."""
    done = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


def count_lines(members: list[ClusterMember], words: Mapping[str, str]) -> dict[str, int]:
    """Count what members logged.

    Args:
        members: whose lines are read.
        words: what a line has in it, by the name of the count.
    """
    counts = dict.fromkeys(words, 0)
    for member in members:
        for line in member.read_lines():
            for name, word in words.items():
                counts[name] += word in line
    return counts
