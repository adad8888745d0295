"""The decisions about units: who should have one, and what a member may do now.

A unit is a slot of a log, or a destination that one process at a time can open. Each member decides
for itself from what the store says, and all come to the same answer: a unit belongs to the live
loader with the greatest hash of both names, and no loader has more slots of a log than its even
part. So a member that is lost or joins moves little more than its own part, and as many loaders
load as many times as much. That it holds is seen to by the store: it gives a unit to nobody while
its holder lives.

Everything here is a decision on values.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from treadle.log.slots import SLOTS
from treadle.store.membership import MEMBER_LASTS_US, ClusterMember, HeldUnit
from treadle.store.unit_name import EXCLUSIVE_UNITS, LOG_UNITS, parse_unit_name

MARGIN_US: Final = 500_000
"""A member begins nothing in the last half second before others may take it for lost."""

GAP_US_MAX: Final = 2_500_000
"""Two beats that are further apart say that the store was away, or this process did not run."""

MoveName = tuple[int, int]
"""(source id, time of the move), as `commands.MoveKey`."""


class LostMember(NamedTuple):
    """A member that had units and did not give them up, and the fence with which they were taken.

    A member that stood still and goes on keeps its id. So it can be lost again, which is another
    fence.
    """

    id: str
    fence: int


def name_unit(log: int, slot: int) -> str:
    """Return the unit of a slot of a log."""
    return f"{LOG_UNITS}:{log}:{slot}"


def name_exclusive_unit(destination_id: int) -> str:
    """Return the unit of a destination that one process at a time can open."""
    return f"{EXCLUSIVE_UNITS}:{destination_id}"


def is_exclusive_unit(unit: str) -> bool:
    """Return whether a unit is a destination, and no slot of a log."""
    return unit.startswith(EXCLUSIVE_UNITS)


def list_log_units(log: int) -> list[str]:
    """Return the units of a log."""
    return [name_unit(log, slot) for slot in range(SLOTS)]


def list_slots(units: Iterable[str], log: int) -> frozenset[int]:
    """Return the slots of a log that are among some units."""
    parts = (unit.split(":") for unit in units if not is_exclusive_unit(unit))
    return frozenset(int(slot) for _, number, slot in parts if int(number) == log)


@dataclass(frozen=True, slots=True)
class LoaderNotes:
    """What other members are to know of a loader.

    Attributes:
        logs: numbers of the logs that it has opened.
        exclusive: ids of the destinations that it may load, of those that one process can open.
        settled: moves of sources for which nothing is open in this process any more, and nothing
            will be.
        deals_evenly: its release gives no loader more than its even part. While one that does not
            lives, nobody does: all have to come to the same answer.
    """

    logs: frozenset[int] = frozenset()
    exclusive: frozenset[int] = frozenset()
    settled: frozenset[MoveName] = frozenset()
    deals_evenly: bool = True

    def encode(self) -> dict[str, Any]:
        """Return JSON values for the store."""
        return {
            "logs": sorted(self.logs),
            "exclusive": sorted(self.exclusive),
            "settled": sorted(map(list, self.settled)),
            "even": self.deals_evenly,
        }

    def may_have(self, unit: str) -> bool:
        """Return whether the loader can load a unit."""
        parts = unit.split(":")
        return int(parts[1]) in (self.logs if parts[0] == LOG_UNITS else self.exclusive)

    def list_units(self) -> frozenset[str]:
        """Return all units that the loader can load."""
        return frozenset(
            [unit for log in self.logs for unit in list_log_units(log)]
            + [name_exclusive_unit(destination_id) for destination_id in self.exclusive]
        )


def decode_notes(notes: Mapping[str, Any]) -> LoaderNotes:
    """Return what `LoaderNotes.encode` wrote; what is missing is none."""
    return LoaderNotes(
        frozenset(notes.get("logs", ())),
        frozenset(notes.get("exclusive", ())),
        frozenset((source_id, at) for source_id, at in notes.get("settled", ())),
        deals_evenly=bool(notes.get("even", False)),
    )


@dataclass(frozen=True, slots=True)
class ShareCandidate:
    """A live loader, as far as the choice of owners needs it.

    Attributes:
        id: of the member.
        seat: `ClusterMember.seat`. With the same one a restarted process gets the same units.
        notes: what it can load.
    """

    id: str
    seat: str
    notes: LoaderNotes

    @classmethod
    def of(cls, member: ClusterMember) -> "ShareCandidate":
        """Return the candidate that a member is."""
        return cls(member.id, member.seat, decode_notes(member.notes))


def choose_owners(
    units: Iterable[str], candidates: Sequence[ShareCandidate]
) -> dict[str, str | None]:
    """Return the id of the loader that should have each unit; None where none can load it.

    Args:
        units: their names.
        candidates: the live loaders, of different seats. Their order does not matter.
    """
    evenly = all(one.notes.deals_evenly for one in candidates)
    asked = list(units)
    found: dict[str, str | None] = {}
    if evenly:
        names = [name for unit in asked if (name := parse_unit_name(unit)) is not None]
        for log in {name.number for name in names if name.kind == LOG_UNITS}:
            found |= _deal_log(log, candidates)
    return {
        unit: found[unit] if unit in found else _choose_owner(unit, candidates) for unit in asked
    }


def _deal_log(log: int, candidates: Sequence[ShareCandidate]) -> dict[str, str | None]:
    """Give each loader its even part of the slots of a log, those with the greatest hashes first.

    Without that bound one of six loaders may get a quarter of the slots, and the tables of a log
    are loaded no faster than those of that one.
    """
    units = list_log_units(log)
    able = [one for one in candidates if log in one.notes.logs]
    if not able:
        return dict.fromkeys(units)
    left = {one.id: -(-len(units) // len(able)) for one in able}
    pairs = sorted(
        ((_hash_pair(unit, one.seat), unit, one.id) for unit in units for one in able),
        reverse=True,
    )
    found: dict[str, str | None] = {}
    for _, unit, loader in pairs:
        if unit not in found and left[loader]:
            found[unit] = loader
            left[loader] -= 1
    return found


def _choose_owner(unit: str, candidates: Sequence[ShareCandidate]) -> str | None:
    able = [one for one in candidates if one.notes.may_have(unit)]
    return max(able, key=lambda one: _hash_pair(unit, one.seat)).id if able else None


def _hash_pair(unit: str, seat: str) -> bytes:
    return hashlib.blake2b(f"{unit}\0{seat}".encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class SharePlan:
    """What a member does about units now.

    Attributes:
        take: units that it should have, and that are free.
        leave: units that it has, and another should have; it gives each up when nothing of it is
            under way any more.
    """

    take: frozenset[str] = frozenset()
    leave: frozenset[str] = frozenset()


def plan_share(
    member_id: str,
    loaders: Sequence[ClusterMember],
    silent: Collection[str],
    units: Iterable[HeldUnit],
    *,
    may_take_lost: bool,
) -> SharePlan:
    """Return what a member does about units.

    Args:
        member_id: whose plan it is.
        loaders: the live ones.
        silent: ids of loaders that are listed and lost. A holder that is not listed has ended.
        units: all that anybody has had.
        may_take_lost: units of silent loaders may be taken (`BeatRecord.may_take_lost`).
    """
    candidates = [ShareCandidate.of(one) for one in loaders]
    me = next((one for one in candidates if one.id == member_id), None)
    if me is None:
        return SharePlan()
    live = {one.id for one in candidates}
    holders = {one.unit: one.holder for one in units}
    wanted = me.notes.list_units()
    take = set()
    leave = set()
    for unit, owner in choose_owners(wanted | holders.keys(), candidates).items():
        holder = holders.get(unit)
        if holder == member_id:
            if owner not in (member_id, None):
                leave.add(unit)
        elif owner == member_id and holder not in live and (may_take_lost or holder not in silent):
            take.add(unit)
    return SharePlan(frozenset(take), frozenset(leave))


@dataclass(frozen=True, slots=True)
class BeatRecord:
    """The beats of a member that the store has answered, by its own monotonic clock, microseconds.

    Attributes:
        since: from when on no two of them were far apart; None before the first one.
        last: when the last one was begun.
    """

    since: int | None = None
    last: int | None = None

    def add_beat(self, begun: int, answered: int) -> "BeatRecord":
        """Return the record with one more beat."""
        if self.since is None or self.last is None or answered - self.last > GAP_US_MAX:
            return BeatRecord(answered, begun)
        return BeatRecord(self.since, begun)

    def may_begin(self, now: int) -> bool:
        """Return whether a load may begin: nobody can take the member for lost yet.

        What is under way after that is guarded by its fence.
        """
        return self.last is not None and now - self.last <= MEMBER_LASTS_US - MARGIN_US

    def may_take_lost(self, now: int) -> bool:
        """Return whether units of silent members may be taken.

        After the store was away all members are silent, and the first one that is back would take
        everything. So each gives the others as long as a member lasts.
        """
        return self.since is not None and now - self.since >= MEMBER_LASTS_US


def is_settled(
    move: MoveName,
    concerned: Collection[str],
    holders: Mapping[str, Mapping[str, Any] | None],
) -> bool:
    """Return whether all loaders that may have loads of a moved source have settled its move.

    A loader that has settled it begins no load for the former destination, and has none open. It
    takes that back in the transaction in which it takes further units. So what is true here stays.

    Args:
        move: of the source.
        concerned: the units whose holders have to say so.
        holders: unit -> the notes of its holder; None where nobody that is listed has it.
    """
    return all(
        (notes := holders.get(unit)) is not None and move in decode_notes(notes).settled
        for unit in concerned
    )
