"""How a cluster is: members, logs, databases and units as values, and what is wrong with them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle.counting import count_noun, count_subject
from treadle.log.database_look import StandbyLook

ROLES: Final = ("ingest", "loader", "control")
"""What members do; a cluster needs each of them."""

USES_SHOWN: Final = 3
"""Uses of one database that are named one by one."""


@dataclass(frozen=True, slots=True)
class MemberState:
    """A process that beats, or did so lately.

    Attributes:
        id: of the process.
        roles: what it does.
        name: of its server and itself.
        host: its machine.
        version: of treadle.
        since: when it began, microseconds since 1970.
        beat_seconds: age of its last beat.
        is_live: whether others count on it.
    """

    id: str
    roles: frozenset[str]
    name: str
    host: str
    version: str
    since: int
    beat_seconds: float
    is_live: bool


@dataclass(frozen=True, slots=True)
class LogStatus:
    """A log, and what waits in it.

    Attributes:
        number: of the log.
        state: open, draining or closed.
        place: its database, without secrets; its file for one of this machine.
        is_shared: it is in a database.
        last: the greatest position that was given; None where it is not known.
        records: that wait; None where the log cannot be asked.
        tables: with something that waits.
        used_bytes: of the log.
        trouble: why it cannot be asked.
    """

    number: int
    state: str
    place: str
    is_shared: bool
    last: int | None = None
    records: int | None = None
    tables: int | None = None
    used_bytes: int | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """A database that the cluster uses, and the server that takes writes there.

    Attributes:
        place: the database, without secrets.
        uses: what is in it: `store`, `log 1`.
        primary: host and port of the server that answered; None for none.
        version: of PostgreSQL.
        standby_names: its setting `synchronous_standby_names`.
        standbys: that are connected to it; empty also where it does not show them.
        shows_standbys: this user may see them.
        weaknesses: what is weaker than the settings say, and what to do.
        trouble: why it cannot be asked.
    """

    place: str
    uses: tuple[str, ...]
    primary: str | None = None
    version: str = ""
    standby_names: str = ""
    standbys: tuple[StandbyLook, ...] = ()
    shows_standbys: bool = True
    weaknesses: tuple[str, ...] = ()
    trouble: str | None = None

    @property
    def is_synchronous(self) -> bool:
        """Whether each commit waits for a standby."""
        return bool(self.standby_names)


@dataclass(frozen=True, slots=True)
class UnitState:
    """A part of the work of loaders.

    Attributes:
        unit: its name.
        holder: id of the member that has it; None for nobody.
    """

    unit: str
    holder: str | None


@dataclass(frozen=True, slots=True)
class ClusterState:
    """All of a cluster at one look.

    Attributes:
        problems: what is wrong, in sentences that say what to do.
    """

    members: tuple[MemberState, ...] = ()
    logs: tuple[LogStatus, ...] = ()
    databases: tuple[DatabaseState, ...] = ()
    units: tuple[UnitState, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def live_members(self) -> list[MemberState]:
        """Those that others count on."""
        return [one for one in self.members if one.is_live]

    def count_units(self, member: MemberState) -> int:
        """Return how many units a member has."""
        return sum(1 for one in self.units if one.holder == member.id)

    def list_free_units(self) -> list[UnitState]:
        """Return the units that no live member has."""
        live = {one.id for one in self.live_members}
        return [one for one in self.units if one.holder not in live]


def find_problems(state: ClusterState) -> tuple[str, ...]:
    """Return what is wrong with a cluster, in sentences that say what to do."""
    return (
        *_judge_databases(state.databases),
        *_judge_logs(state.logs),
        *_judge_members(state),
    )


def _judge_databases(databases: Iterable[DatabaseState]) -> Iterator[str]:
    for one in databases:
        uses = summarize_uses(one.uses)
        if one.trouble is not None:
            yield (
                f"The database {one.place} of {uses} cannot be asked: {one.trouble}. See that one "
                "of its servers runs, takes writes and can be reached from here."
            )
            continue
        for weakness in one.weaknesses:
            yield f"{one.place}, of {uses}: {weakness}."
        waits = one.is_synchronous and one.shows_standbys
        if waits and not any(standby.is_synchronous for standby in one.standbys):
            yield (
                f"No synchronous standby of {one.place} is connected, so every commit waits for "
                f"one ({one.standby_names}), and requests are answered 503: start one."
            )


def _judge_logs(logs: Sequence[LogStatus]) -> Iterator[str]:
    for one in logs:
        if one.trouble is not None:
            yield f"Log {one.number} at {one.place} cannot be read: {one.trouble}."
        elif not one.is_shared and one.state != "closed":
            yield (
                f"Log {one.number} is a file of one machine, {one.place}: move it to the cluster "
                "with `treadle cluster import`."
            )
    if logs and not any(one.state == "open" for one in logs):
        yield "No log takes new sources: add one with `treadle log add`."


def _judge_members(state: ClusterState) -> Iterator[str]:
    live = state.live_members
    for role in ROLES:
        if not any(role in one.roles for one in live):
            yield f"No member with the role {role} runs: start `treadle serve --role {role}`."
    for one in state.members:
        if not one.is_live:
            yield (
                f"{one.name} on {one.host} has not beaten for {one.beat_seconds:.0f} s: start it, "
                "or replace its machine. It is gone from the list after an hour."
            )
    free = state.list_free_units()
    if free and any("loader" in one.roles for one in live):
        subject = count_subject(len(free), "unit", "has", "have")
        yield (
            f"{subject} no live loader, so what is accepted for it waits: loaders take such units "
            "within 10 seconds; look again, and at their logs."
        )


def summarize_uses(uses: Sequence[str]) -> str:
    """Return what is in a database in a few words: `store, log 1`, or `store and 8 logs`."""
    if len(uses) <= USES_SHOWN:
        return ", ".join(uses)
    logs = [one for one in uses if one != "store"]
    return f"{'store and ' if len(logs) < len(uses) else ''}{count_noun(len(logs), 'log')}"


def summarize_versions(members: Iterable[MemberState]) -> str:
    """Return the releases of live members; with how many have each, where there are several."""
    counts: dict[str, int] = {}
    for one in members:
        if one.is_live:
            counts[one.version] = counts.get(one.version, 0) + 1
    if len(counts) <= 1:
        return next(iter(counts), "")
    return ", ".join(
        f"{version} ({count_noun(count, 'member')})" for version, count in sorted(counts.items())
    )
