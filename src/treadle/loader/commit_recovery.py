"""Recovery of loads whose COMMIT or whose report was cut short.

The destination commits an offset with the rows of each load, and beside it the report as it was
planned. So whatever breaks, the destination is asked which offsets it has committed: loads go on
from there, and a load that was committed and not recorded is recorded then (loading.md 1.2).

An older copy of the log may have been brought back, and may have given positions again that are
loaded already. The anchor of the last loaded entry, which the destination keeps, shows that, and
the table stops.

A destination that was brought back as it was before the first load of a table, by a backup or by a
failover, has no offset of it. That is as if the table had come from elsewhere, so the store notes
into which database each load went: where it is this one, the table is loaded again from the log.
"""

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from treadle import failpoint
from treadle.counting import count_noun
from treadle.destinations.protocol import CommittedOffset
from treadle.errors import RetriableError, TableStoppedError
from treadle.loader.load_report import PlannedReport, complete_report, decode_planned_report
from treadle.loader.reporting import LoadReporting
from treadle.loader.schedule import TableKey
from treadle.log.joined import choose_reader
from treadle.log.protocol import LogEntry, LogReader, ReadLimits
from treadle.store.model import TableLoadStatus
from treadle.store.store import Store
from treadle.text import digest_text

logger = logging.getLogger("treadle.loader")

UNCERTAIN_US_MAX: Final = 60_000_000
"""A table that is to be loaded elsewhere waits this long for its former destination to say whether
it committed the last load. After that it is loaded elsewhere in any case."""

NAMED_MAX: Final = 5
"""Most lost tables that a log line names."""


class UncertainCommit(NamedTuple):
    """A load that may have been committed: its last position, and since when that is not known."""

    last: int
    since: int


