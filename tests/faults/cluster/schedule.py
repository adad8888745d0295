"""What is broken when: schedules of faults, made from a seed and from nothing else.

A schedule is a list of steps. A step is a fault that begins at a moment and is healed some seconds
later (cluster.md 15.2, 15.3). The same seed, number and topology give the same schedule, so that
one that found something can be run again alone.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

SCHEDULE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = (2.0, 10.0)
"""Between the beginnings of two steps."""

FAULT_SECONDS: Final = (1.0, 20.0)
"""How long a fault lasts."""

TOGETHER_SHARE: Final = 0.2
"""Of the moments at which two faults begin at once."""

CLOCK_SECONDS: Final = 3600
"""How far a clock is set."""

DIRECTIONS: Final = ("both", "to", "from")
"""A cut drops what passes both ways, what the first end sends, or what it is sent."""

EVERYTHING: Final = "everything"


@dataclass(frozen=True, slots=True)
class ClusterTopology:
    """The members of a cluster by name.

    Attributes:
        gates, loaders, controls: processes of treadle; one that has all roles is in all three.
        logs: servers of the database that holds the logs, the first primary first.
        stores: of the one that holds the store; the same names where both are in one database.
        warehouse: the server that is loaded into.
        points: failpoints that a member can be killed at, by name of the member.
        destinations: how many databases sources may be moved between.
    """

    gates: tuple[str, ...]
    loaders: tuple[str, ...]
    controls: tuple[str, ...]
    logs: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    warehouse: str = "warehouse"
    points: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    destinations: int = 1

    @property
    def members(self) -> tuple[str, ...]:
        """Every process of treadle, once."""
        return tuple(dict.fromkeys((*self.gates, *self.loaders, *self.controls)))

    @property
    def databases(self) -> tuple[str, ...]:
        """The groups of servers that fail over: "log", and "store" where it is another group."""
        apart = bool(self.stores) and self.stores != self.logs
        return (*(["log"] if self.logs else []), *(["store"] if apart else []))


@dataclass(frozen=True, slots=True)
class FaultStep:
    """One fault.

    Attributes:
        at: seconds after the schedule began.
        kind: one of `FAULTS`.
        target: a member, "everything", or a part of a database: "log-primary", "store-standby".
        seconds: until it is healed; 0 where it heals itself.
        detail: what else there is to know: the other end of a cut and its direction, a failpoint.
    """

    at: float
    kind: str
    target: str
    seconds: float = 0.0
    detail: str = ""

    @property
    def until(self) -> float:
        """Seconds after the schedule began at which it is healed."""
        return self.at + self.seconds

    def describe(self) -> str:
        """Return the step as people read it in the journal."""
        detail = f" {self.detail}" if self.detail else ""
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:.1f} {self.kind} {self.target}{detail}{lasting}"


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """The steps of one run of a cluster, in their order."""

    seed: int
    number: int
    steps: tuple[FaultStep, ...]
    seconds: float = SCHEDULE_SECONDS

    def describe(self) -> str:
        """Return the schedule on one line."""
        steps = "; ".join(step.describe() for step in self.steps) or "nothing"
        return f"seed {self.seed}, schedule {self.number}: {steps}"


@dataclass(frozen=True, slots=True)
class _Choice:
    """A fault that a step may be.

    Attributes:
        target: what is hit.
        group: of what at most one fault is under way: a member, or a database.
        lasts: whether it is healed later.
    """

    target: str
    group: str
    detail: str = ""
    lasts: bool = True


def _hit_members(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    for member in topology.members:
        yield _Choice(member, member)


def _hit_children(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    """A role's process alone; its supervisor starts it again."""
    for member in topology.gates:
        yield _Choice(member, member, "worker", lasts=False)
    for member in topology.loaders:
        yield _Choice(member, member, "loader", lasts=False)


