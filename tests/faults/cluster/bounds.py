"""How long something may stand still, and when it may: functions of what was seen.

A fault takes away what it hits for a while. Acceptance needs one gate and the database of the log;
loading needs one loader, both databases and the warehouse. While that is not there nothing is
expected. Otherwise silence is bounded (cluster.md 15.4, 8).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tests.faults.cluster.schedule import EVERYTHING, ClusterTopology, FaultStep
from tests.faults.cluster.windows import (
    TimeWindow,
    intersect_windows,
    is_inside,
    subtract_windows,
    unite_windows,
)

ACCEPT_SECONDS_MAX: Final = 5.0
"""Longest silence of acceptance while it could work, also after a failover."""

LOAD_SECONDS_MAX: Final = 10.0
"""Longest time that a table with something waiting is not loaded while it could be."""

REVOKE_SECONDS_MAX: Final = 1.0
"""After the answer to a revocation no push is begun that is taken."""

REACHING_SECONDS: Final = 5.0
"""After a way is open again that was cut, a gate reaches the store within so long: what it had sent
is given up, and another connection is made (`store.postgres.SESSION_DEFAULTS`)."""

TAKING_SECONDS: Final = 6.0
"""After an outage of the store nobody takes units from others for so long (cluster.md 9.1)."""

LOADING: Final = "loading"
"""What is hurt when a loader lives, keeps its units, and cannot load them."""

WAREHOUSE: Final = "warehouse"


def list_impaired(step: FaultStep, topology: ClusterTopology) -> tuple[str, ...]:
    """Return what a fault takes away: members, "log", "store", "warehouse", or `LOADING`.

    A standby that is lost takes nothing away: the primary waits for the other one.
    """
    if step.target == EVERYTHING:
        return topology.members
    match step.kind:
        case "clock" | "join":
            return ()
        case "move":
            return (LOADING,)
        case "roll":
            return ()  # each member when its turn comes
        case "cut-loader":
            # Without the store it loses its units; without the others it keeps them.
            keeps = step.detail.split()[0] not in ("store", *_find_shared(topology))
            return (LOADING, step.target) if keeps else (step.target,)
        case "cut-gate":
            ways = (step.target, name_way(step.target))
            # Where one process has all roles, it goes on loading, or holds what it cannot load.
            return (*ways, LOADING) if step.target in topology.loaders else ways
        case "cut-member":
            return (step.target, name_way(step.target))
    group, found, part = step.target.partition("-")
    if found and group in topology.databases:
        return (group,) if part == "primary" else ()
    return (step.target,)


def name_way(member: str) -> str:
    """Return the name of a member's way to the others, which is cut though the member lives."""
    return f"way of {member}"


def _find_shared(topology: ClusterTopology) -> tuple[str, ...]:
    """Return "log" where its database holds the store, too."""
    return () if "store" in topology.databases else ("log",)


@dataclass(slots=True)
class ImpairedTimes:
    """What was not there when, by name, in seconds of one monotonic clock."""

    topology: ClusterTopology
    windows: dict[str, list[TimeWindow]] = field(default_factory=dict)

    def add(self, name: str, window: TimeWindow) -> None:
        """Note that something was away."""
        self.windows.setdefault(name, []).append(window)

    def get(self, name: str) -> list[TimeWindow]:
        """Return when something was away."""
        return self.windows.get(name, [])

    def list_away(self, group: str) -> list[TimeWindow]:
        """Return when a database was away; a store in the log's database is away with it."""
        return self.get(group if group in self.topology.databases else "log")

    def when_nothing_is_accepted(self) -> list[TimeWindow]:
        """Return when no gate could take a request."""
        gates = intersect_windows([self.get(gate) for gate in self.topology.gates])
        return unite_windows([*gates, *self.get("log")])

    def when_nothing_is_loaded(self) -> list[TimeWindow]:
        """Return when tables need not be loaded."""
        loaders = intersect_windows([self.get(loader) for loader in self.topology.loaders])
        store = [
            TimeWindow(window.begin, window.end + TAKING_SECONDS)
            for window in self.list_away("store")
        ]
        away = [*self.get("log"), *store, *self.get(WAREHOUSE), *self.get(LOADING), *loaders]
        return unite_windows(away)

    def list_disturbances(self) -> list[float]:
        """Return the moments from which on a takeover of tables counts: a loader went or came."""
        return sorted(
            moment
            for loader in self.topology.loaders
            for window in self.get(loader)
            for moment in (window.begin, window.end)
        )

    def when_revocations_are_late(self, gate: str) -> list[TimeWindow]:
        """Return when a gate could not know what was revoked."""
        cut = [
            TimeWindow(window.begin, window.end + REACHING_SECONDS)
            for window in self.get(name_way(gate))
        ]
        return unite_windows([*self.get(gate), *cut, *self.list_away("store")])


