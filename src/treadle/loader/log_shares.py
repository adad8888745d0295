"""Which tables of which logs this process loads, as the loader's supervisor needs it."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from treadle.counting import count_noun
from treadle.loader.destination_share import DestinationShare
from treadle.loader.schedule import TableKey
from treadle.loader.share import list_log_units, list_slots, name_unit
from treadle.loader.unit_holder import UnitHolder
from treadle.loader.unit_names import UnitNames
from treadle.log.joined import SourceNumbers, list_readers
from treadle.log.protocol import LogReader, TableBacklog
from treadle.log.slots import SLOTS
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

Claims = Sequence[tuple[DestinationShare, Collection[TableKey]]]
"""What is under way, or is not recorded yet, of each destination."""


@dataclass(slots=True)
class LogShares:
    """The logs that are open, and the units of this process in them.

    The supervisor's thread uses it; any thread may ask `keeps_log`.

    Attributes:
        store: knows logs, sources and where tables stand.
        units: of this process.
        beats: other loaders may run.
        logs: numbers of the logs that are open, in order.
        local_logs: those in the data folder, of which each loader counts all tables.
    """

    store: Store
    units: UnitHolder
    beats: bool
    logs: Sequence[int] = ()
    local_logs: frozenset[int] = frozenset()
    numbers: SourceNumbers = field(init=False)
    names: UnitNames = field(init=False)
    _files: Sequence[int] = ()
    _followed: Mapping[str, int] | None = None
    """The units that the logs were told of."""
    _has_all_slots: bool = False

    def __post_init__(self) -> None:
        """Begin without logs."""
        self.numbers = SourceNumbers(self.store.logs.get_number)
        self.names = UnitNames(self.numbers.get_number)

    def begin(self, reader: LogReader) -> None:
        """Tell the store which logs were opened, whatever was open before."""
        self.logs = ()
        self.note_logs(reader)

    def note_logs(self, reader: LogReader) -> None:
        """Tell the store of logs that were opened since, and want their units."""
        readers = list_readers(reader)
        if self.logs == sorted(readers):
            return
        for number, its in readers.items():
            if number not in self.logs:
                self.store.use_log(its.log_id, number)
        self.logs = sorted(readers)
        remote = {one.number for one in self.store.logs.list_logs() if one.url}
        self.local_logs = frozenset(self.logs) - remote
        self.units.want(self.logs, self._files)

    def want_files(self, destination_ids: Sequence[int]) -> None:
        """Want the destinations that one process at a time can open, and that this one may load."""
        self._files = destination_ids
        self.units.want(self.logs, destination_ids)

    def follow(self, reader: LogReader, shares: Iterable[DestinationShare]) -> None:
        """Tell the logs which tables are counted here, after units came or went.

        Args:
            reader: of all logs.
            shares: of all destinations.
        """
        fences = self.units.fences
        if fences is self._followed:
            return
        if self.beats:
            logger.info(
                "this loader has %s",
                count_noun(len(fences), "unit", "units"),
                extra={"fields": {"units": len(fences)}},
            )
        # With a destination that one process loads alone, tables of all slots may be this one's.
        has_files = any(its.is_exclusive and not its.is_empty for its in shares)
        for number, its in list_readers(reader).items():
            slots = frozenset(range(SLOTS)) if has_files else list_slots(fences, number)
            its.share_tables(slots, self._list_loaded(number) if self.beats else {})
        self._has_all_slots = all(
            unit in fences for number in self.logs for unit in list_log_units(number)
        )
        self._followed = fences

    def keeps_log(self, number: int) -> bool:
        """Return whether this process is the one that keeps a log: trims it, and makes room."""
        return self.units.get_fence(name_unit(number, 0)) is not None

    @property
    def is_chief(self) -> bool:
        """Whether this process does what one of all loaders is to do."""
        return bool(self.logs) and self.keeps_log(self.logs[0])

    def select_ours(self, group: list[TableBacklog], share: DestinationShare) -> list[TableBacklog]:
        """Return the backlogs of a destination that this process may load now."""
        if share.is_empty or not share.is_current:
            return []
        if share.is_exclusive or (self._has_all_slots and not self.units.leaving):
            return group
        return [one for one in group if share.is_held((one.source_id, one.table_name))]

    def select_told(self, backlogs: Sequence[TableBacklog]) -> Sequence[TableBacklog]:
        """Return those of logs of which each loader sees its own tables alone."""
        number_of = self.numbers.get_number
        return [one for one in backlogs if number_of(one.source_id) not in self.local_logs]

    def release(self, leaving: frozenset[str], claims: Claims, *, is_told: bool) -> None:
        """Give up units that are leaving, of which nothing is under way any more.

        Args:
            leaving: as it was before the claims were asked for.
            claims: of all destinations.
            is_told: the logs know where all tables stand that were loaded before that.
        """
        if not leaving or not is_told:
            return
        if any(not table_name for _, keys in claims for _, table_name in keys):
            return  # one is busy with all tables, for a moment
        busy = frozenset(share.name_unit_of(key) for share, keys in claims for key in keys)
        self.units.release(leaving, busy)

    def _list_loaded(self, number: int) -> dict[TableKey, int]:
        """Return where the tables of a log stand as the store knows it."""
        return {
            (status.source_id, status.table_name): status.loaded
            for status in self.store.tables.list_statuses()
            if self.numbers.get_number(status.source_id) == number
        }
