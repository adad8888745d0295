"""Members, units and logs of a cluster as pages show them. Pure: values in, lines and cards out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.console import view
from treadle.console.view import StateWord
from treadle.log.protocol import LogState
from treadle.store.membership import MemberPhase
from treadle.store.unit_name import LOG_UNITS
from treadle.traces.log_server_note import LogServerSight
from treadle.traces.series_layout import STATUS_CLASSES
from treadle.tracking.log_list import ListedLog
from treadle.tracking.member_list import ListedMember, MemberLook, UnitGroup

SERVERS_SHOWN: Final = 50
LOADERS_SHOWN: Final = 100
LOGS_SHOWN: Final = 24
GATES_NAMED: Final = 4
"""Other machines that a sentence names one by one: those that refused most."""

REFUSED_CLASSES: Final = slice(STATUS_CLASSES.index("4xx"), None)
"""Those of `STATUS_CLASSES` with which a request is refused."""

FRESH_SECONDS: Final = 3.0
"""A member that was seen so lately was seen just now: it beats once a second."""

GATE_ROLE: Final = "ingest"
ROLES: Final = (GATE_ROLE, "loader", "control")
"""The roles in the order in which they are named."""

_RANKS: Final = {"bad": 0, "warn": 1, "busy": 2}
_KINDS: Final = {"postgres": "PostgreSQL", "sqlite": "file"}


@dataclass(frozen=True, slots=True)
class ServerLine:
    """A server of a cluster, with all of its processes.

    Attributes:
        name: of the member.
        state: of its processes together.
        roles: with commas.
        host: its machine.
        address: where it answers requests; empty where it answers none.
        versions: of treadle, with commas.
        processes: their names, with commas.
        since: when the first of them began, microseconds since 1970.
        seen: when it was heard of last, in words.
    """

    name: str
    state: StateWord
    roles: str
    host: str
    address: str
    versions: str
    processes: str
    since: int
    seen: str


@dataclass(frozen=True, slots=True)
class LoaderLine:
    """A loader, and the units that it has.

    Attributes:
        name: of its server and itself.
        state: of the process.
        units: how many it has.
        held: what they are of: text, and the id of a destination; None for a log.
        since: when the first of them was taken, microseconds since 1970; None where it has none.
        last: when the last of them was taken.
    """

    name: str
    state: StateWord
    units: int
    held: tuple[tuple[str, int | None], ...]
    since: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class LogCard:
    """A log.

    Attributes:
        kind: of its back-end, in words.
        state: what it takes, or that it cannot be read.
        keeps: how what it takes is kept.
    """

    listed: ListedLog
    kind: str
    state: StateWord
    keeps: StateWord


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What the page Health shows of a cluster.

    Attributes:
        servers: what somebody should look at first.
        servers_left: how many more there are.
        loaders: by name.
        loaders_left: how many more there are.
        free: a sentence for units that no live loader has.
        logs: by number, those that cannot be read first.
        logs_left: how many more there are.
        unread: logs that cannot be read.
        counts: servers by state, in words.
    """

    servers: tuple[ServerLine, ...] = ()
    servers_left: int = 0
    loaders: tuple[LoaderLine, ...] = ()
    loaders_left: int = 0
    free: tuple[str, ...] = ()
    logs: tuple[LogCard, ...] = ()
    logs_left: int = 0
    unread: int = 0
    counts: str = ""


def make_cluster_view(look: MemberLook, logs: Sequence[ListedLog]) -> ClusterView:
    """Return what a page shows of members, units and logs.

    Args:
        look: at members and units.
        logs: all of them.
    """
    servers = list_server_lines(look.members)
    loaders = [describe_loader(one) for one in look.members if one.units is not None]
    cards = [describe_log(one) for one in logs]
    cards.sort(key=lambda card: (card.state.tone != "bad", card.listed.log.number))
    return ClusterView(
        tuple(servers[:SERVERS_SHOWN]),
        max(0, len(servers) - SERVERS_SHOWN),
        tuple(loaders[:LOADERS_SHOWN]),
        max(0, len(loaders) - LOADERS_SHOWN),
        tuple(map(describe_free_units, look.free)),
        tuple(cards[:LOGS_SHOWN]),
        max(0, len(cards) - LOGS_SHOWN),
        sum(one.measure.trouble is not None for one in logs),
        count_servers(servers),
    )