@dataclass(slots=True)
class CommitRecovery:
    """The committed offsets of one destination, and the loads of which it has to be asked.

    Attributes:
        store: knows which loads were recorded.
        reporting: records those that were not.
        limits: of one read when entries are read again.
        clock: microseconds since 1970.
    """

    store: Store
    reporting: LoadReporting
    limits: ReadLimits
    clock: Callable[[], int]
    offsets: dict[TableKey, int] | None = None
    """The offset the destination has committed for each table; None: ask it."""
    starts: dict[TableKey, int] = field(default_factory=dict)
    """How far tables without an offset here were loaded elsewhere, as the store knew it then."""
    lost: frozenset[TableKey] = frozenset()
    """The tables that were loaded into this database, and of which it has no offset any more."""
    foreign: Mapping[TableKey, str] = field(default_factory=dict)
    """The tables whose log is not the one that was loaded, and why nothing of them is loaded."""
    uncertain: Mapping[TableKey, UncertainCommit] = field(default_factory=dict)
    """The tables whose last load may have been committed. Replaced as a whole, because the
    supervisor's thread reads it."""
    _compared: set[TableKey] = field(default_factory=set)
    _told: frozenset[TableKey] = frozenset()
    """The lost tables of which the operator was told."""

    def forget_offsets(self) -> None:
        """Have the destination asked before the next load."""
        self.offsets = None

    def advance_offset(self, key: TableKey, last: int) -> None:
        """Note that a load was committed up to this position."""
        if self.offsets is not None:
            self.offsets[key] = last

    def refuse_foreign(self, key: TableKey) -> None:
        """Refuse to load a table of another log than the one that was loaded.

        Raises:
            TableStoppedError: it is one.
        """
        if key in self.foreign:
            raise TableStoppedError(self.foreign[key])

    def add_uncertain(self, key: TableKey, last: int) -> None:
        """Keep a table until the destination has said whether it committed this load of it."""
        self.uncertain = {**self.uncertain, key: UncertainCommit(last, self.clock())}
        self.offsets = None

    def drop_expired(self, sources: Container[int], identity: str) -> None:
        """Stop asking for tables that are to be loaded elsewhere and waited long enough.

        Args:
            sources: those that still load into this destination.
            identity: of the destination, for the operator.
        """
        if not self.uncertain:
            return
        now = self.clock()
        for key, commit in self.uncertain.items():
            if key[0] in sources or now - commit.since < UNCERTAIN_US_MAX:
                continue
            self.uncertain = {other: its for other, its in self.uncertain.items() if other != key}
            logger.error(
                "%s does not say whether it committed the last load of %s, records up to entry "
                "%d: the next destination gets them in any case, so they may be in both",
                identity,
                self.reporting.describe(key),
                commit.last,
            )

    def recover(
        self,
        found: Mapping[TableKey, CommittedOffset],
        reader: LogReader,
        sources: Container[int],
        is_ours: Callable[[TableKey], bool] = lambda key: True,
        present: Container[int] = (),
    ) -> None:
        """Record loads that were committed but not recorded; tell the log where tables stand.

        Args:
            found: what the destination has committed.
            reader: of the log.
            sources: those that load into this destination, or of which it is asked.
            is_ours: returns whether this process has the unit of a table. Another one may be in the
                middle of a load of those that it has not.
            present: those that load into this destination now.
        """
        statuses = self.store.tables.list_statuses()
        recorded = {(one.source_id, one.table_name): one.loaded for one in statuses}
        for key, held in found.items():
            if not is_ours(key):
                continue
            if held.position > recorded.get(key, -1) and held.report:
                kept = decode_planned_report(held.report)
                failpoint.reach("loader.recover")
                load, outcomes = complete_report(
                    kept, held.result, self.clock(), partial(self._read_positions, kept, reader)
                )
                self.reporting.record_recovered(load, outcomes)
            self._compare_anchor(key, held, reader)
            # Where a table stands is said by the destination that its source loads into now, and
            # where that begins by what the former one did last.
            commit = self.uncertain.get(key)
            was_committed = commit is not None and held.position >= commit.last
            if was_committed or key[0] in sources:
                self.reporting.report_position(key, held.position)
        self.uncertain = {}
        # A position of 0 says that nothing was loaded yet.
        unheld = {key: last for key, last in recorded.items() if last and key not in found}
        self.lost = self._find_lost(
            (one for one in statuses if (one.source_id, one.table_name) in unheld),
            reader,
            lambda key: key[0] in present and is_ours(key),
        )
        self.starts = {key: last for key, last in unheld.items() if key not in self.lost}
        self.offsets = {key: held.position for key, held in found.items()}

    def _find_lost(
        self,
        unheld: Iterable[TableLoadStatus],
        reader: LogReader,
        is_loaded_here: Callable[[TableKey], bool],
    ) -> frozenset[TableKey]:
        """Return the tables whose last load went into this database, which holds no offset of them.

        The log is told that nothing of them is loaded, and the operator of each once. Where this is
        wrong, since the offset came meanwhile, the destination refuses the plan and is asked again.

        Args:
            unheld: tables without an offset that are loaded, as the store says.
            reader: of the log.
            is_loaded_here: returns whether a table is loaded by this process, into this database.
        """
        place = self.reporting.find_place()
        digest = digest_text(place) if place else None
        if digest is None:
            return frozenset()
        lost = frozenset(
            key
            for one in unheld
            if one.place_sha256 == digest
            and is_loaded_here(key := (one.source_id, one.table_name))
            and _has_log(reader, one.source_id)
        )
        for key in lost:
            self.reporting.report_position(key, 0)
        told = sorted(lost - self._told)
        self._told |= lost
        if told:
            named = ", ".join(map(self.reporting.describe, told[:NAMED_MAX]))
            logger.warning(
                "%s does not know any more how far it loaded %s, as after a failover or a restore: "
                "all that the log still holds of them is loaded again (%s)",
                place,
                count_noun(len(told), "table", "tables"),
                f"{named}, ..." if told[NAMED_MAX:] else named,
            )
        return lost

    def _compare_anchor(self, key: TableKey, held: CommittedOffset, reader: LogReader) -> None:
        """Compare the entry that was loaded last with the one that the log has at its position."""
        if not held.report or key in self._compared:
            return
        self._compared.add(key)  # this reader's log is the same for as long as it is open
        kept = decode_planned_report(held.report)
        its = choose_reader(reader, key[0])
        if kept.anchor is None or its.get_anchor(kept.last) in (None, kept.anchor):
            return
        if not any(isinstance(one, LogEntry) for one in its.find_entries(kept.last, 1)):
            return  # it is damaged, and says nothing
        why = (
            f"entry {kept.last} of the log is another one than the one that was loaded: an older "
            "copy of the log was brought back, and gave positions again; put the newer one in its "
            "place, or start with a new log file"
        )
        logger.error("%s stops: %s", self.reporting.describe(key), why)
        self.foreign = {**self.foreign, key: why}

    def _read_positions(self, kept: PlannedReport, reader: LogReader) -> list[int]:
        """Return the positions of the sound entries that a load took, read again from the log."""
        found: list[int] = []
        after = kept.first - 1
        while after < kept.last:
            items = reader.read(
                kept.source_id, kept.table_name, after, self.limits.records, self.limits.size
            )
            if not items:
                break
            after = items[-1].position
            found += [
                item.position
                for item in items
                if isinstance(item, LogEntry) and item.position <= kept.last
            ]
        return found


def _has_log(reader: LogReader, source_id: int) -> bool:
    """Return whether the log of a source is open: the destination was asked of those alone."""
    try:
        choose_reader(reader, source_id)
    except RetriableError:
        return False
    return True
