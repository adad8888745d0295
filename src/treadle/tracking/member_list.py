"""The members of an installation as people see them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from treadle.store.membership import FOREVER_US, MEMBER_LASTS_US, HeldUnit, SeenMember
from treadle.store.releases import read_form, read_schema
from treadle.store.store import Store


@dataclass(frozen=True, slots=True)
class ListedMember:
    """A process of a server that shares the work with others.

    Attributes:
        member: the name of its server.
        process: its name there, such as "worker 1".
        role: what it does, as the setting `role` names it.
        host: its machine.
        version: of treadle.
        schema: the newest schema revision of the store that it knows; empty where it did not say.
        form: the newest form of entries that it knows; 0 as above.
        units: how many it has; None for a process that shares none.
        since: when it began, microseconds since 1970.
        beat_seconds: since it said last that it is there.
        is_live: others take it for one that is there.
    """

    member: str
    process: str
    role: str
    host: str
    version: str
    schema: str
    form: int
    units: int | None
    since: int
    beat_seconds: float
    is_live: bool


def list_members(store: Store) -> list[ListedMember]:
    """Return the processes that say that they are there, and those that were lost lately.

    A server with its store in a file has none: nobody shares its work.
    """
    return describe_members(store.members.list_members(), store.units.list_units())


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
    held = Counter(one.holder for one in units)
    return [
        ListedMember(
            shorten_place(its.place),
            its.name,
            its.role,
            its.host,
            its.version,
            read_schema(its),
            read_form(its),
            held[its.id] if its.role == "loader" else None,
            its.since,
            max(0.0, (MEMBER_LASTS_US - one.left_us) / 1e6),
            one.is_live,
        )
        for one in seen
        if one.left_us < FOREVER_US // 2  # others need not beat: nobody waits for it
        and (its := one.member)
    ]