# Members -----------------------------------------------------------------------------------------


def list_server_lines(members: Iterable[ListedMember]) -> list[ServerLine]:
    """Return a line for each server: what is not well first, then by role and name."""
    of_place: dict[str, list[ListedMember]] = {}
    for one in members:
        of_place.setdefault(one.place, []).append(one)
    lines = [_describe_server(its) for its in of_place.values()]
    return sorted(
        lines,
        key=lambda line: (
            _RANKS.get(line.state.tone, len(_RANKS)),
            [ROLES.index(role) for role in line.roles.split(", ") if role in ROLES],
            line.name,
        ),
    )


def _describe_server(members: Sequence[ListedMember]) -> ServerLine:
    live = [one for one in members if one.is_live] or members
    latest = min(members, key=lambda one: one.beat_seconds)
    roles = {role for one in live for role in one.role.split(",")}
    return ServerLine(
        name=latest.member,
        state=describe_server_state(members),
        roles=", ".join(sort_roles(roles)),
        host=latest.host,
        address=next((one.address for one in live if one.address), ""),
        versions=", ".join(sorted({one.version for one in live})),
        processes=", ".join(one.process for one in members),
        since=min(one.since for one in live),
        seen=describe_seen(latest.beat_seconds),
    )


def sort_roles(roles: Iterable[str]) -> list[str]:
    """Return roles in the order in which they are named; unknown ones last."""
    return sorted(roles, key=lambda role: (ROLES.index(role) if role in ROLES else 9, role))


def describe_server_state(members: Sequence[ListedMember]) -> StateWord:
    """Return the state of the processes of one server together.

    Args:
        members: one at least.
    """
    lost = [one for one in members if not one.is_live]
    if len(lost) == len(members):
        return StateWord("lost", "bad", "It did not end in order. After an hour it is forgotten.")
    if lost:
        named = ", ".join(f"{one.process} ({describe_seen(one.beat_seconds)})" for one in lost)
        return StateWord("partly lost", "warn", f"Lost: {named}.")
    if any(one.phase is MemberPhase.DRAINING for one in members):
        return StateWord("draining", "busy", "It stops soon, and is sent no more requests.")
    return StateWord("ready", "good")


def describe_member(one: ListedMember) -> StateWord:
    """Return the state of one process."""
    return describe_server_state((one,))


def describe_seen(seconds: float) -> str:
    """Return when a member was heard of last, in words."""
    if seconds < FRESH_SECONDS:
        return "just now"
    return f"{view.format_age(int(seconds * view.SECOND_US))} ago"


def count_servers(servers: Iterable[ServerLine]) -> str:
    """Return how many servers there are of each state: "5 ready, 1 lost"."""
    counts: dict[str, int] = {}
    for one in servers:
        counts[one.state.word] = counts.get(one.state.word, 0) + 1
    words = ("ready", "draining", "partly lost", "lost")
    return ", ".join(f"{counts[word]:,} {word}" for word in words if word in counts)


# Units -------------------------------------------------------------------------------------------


def describe_loader(one: ListedMember) -> LoaderLine:
    """Return the line of a loader."""
    return LoaderLine(
        name=f"{one.member} {one.process}",
        state=describe_member(one),
        units=one.units or 0,
        held=tuple(map(describe_units, one.groups)),
        since=min((group.taken_first for group in one.groups), default=None),
        last=max((group.taken_last for group in one.groups), default=None),
    )


def describe_units(group: UnitGroup) -> tuple[str, int | None]:
    """Return what units are of, and the id of their destination; None for those of a log."""
    if group.kind == LOG_UNITS:
        return f"{group.count} of {group.total} of log {group.number}", None
    return f"destination {group.number}", group.number


def describe_free_units(group: UnitGroup) -> str:
    """Return what units without a live loader mean."""
    if group.kind == LOG_UNITS:
        verb = "has" if group.count == 1 else "have"
        named = f"{group.count} of {group.total} units of log {group.number} {verb}"
    else:
        named = f"Destination {group.number}, which one process at a time can open, has"
    return (
        f"{named} no live loader, so what is accepted for it waits. A loader that may have it "
        "takes it within 10 seconds."
    )


