"""The members of an installation, and the units that loaders have, as people see them."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from treadle.store.membership import (
    ADDRESS_NOTE,
    ANSWERS_NOTE,
    FOREVER_US,
    LOADER_ROLE,
    MEMBER_LASTS_US,
    ClusterMember,
    HeldUnit,
    MemberPhase,
    SeenMember,
)
from treadle.store.releases import read_form, read_schema
from treadle.store.store import Store
from treadle.store.unit_name import COURIER_UNITS, LOG_UNITS, parse_unit_name
from treadle.traces.series_layout import STATUS_CLASSES


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units that are of one log, or one destination.

    Attributes:
        kind: `LOG_UNITS` or another one of `store.unit_name`.
        number: of the log, or the id of the destination.
        count: how many.
        total: how many of that log or destination anybody ever had.
        taken_first: when the first of them was taken, microseconds since 1970.
        taken_last: when the last of them was taken.
    """

    kind: str
    number: int
    count: int
    total: int
    taken_first: int
    taken_last: int


@dataclass(frozen=True, slots=True)
class ListedMember:
    """A process of a server that shares the work with others.

    Attributes:
        place: its machine and data folder; processes of one server have the same.
        member: the name of its server.
        process: its name there, such as "worker 1".
        role: what it does, as the setting `role` names it.
        host: its machine.
        address: where it answers requests; empty where it answers none, or did not say.
        version: of treadle.
        schema: the newest schema revision of the store that it knows; empty where it did not say.
        form: the newest form of entries that it knows; 0 as above.
        units: how many it has; None for a process that shares none.
        groups: the units that it has, in the order of logs and destinations.
        since: when it began, microseconds since 1970.
        beat_seconds: since it said last that it is there.
        phase: what others are to expect of it.
        answers: how many requests it answered by class of status, as
            `series_layout.STATUS_CLASSES`, since its data folder was made; None where it answers
            none, or did not say.
    """

    place: str
    member: str
    process: str
    role: str
    host: str
    address: str
    version: str
    schema: str
    form: int
    units: int | None
    groups: tuple[UnitGroup, ...]
    since: int
    beat_seconds: float
    phase: MemberPhase
    answers: tuple[int, ...] | None = None

    @property
    def is_live(self) -> bool:
        """Whether others take it for one that is there."""
        return self.phase is not MemberPhase.LOST


@dataclass(frozen=True, slots=True)
class MemberLook:
    """The members at one look.

    Attributes:
        members: those that say that they are there, and those that were lost lately.
        free: the units that no live loader has.
    """

    members: Sequence[ListedMember] = ()
    free: Sequence[UnitGroup] = ()


def look_at_members(store: Store) -> MemberLook:
    """Return the processes that say that they are there, those lost lately, and free units.

    A server with its store in a file has no members: nobody shares its work.
    """
    seen, units = store.members.list_members(), store.units.list_units()
    members = describe_members(seen, units)
    live = {one.member.id for one in seen if one.is_live}
    return MemberLook(members, group_free_units(units, live) if members else ())


def list_members(store: Store) -> Sequence[ListedMember]:
    """Return the processes of `look_at_members`."""
    return look_at_members(store).members


def shorten_place(place: str) -> str:
    """Return the name of a server for people, without the number of its boot.

    Args:
        place: `ClusterMember.place`.
    """
    return re.sub(r":[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:", ":", place, count=1)


def describe_members(seen: Iterable[SeenMember], units: Sequence[HeldUnit]) -> list[ListedMember]:
    """Return members as people see them, in the order of `seen`.

    Args:
        seen: all of them.
        units: of the installation.
    """
    groups = group_units(units)
    return [
        ListedMember(
            its.place,
            shorten_place(its.place),
            its.name,
            its.role,
            its.host,
            str(its.notes.get(ADDRESS_NOTE, "")),
            its.version,
            read_schema(its),
            read_form(its),
            sum(one.count for one in groups.get(its.id, ())) if its.role == LOADER_ROLE else None,
            groups.get(its.id, ()) if its.role == LOADER_ROLE else (),
            its.since,
            max(0.0, (MEMBER_LASTS_US - one.left_us) / 1e6),
            one.phase,
            read_answers(its),
        )
        for one in seen
        if one.left_us < FOREVER_US // 2  # others need not beat: nobody waits for it
        and (its := one.member)
    ]


def read_answers(member: ClusterMember) -> tuple[int, ...] | None:
    """Return how many requests a member says it answered, by class of status; None for nothing."""
    found = member.notes.get(ANSWERS_NOTE)
    if not isinstance(found, list) or len(found) != len(STATUS_CLASSES):
        return None
    return tuple(found) if all(isinstance(one, int) for one in found) else None


def read_other_answers(store: Store, place: str) -> dict[str, tuple[int, ...]]:
    """Return the seat of each live process of other servers -> the requests that it answered.

    Args:
        store: knows the members.
        place: `ClusterMember.place` of the server that is left out.
    """
    return {
        one.member.seat: answers
        for one in store.members.list_members()
        if one.is_live
        and one.member.place != place
        and (answers := read_answers(one.member)) is not None
    }


def group_units(units: Sequence[HeldUnit]) -> dict[str, tuple[UnitGroup, ...]]:
    """Return holder -> its units, in groups. Pure.

    Args:
        units: all of the installation. Those without a holder are left out.
    """
    totals = _count_units(units)
    held: dict[str, list[HeldUnit]] = {}
    for one in units:
        if one.holder is not None:
            held.setdefault(one.holder, []).append(one)
    return {holder: _make_groups(its, totals) for holder, its in held.items()}


def group_free_units(units: Sequence[HeldUnit], live: Collection[str]) -> tuple[UnitGroup, ...]:
    """Return the units of tables that no live member has, in groups. Pure.

    Args:
        units: all of the installation.
        live: the ids of live members.
    """
    free = [one for one in units if one.holder is None or one.holder not in live]
    found = _make_groups(free, _count_units(units))
    return tuple(one for one in found if one.kind != COURIER_UNITS)


def _count_units(units: Iterable[HeldUnit]) -> Counter[tuple[str, int]]:
    names = (parse_unit_name(one.unit) for one in units)
    return Counter((name.kind, name.number) for name in names if name is not None)


def _make_groups(
    units: Iterable[HeldUnit], totals: Counter[tuple[str, int]]
) -> tuple[UnitGroup, ...]:
    of_group: dict[tuple[str, int], list[int]] = {}
    for one in units:
        name = parse_unit_name(one.unit)
        if name is not None:
            of_group.setdefault((name.kind, name.number), []).append(one.taken_at)
    return tuple(
        UnitGroup(*key, len(times), totals[key], min(times), max(times))
        for key, times in sorted(of_group.items(), key=lambda one: (one[0][0] != LOG_UNITS, one[0]))
    )
