"""Carries faults out on a running cluster, and heals them."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.faults.cluster.bounds import LOADING, ImpairedTimes, list_impaired
from tests.faults.cluster.databases import DatabaseGroup
from tests.faults.cluster.machine import NoMachineryError
from tests.faults.cluster.network import NamespaceNetwork, list_directions
from tests.faults.cluster.nodes import ClusterMember
from tests.faults.cluster.schedule import EVERYTHING, ClusterTopology, FaultStep
from tests.faults.cluster.windows import TimeWindow
from tests.faults.serve import set_clock

RECOVER_SECONDS_MAX: Final = 60.0
DECISION_SECONDS: Final = 1.0
"""Between the death of a primary and the promotion: what decides has to notice it."""

MOVE_SECONDS: Final = 10.0
"""After a source got another destination its tables need not be loaded for so long."""


@dataclass(slots=True)
class ClusterNemesis:
    """Breaks what a step says until it is to be healed.

    Attributes:
        topology: of the cluster.
        members: by name; those that join are added and removed.
        groups: databases by name: "log", and "store" where it is another one.
        network: None where members are not in namespaces.
        impaired: what was away, for the bounds.
        make: makes a further member by name.
        changed: called when members joined or left.
        move: gives the source another destination.
        said: called with what happens.
        promotions: when a primary was killed, when another was promoted.
        skipped: faults that this machine cannot make, and why.
    """

    topology: ClusterTopology
    members: dict[str, ClusterMember]
    groups: Mapping[str, DatabaseGroup]
    network: NamespaceNetwork | None
    impaired: ImpairedTimes
    make: Callable[[str], ClusterMember]
    changed: Callable[[], None]
    move: Callable[[], None] = lambda: None
    said: Callable[[str], None] = lambda text: None
    promotions: list[tuple[str, TimeWindow]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def carry_out(self, step: FaultStep, began: float) -> None:
        """Wait for the moment of a step, break what it says, and heal it in time.

        Args:
            step: of the schedule.
            began: when the schedule began, by the monotonic clock.
        """
        sleep_until(began + step.at)
        hit = self._find_hit(step)
        if not self._claim(hit):
            self.said(
                f"{step.at:5.1f} {step.kind} {step.target} left out: it is still being healed"
            )
            return
        try:
            self._carry_out(step, began)
        finally:
            with self.lock:
                self.busy -= hit

    def _find_hit(self, step: FaultStep) -> set[str]:
        """Return what a step has to itself: members, or a database."""
        if step.target == EVERYTHING:
            return set(self.topology.members)
        roles = {"gates": self.topology.gates, "loaders": self.topology.loaders}
        if step.kind == "roll":
            return set(roles.get(step.target, self.topology.controls))
        if step.kind == "clock":
            return {f"clock of {step.target}"}
        group = step.target.partition("-")[0]
        return {group if group in self.groups else step.target}

    def _claim(self, hit: set[str]) -> bool:
        """Take parts that nothing else is being done to; starts take long on a busy machine."""
        with self.lock:
            if hit & self.busy:
                return False
            self.busy |= hit
            return True

    def _carry_out(self, step: FaultStep, began: float) -> None:
        since = time.monotonic()
        self.said(f"{since - began:5.1f} {step.kind} {step.target} {step.detail}".rstrip())
        try:
            with self._break(step):
                self.counts[step.kind] = self.counts.get(step.kind, 0) + 1
                sleep_until(began + step.until)
        except NoMachineryError as error:
            self.skipped[step.kind] = str(error)
        except Exception as error:  # noqa: BLE001 - told as what went wrong with the rig
            self.problems.append(f"{step.describe()} could not be carried out: {error!r}")
        until = time.monotonic()
        self.said(f"{until - began:5.1f} {step.kind} {step.target} healed")
        if step.kind != "fail-over":
            for name in list_impaired(step, self.topology):
                self.impaired.add(name, TimeWindow(since, until))

    @contextlib.contextmanager
    def _break(self, step: FaultStep) -> Iterator[None]:
        ways: Mapping[str, Callable[[FaultStep], contextlib.AbstractContextManager[None]]] = {
            "kill": self._kill,
            "kill-child": self._kill_child,
            "kill-supervisor": self._kill_supervisor,
            "kill-everything": self._kill,
            "fail-over": self._fail_over,
            "kill-standby": self._kill_standby,
            "stop": self._stop,
            "stop-server": self._stop_server,
            "cut-gate": self._cut_from_servers,
            "cut-loader": self._cut_from_servers,
            "cut-primary": self._cut_primary,
            "cut-member": self._cut_member,
            "slow-disk": self._slow_disk,
            "full-disk": self._fill_disk,
            "clock": self._set_clock,
            "roll": self._roll,
            "join": self._join,
            "leave": self._leave,
            "move": self._move,
            "point": self._die_at_point,
        }
        with ways[step.kind](step):
            yield

    # --- members ----------------------------------------------------------------------------------

    def _choose(self, target: str) -> list[ClusterMember]:
        if target == EVERYTHING:
            return [self.members[name] for name in self.topology.members]
        return [self.members[target]]

    @contextlib.contextmanager
    def _kill(self, step: FaultStep) -> Iterator[None]:
        chosen = self._choose(step.target)
        for member in chosen:
            member.kill_all()
        yield
        self.start_again(chosen)

    @contextlib.contextmanager
    def _kill_supervisor(self, step: FaultStep) -> Iterator[None]:
        [member] = self._choose(step.target)
        member.kill_supervisor()
        yield
        self.start_again([member])

    @contextlib.contextmanager
    def _kill_child(self, step: FaultStep) -> Iterator[None]:
        [member] = self._choose(step.target)
        member.kill_child(step.detail)
        yield
        time.sleep(2.0)  # its supervisor starts another one

    @contextlib.contextmanager
    def _die_at_point(self, step: FaultStep) -> Iterator[None]:
        [member] = self._choose(step.target)
        member.set_plan(step.detail)
        yield
        if member.clear_plan():
            name = f"deaths at {step.detail}"
            self.counts[name] = self.counts.get(name, 0) + 1
            member.kill_all()
            self.start_again([member])

    @contextlib.contextmanager
    def _stop(self, step: FaultStep) -> Iterator[None]:
        chosen = self._choose(step.target)
        for member in chosen:
            member.stop_all()
        try:
            yield
        finally:
            for member in chosen:
                member.continue_all()

    @contextlib.contextmanager
    def _leave(self, step: FaultStep) -> Iterator[None]:
        [member] = self._choose(step.target)
        member.leave()
        yield
        self.start_again([member])

    @contextlib.contextmanager
    def _join(self, step: FaultStep) -> Iterator[None]:
        member = self.make(step.target)
        self.start_again([member])
        self.members[member.name] = member
        self.changed()
        yield
        del self.members[member.name]
        self.changed()
        member.leave()
        member.end()

    @contextlib.contextmanager
    def _roll(self, step: FaultStep) -> Iterator[None]:
        roles = {
            "gates": self.topology.gates,
            "loaders": self.topology.loaders,
            "controls": self.topology.controls,
        }
        for name in roles[step.target]:
            since = time.monotonic()
            self.members[name].leave()
            self.start_again([self.members[name]])
            self.impaired.add(name, TimeWindow(since, time.monotonic()))
        yield

    @contextlib.contextmanager
    def _set_clock(self, step: FaultStep) -> Iterator[None]:
        [member] = self._choose(step.target)
        set_clock(member.clock, int(step.detail.split()[0]) * 1_000_000)
        yield
        set_clock(member.clock, 0)

    @contextlib.contextmanager
    def _move(self, _: FaultStep) -> Iterator[None]:
        since = time.monotonic()
        try:
            self.move()
        except RuntimeError:  # the store is away, or the former destination cannot be asked now
            self.counts["moves refused"] = self.counts.get("moves refused", 0) + 1
        self.impaired.add(LOADING, TimeWindow(since, time.monotonic() + MOVE_SECONDS))
        yield

    def start_again(self, chosen: list[ClusterMember]) -> None:
        """Start members that ended, also where something else that they need is broken now."""
        deadline = time.monotonic() + RECOVER_SECONDS_MAX
        waiting = list(chosen)
        while waiting:
            for member in waiting:
                member.end_leftovers()
                member.begin_start()
            failed: list[ClusterMember] = []
            for member in waiting:
                try:
                    member.wait_until_started()
                except AssertionError as error:
                    failed.append(member)
                    if time.monotonic() > deadline:
                        end = str(error)[-500:]
                        raise RuntimeError(f"{member.name} does not start: ..{end}") from None
            waiting = failed
            if waiting:
                time.sleep(0.5)

    # --- cuts -------------------------------------------------------------------------------------

    def _name_ends(self, word: str) -> list[str]:
        """Return the nodes that a word of a step means."""
        group, _, part = word.partition("-")
        if group in self.groups:
            nodes = self.groups[group].name_nodes()
            return nodes[1:] if part == "others" else nodes
        return [word]

    @contextlib.contextmanager
    def _cut(self, node: str, others: list[str], direction: str) -> Iterator[None]:
        if self.network is None:
            raise NoMachineryError("a cut needs network namespaces")
        ways = [way for other in others for way in list_directions(node, other, direction)]
        for way in ways:
            self.network.cut(*way)
        try:
            yield
        finally:
            for way in ways:
                self.network.heal(*way)

    @contextlib.contextmanager
    def _cut_from_servers(self, step: FaultStep) -> Iterator[None]:
        end, direction = step.detail.split()
        with self._cut(step.target, self._name_ends(end), direction):
            yield

    @contextlib.contextmanager
    def _cut_member(self, step: FaultStep) -> Iterator[None]:
        if self.network is None:
            raise NoMachineryError("a cut needs network namespaces")
        others = [node.name for node in self.network.nodes if node.name != step.target]
        with self._cut(step.target, others, step.detail.split()[1]):
            yield

    @contextlib.contextmanager
    def _cut_primary(self, step: FaultStep) -> Iterator[None]:
        end, direction = step.detail.split()
        group = self.groups[end.partition("-")[0]]
        primary, *_ = group.name_nodes() or [""]
        with self._cut(primary, self._name_ends(end), direction):
            yield
        group.heal()
        group.wait_until_written(RECOVER_SECONDS_MAX)

    # --- databases --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _fail_over(self, step: FaultStep) -> Iterator[None]:
        group = self.groups[step.target.partition("-")[0]]
        since = time.monotonic()
        group.cluster.kill_primary()
        time.sleep(DECISION_SECONDS)
        group.cluster.fail_over()
        group.wait_until_written(RECOVER_SECONDS_MAX)
        window = TimeWindow(since, time.monotonic())
        self.impaired.add(group.name, window)
        self.promotions.append((group.name, window))
        yield
        group.heal()

    @contextlib.contextmanager
    def _hit_server(self, step: FaultStep, hit: Callable[[DatabaseGroup], None]) -> Iterator[None]:
        group = self.groups[step.target.partition("-")[0]]
        try:
            hit(group)
            yield
        finally:
            group.heal()
            group.wait_until_written(RECOVER_SECONDS_MAX)

    @contextlib.contextmanager
    def _kill_standby(self, step: FaultStep) -> Iterator[None]:
        with self._hit_server(step, lambda group: group.choose("standby").kill()):
            yield

    @contextlib.contextmanager
    def _stop_server(self, step: FaultStep) -> Iterator[None]:
        part = step.target.partition("-")[2]
        with self._hit_server(step, lambda group: group.stop(group.choose(part))):
            yield

    @contextlib.contextmanager
    def _slow_disk(self, step: FaultStep) -> Iterator[None]:
        part = step.target.partition("-")[2]
        with self._hit_server(step, lambda group: group.slow_down(group.choose(part))):
            yield

    @contextlib.contextmanager
    def _fill_disk(self, step: FaultStep) -> Iterator[None]:
        part = step.target.partition("-")[2]
        with self._hit_server(step, lambda group: group.fill(group.choose(part))):
            yield


def sleep_until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))
