"""Members and units, as the store keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MEMBER_LASTS_US: Final = 6_000_000
"""A member that says nothing for this long is lost, and others take what it had."""

MEMBER_BEAT_SECONDS: Final = 1.0
"""The time between two beats of a member."""

FOREVER_US: Final = 2**62
"""A member whose place nobody else can be in need not beat: it lasts until it is replaced."""

LOADER_ROLE: Final = "loader"
"""The role of members that may have units."""

ADDRESS_NOTE: Final = "address"
DRAINING_NOTE: Final = "draining"
"""What a member that answers requests notes: where it listens, and whether it is about to stop."""

HOME_NOTE: Final = "home"
"""And the machine and data folder that it runs in, whatever name was given to its place."""

ANSWERS_NOTE: Final = "answers"
"""And how many requests it answered by class of status, as `series_layout.STATUS_CLASSES`; the
counts outlive the process, not the data folder."""


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """One running process.

    Attributes:
        id: a UUID of this process; never used again.
        place: the machine and data folder, of which one server at a time can be the owner, or the
            name that was given to it. So a process of the same place and name ran before, and has
            ended.
        name: of the process in its place, as in `loader 2`.
        role: what it does: `loader`, or another word.
        host: of the machine, for people.
        version: of treadle.
        since: when it began, microseconds since 1970.
        notes: JSON values that other members are to know.
    """

    id: str
    place: str
    name: str
    role: str
    host: str
    version: str
    since: int
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seat(self) -> str:
        """The same text for processes of which one runs at a time, one after the other."""
        return f"{self.place}/{self.name}"


class MemberPhase(StrEnum):
    """What others are to expect of a member.

    Attributes:
        READY: it works.
        DRAINING: it finishes what it has, and is given nothing more.
        LOST: it says nothing any more, and did not end in order.
    """

    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class SeenMember:
    """A member as others see it.

    Attributes:
        left_us: microseconds until it is lost unless it beats; 0 or less for one that is lost.
    """

    member: ClusterMember
    left_us: int

    @property
    def is_live(self) -> bool:
        """Whether it has said something lately."""
        return self.left_us > 0

    @property
    def phase(self) -> MemberPhase:
        """What others are to expect of it."""
        if not self.is_live:
            return MemberPhase.LOST
        is_draining = bool(self.member.notes.get(DRAINING_NOTE))
        return MemberPhase.DRAINING if is_draining else MemberPhase.READY


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """What a beat found.

    Attributes:
        loaders: the live members with the role of a loader, in one order for all who ask.
        silent: the ids of those that are listed and lost.
        changes: grows with each change of units.
        next_us: microseconds until the first of the loaders is lost unless it beats.
        least_schema: the newest schema revision that a treadle has to know to go on.
        form: of the entries that are written; a treadle has to know it to go on.
    """

    loaders: Sequence[ClusterMember]
    silent: frozenset[str]
    changes: int
    next_us: int = MEMBER_LASTS_US
    least_schema: str = ""
    form: int = 1


@dataclass(frozen=True, slots=True)
class HeldUnit:
    """A unit, and who has it.

    Attributes:
        unit: its name.
        holder: the id of a member, which may be lost; None while nobody has it.
        fence: the number of the holder, or of the last one.
        taken_at: when it was taken last, microseconds since 1970.
    """

    unit: str
    holder: str | None
    fence: int
    taken_at: int


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """How the units are shared.

    Attributes:
        loaders: that are live.
        units: that anybody ever had.
        unheld: units that no live loader has.
    """

    loaders: int
    units: int
    unheld: int


@dataclass(frozen=True, slots=True)
class TakenUnits:
    """Units that a member took at once.

    Attributes:
        units: their names.
        fence: of all of them; greater than any that was given before.
        lost: the members that had some of them, and did not give them up.
    """

    units: frozenset[str] = frozenset()
    fence: int = 0
    lost: frozenset[str] = frozenset()