# Logs --------------------------------------------------------------------------------------------


def describe_log(listed: ListedLog) -> LogCard:
    """Return the card of a log."""
    log = listed.log
    return LogCard(
        listed,
        _KINDS.get(log.kind, log.kind),
        describe_log_state(listed),
        StateWord("-", "off", "It is closed, and holds nothing.")
        if log.state is LogState.CLOSED
        else describe_keeping(listed.server)
        if log.is_remote
        else StateWord("one machine", "plain", "It is a file of the machine that made it."),
    )


def describe_log_state(listed: ListedLog) -> StateWord:
    """Return what a log takes, or that it cannot be read."""
    if listed.measure.trouble is not None:
        return StateWord("cannot be read", "bad", listed.measure.trouble)
    words = {
        LogState.OPEN: StateWord("open", "good"),
        LogState.DRAINING: StateWord("draining", "busy", "It takes no new sources."),
        LogState.CLOSED: StateWord("closed", "off", "Nobody opens it any more."),
    }
    return words[listed.log.state]


def describe_keeping(server: LogServerSight | None) -> StateWord:
    """Return how the server of a log keeps what it takes, as the last look at it found."""
    if server is None:
        return StateWord("not known", "off", "Its server did not answer in the last minutes.")
    if server.durability == "none":
        return StateWord("may be lost", "warn", "log_durability is none: it is for trials.")
    if server.durability != "replicated":
        said = {
            "single": "log_durability is single: a lost disk takes records.",
            "storage": "log_durability is storage: the provider keeps copies of the disk.",
        }
        return StateWord("one server", "plain", said.get(server.durability, server.durability))
    if not server.waits_for:
        return StateWord("one server", "bad", "Commits wait for no standby of the server.")
    waits = f"Commits wait for {server.waits_for}"
    if server.standbys is None:
        return StateWord("replicated", "warn", f"{waits}. Its standbys are not shown to treadle.")
    if not server.standbys:
        return StateWord("no standby", "bad", f"{waits}, and none is connected: appends wait.")
    connected = view.count_words(server.standbys, "standby", "standbys")
    return StateWord("replicated", "good", f"{waits}; {connected} connected.")


# What one machine keeps for itself ---------------------------------------------------------------


def count_refused_elsewhere(members: Iterable[ListedMember], here: str) -> dict[str, int]:
    """Return live gate -> how many requests it refused, by name; one gate is left out.

    Args:
        members: all of them.
        here: the name of the member that is left out.
    """
    counts: dict[str, int] = {}
    for one in members:
        if one.is_live and GATE_ROLE in one.role.split(",") and one.member != here:
            refused = 0 if one.answers is None else sum(one.answers[REFUSED_CLASSES])
            counts[one.member] = counts.get(one.member, 0) + refused
    return dict(sorted(counts.items()))


def describe_reach(here: str, gates: Mapping[str, int]) -> str:
    """Return of which machine refused requests are shown, and who has the others.

    Args:
        here: the name of the member that answers.
        gates: the names of other gates, and how many requests each has refused.
    """
    kept = f"Refused requests are kept by the machine that refused them; these are of {here} alone."
    if not gates:
        return kept
    most = sorted(gates.items(), key=lambda one: (-one[1], one[0]))
    named = ", ".join(f"{name} ({count:,} refused)" for name, count in most[:GATES_NAMED])
    left = len(gates) - GATES_NAMED
    more = f" and {left:,} more" if left > 0 else ""
    have = "has its" if len(gates) == 1 else "have their"
    return (
        f"{kept} {named}{more} {have} own: `treadle requests --refused` there, with the data "
        "folder of the gate, shows them."
    )


def choose_gate_url(members: Iterable[ListedMember]) -> str | None:
    """Return where records can be sent: the address of a gate that is ready.

    None where no gate says one that programs of other machines could use.
    """
    urls = sorted(
        one.address
        for one in members
        if one.phase is MemberPhase.READY
        and GATE_ROLE in one.role.split(",")
        and one.address.startswith(("http://", "https://"))
    )
    return urls[0] if urls else None