def _hit_supervisors(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    for member in topology.members:
        yield _Choice(member, member, "supervisor")


def _hit_everything(_: ClusterTopology, __: random.Random) -> Iterator[_Choice]:
    yield _Choice(EVERYTHING, EVERYTHING)


def _hit_primaries(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    for group in topology.databases:
        yield _Choice(f"{group}-primary", group)


def _hit_standbys(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    for group in topology.databases:
        yield _Choice(f"{group}-standby", group)


def _hit_replicas(topology: ClusterTopology, dice: random.Random) -> Iterator[_Choice]:
    yield from _hit_primaries(topology, dice)
    yield from _hit_standbys(topology, dice)


def _cut_gates(topology: ClusterTopology, dice: random.Random) -> Iterator[_Choice]:
    for gate in topology.gates:
        for end in topology.databases:
            yield _Choice(gate, gate, f"{end} {dice.choice(DIRECTIONS)}")


def _cut_loaders(topology: ClusterTopology, dice: random.Random) -> Iterator[_Choice]:
    for loader in topology.loaders:
        for end in (*topology.databases, topology.warehouse):
            yield _Choice(loader, loader, f"{end} {dice.choice(DIRECTIONS)}")


def _cut_primaries(topology: ClusterTopology, dice: random.Random) -> Iterator[_Choice]:
    """A primary from its standbys: what it commits waits."""
    for group in topology.databases:
        yield _Choice(f"{group}-primary", group, f"{group}-others {dice.choice(DIRECTIONS)}")


def _cut_members(topology: ClusterTopology, dice: random.Random) -> Iterator[_Choice]:
    for member in topology.members:
        yield _Choice(member, member, f"all {dice.choice(DIRECTIONS)}")


def _set_clocks(topology: ClusterTopology, dice: random.Random) -> Iterator[_Choice]:
    for member in topology.members:
        # A clock hurts nobody else's fault: it may be off while something else is broken.
        yield _Choice(member, f"clock of {member}", f"{dice.choice((-1, 1)) * CLOCK_SECONDS:+d} s")


def _roll_roles(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    roles = {"gates": topology.gates, "loaders": topology.loaders, "controls": topology.controls}
    seen: set[tuple[str, ...]] = set()
    for role, members in roles.items():
        if members not in seen:
            seen.add(members)
            yield _Choice(role, EVERYTHING, lasts=False)


def _join_members(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    if topology.loaders:
        yield _Choice("loader-new", "loader-new")
    if topology.gates and topology.gates != topology.loaders:
        yield _Choice("gate-new", "gate-new")


def _leave_members(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    for member in topology.members:
        yield _Choice(member, member)


def _move_sources(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    if topology.destinations > 1:
        yield _Choice("source", "source", lasts=False)


def _die_at_points(topology: ClusterTopology, _: random.Random) -> Iterator[_Choice]:
    for member, points in topology.points.items():
        for point in points:
            yield _Choice(member, member, point)


Hits = Callable[[ClusterTopology, random.Random], Iterator[_Choice]]

FAULTS: Final[Mapping[str, tuple[float, Hits]]] = {
    "kill": (3.0, _hit_members),
    "kill-child": (1.5, _hit_children),
    "kill-supervisor": (1.0, _hit_supervisors),
    "kill-everything": (0.3, _hit_everything),
    "fail-over": (2.5, _hit_primaries),
    "kill-standby": (1.0, _hit_standbys),
    "stop": (3.0, _hit_members),
    "stop-server": (1.0, _hit_replicas),
    "cut-gate": (2.0, _cut_gates),
    "cut-loader": (2.5, _cut_loaders),
    "cut-primary": (1.0, _cut_primaries),
    "cut-member": (1.5, _cut_members),
    "slow-disk": (0.7, _hit_replicas),
    "full-disk": (0.7, _hit_replicas),
    "clock": (1.0, _set_clocks),
    "roll": (0.7, _roll_roles),
    "join": (0.7, _join_members),
    "leave": (0.7, _leave_members),
    "move": (0.5, _move_sources),
    "point": (2.0, _die_at_points),
}
"""Kind -> how often it is drawn, against the others, and what it can hit (cluster.md 15.3)."""


def make_schedule(
    seed: int,
    number: int,
    topology: ClusterTopology,
    *,
    seconds: float = SCHEDULE_SECONDS,
    kinds: Sequence[str] = (),
    pace: float = 1.0,
) -> FaultSchedule:
    """Make one schedule.

    Of a member, and of the servers of a database, at most one fault is under way at a time, so that
    what is lost is never more than a cluster is made for: one server of each database.

    Args:
        seed: of the run.
        number: of the schedule in it.
        topology: what can be hit.
        seconds: how long faults begin.
        kinds: only these of `FAULTS`; all by default.
        pace: 2 for pauses and faults of half the length.
    """
    dice = random.Random(f"{seed}/{number}")
    chosen = [kind for kind in FAULTS if not kinds or kind in kinds]
    steps: list[FaultStep] = []
    busy: dict[str, float] = {}
    at = dice.uniform(0.5, 3.0) / pace
    while at < seconds:
        for _ in range(2 if dice.random() < TOGETHER_SHARE else 1):
            step = _draw_step(dice, round(at, 2), chosen, topology, busy, pace)
            if step is not None:
                steps.append(step)
        at += dice.uniform(*PAUSE_SECONDS) / pace
    return FaultSchedule(seed, number, tuple(steps), seconds)


def _draw_step(
    dice: random.Random,
    at: float,
    kinds: Sequence[str],
    topology: ClusterTopology,
    busy: dict[str, float],
    pace: float,
) -> FaultStep | None:
    """Draw a fault of what is whole at that moment; None when nothing is."""
    free = {kind: _list_free(kind, at, topology, busy, dice) for kind in kinds}
    possible = [kind for kind, choices in free.items() if choices]
    if not possible:
        return None
    [kind] = dice.choices(possible, [FAULTS[kind][0] for kind in possible])
    choice = dice.choice(free[kind])
    seconds = round(dice.uniform(*FAULT_SECONDS) / pace, 2) if choice.lasts else 0.0
    busy[choice.group] = at + max(seconds, SELF_HEALING_SECONDS)
    return FaultStep(at, kind, choice.target, seconds, choice.detail)


SELF_HEALING_SECONDS: Final = 5.0
"""For so long nothing else hits what heals itself."""


def _list_free(
    kind: str,
    at: float,
    topology: ClusterTopology,
    busy: Mapping[str, float],
    dice: random.Random,
) -> list[_Choice]:
    hurt = {group for group, until in busy.items() if until > at}
    choices = list(FAULTS[kind][1](topology, dice))
    if EVERYTHING in hurt:
        choices = [choice for choice in choices if choice.group.startswith("clock of ")]
    if hurt - {group for group in hurt if group.startswith("clock of ")}:
        choices = [choice for choice in choices if choice.group != EVERYTHING]
    return [choice for choice in choices if choice.group not in hurt]
