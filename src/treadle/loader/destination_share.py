"""The units of one destination, as its loader uses them.

A unit that was taken is not loaded at once: the destination is asked first what the former holder
has committed. Until then the unit is held, and not open.
"""

from collections.abc import Mapping
from typing import Protocol

from treadle.loader.schedule import TableKey
from treadle.loader.share import LostMember, is_exclusive_unit, name_exclusive_unit
from treadle.loader.unit_names import UnitNames


class UnitSource(Protocol):
    """What this process has of all units (`unit_holder.UnitHolder`)."""

    @property
    def fences(self) -> Mapping[str, int]:
        """Unit -> its fence; another object after a change."""

    @property
    def lost(self) -> tuple[LostMember, ...]:
        """The members whose sessions are to be ended."""

    @property
    def member_id(self) -> str:
        """The id of this process."""

    @property
    def is_current(self) -> bool:
        """Whether anything may begin now."""

    def get_fence(self, unit: str) -> int | None:
        """Return the fence of a unit; None where nothing of it may begin now."""

    def report_overtaken(self, unit: str, held: int) -> None:
        """Have the store asked who has a unit."""


class DestinationShare:
    """The units that concern one destination.

    The destination's thread and that of its pipeline use it; the supervisor's thread asks
    `is_stale`.

    Args:
        holder: of this process.
        destination_id: of a destination that one process at a time can open, which is a unit
            itself; None for one of which several can load different tables.
        names: of the units of tables.
    """

    def __init__(self, holder: UnitSource, destination_id: int | None, names: UnitNames) -> None:
        self._holder = holder
        self._own = None if destination_id is None else name_exclusive_unit(destination_id)
        self._names = names
        self._open: Mapping[str, int] = {}
        self._judged: tuple[Mapping[str, int], bool] = ({}, False)
        self._ended: set[LostMember] = set()

    @property
    def member_id(self) -> str:
        """The id of this process."""
        return self._holder.member_id

    @property
    def is_current(self) -> bool:
        """Whether anything may begin now."""
        return self._holder.is_current

    @property
    def is_exclusive(self) -> bool:
        """Whether the destination is a unit itself."""
        return self._own is not None

    @property
    def is_stale(self) -> bool:
        """Whether there are units that are not open, so that the destination is to be asked."""
        fences, is_stale = self._judged
        if fences is not self._holder.fences:
            fences = self._holder.fences
            concerned = self._select(fences)
            is_stale = any(self._open.get(unit) != its for unit, its in concerned.items())
            self._judged = fences, is_stale
        return is_stale

    @property
    def is_empty(self) -> bool:
        """Whether this process has nothing of the destination."""
        return not self._select(self._holder.fences)

    def open_units(self) -> None:
        """Open all units that are held; the destination is asked right after this."""
        fences = self._holder.fences
        self._open = self._select(fences)
        self._judged = fences, False

    def list_lost(self) -> list[LostMember]:
        """Return the members whose sessions are to be ended before the destination is asked."""
        return [one for one in self._holder.lost if one not in self._ended]

    def note_ended(self, member: LostMember) -> None:
        """Note that a member has no sessions any more of the time before it was lost."""
        self._ended.add(member)

    def name_unit_of(self, key: TableKey) -> str:
        """Return the unit of a table in this destination."""
        return self._own or self._names.get_unit(key)

    def is_held(self, key: TableKey) -> bool:
        """Return whether the table is this process's, and stays so."""
        return self._holder.get_fence(self.name_unit_of(key)) is not None

    def is_open(self, key: TableKey) -> bool:
        """Return whether the table is this process's, and the destination was asked since."""
        return self.name_unit_of(key) in self._open

    def may_begin(self, key: TableKey) -> bool:
        """Return whether a load of a table may begin now."""
        unit = self.name_unit_of(key)
        found = self._open.get(unit)
        return found is not None and found == self._holder.get_fence(unit)

    def get_fence(self, key: TableKey) -> int:
        """Return the fence for the offset of a table that may begin."""
        return self._open.get(self.name_unit_of(key), 0)

    def report_overtaken(self, key: TableKey, held: int) -> None:
        """Have the store asked who has the unit of a table; see `UnitHolder.report_overtaken`."""
        self._holder.report_overtaken(self.name_unit_of(key), held)

    def _select(self, fences: Mapping[str, int]) -> Mapping[str, int]:
        if self._own is not None:
            return {self._own: fences[self._own]} if self._own in fences else {}
        return {unit: its for unit, its in fences.items() if not is_exclusive_unit(unit)}