def measure_silences(
    moments: Iterable[float], span: TimeWindow, excused: Sequence[TimeWindow]
) -> list[TimeWindow]:
    """Return the times between two events, without the excused ones, longest first.

    What is left before and after an excused time counts alone: after it everything may begin anew.

    Args:
        moments: of events, in any order.
        span: in which there should be events.
        excused: when none is expected.
    """
    inside = sorted(moment for moment in moments if span.begin <= moment <= span.end)
    edges = [span.begin, *inside, span.end]
    silent = [
        part
        for begin, end in pairwise(edges)
        for part in subtract_windows(TimeWindow(begin, end), excused)
    ]
    return sorted(silent, key=lambda one: one.begin - one.end)


def find_silences(
    moments: Iterable[float],
    span: TimeWindow,
    excused: Sequence[TimeWindow],
    seconds_max: float = ACCEPT_SECONDS_MAX,
) -> list[str]:
    """Say where nothing was accepted for too long."""
    return [
        f"silence: nothing was accepted for {one.end - one.begin:.1f} s, "
        f"from {one.begin - span.begin:.1f} s on"
        for one in measure_silences(moments, span, excused)
        if one.end - one.begin > seconds_max
    ]


@dataclass(frozen=True, slots=True)
class TableSample:
    """How far a table was at a moment.

    Attributes:
        at: seconds of the monotonic clock.
        loaded: the position in the warehouse.
        waiting: whether something acknowledged is above it.
    """

    at: float
    loaded: int
    waiting: bool


def measure_stalls(
    samples: Sequence[TableSample],
    excused: Sequence[TimeWindow],
    disturbances: Sequence[float] = (),
) -> list[TimeWindow]:
    """Return the times in which a table waited and was not loaded, longest first.

    A stall ends where the table is loaded or nothing waits. It counts from the last moment at
    which a loader went or came, or loading was not expected: the bound is for each of them.
    """
    found: list[TimeWindow] = []
    since: float | None = None
    loaded = None
    last = None

    def end_at(moment: float) -> None:
        if since is not None and moment > since:
            pieces = subtract_windows(TimeWindow(since, moment), excused)
            for piece in pieces:
                inner = [one for one in disturbances if piece.begin < one < piece.end]
                edges = [piece.begin, *inner, piece.end]
                found.extend(TimeWindow(begin, end) for begin, end in pairwise(edges))

    for sample in samples:
        moved = loaded is not None and sample.loaded != loaded
        if moved or not sample.waiting:
            end_at(sample.at)
            since = sample.at if sample.waiting else None
        elif since is None:
            since = sample.at
        loaded, last = sample.loaded, sample.at
    if last is not None:
        end_at(last)
    return sorted(found, key=lambda one: one.begin - one.end)


def find_stalls(
    tables: Mapping[str, Sequence[TableSample]],
    excused: Sequence[TimeWindow],
    disturbances: Sequence[float] = (),
    seconds_max: float = LOAD_SECONDS_MAX,
) -> list[str]:
    """Say which tables were not loaded for too long."""
    return [
        f"stall: {table} was not loaded for {one.end - one.begin:.1f} s, "
        f"from {one.begin - samples[0].at:.1f} s on"
        for table, samples in tables.items()
        for one in measure_stalls(samples, excused, disturbances)
        if one.end - one.begin > seconds_max
    ]


@dataclass(frozen=True, slots=True)
class RevokedPush:
    """A push with a token that was revoked.

    Attributes:
        gate: that was asked.
        revoked_at: when the revocation was answered.
        begun_at: when the push was sent.
        status: of its answer; 0 without one.
    """

    gate: str
    revoked_at: float
    begun_at: float
    status: int


def find_late_revocations(
    pushes: Iterable[RevokedPush],
    impaired: ImpairedTimes,
    seconds_max: float = REVOKE_SECONDS_MAX,
) -> list[str]:
    """Say where a revoked token was taken; a gate that could not know of it is excused."""
    return [
        f"revocation: {one.gate} took a token {one.begun_at - one.revoked_at:.2f} s after it was "
        "revoked"
        for one in pushes
        if one.status == 201
        and one.begun_at > one.revoked_at + seconds_max
        and not any(
            is_inside(moment, impaired.when_revocations_are_late(one.gate))
            for moment in (one.revoked_at, one.begun_at - seconds_max, one.begun_at)
        )
    ]
