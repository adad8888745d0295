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

A store that was brought back, by a restore or by a failover, may not know sources that this
database has loaded since. There is nothing to record of those, and nothing of them is loaded.

The destination is asked of one log after the other, and of a log that this process has not open it
is asked nothing. Its silence says nothing of the tables of that log: they are neither lost nor
settled, and nothing of them is loaded until it was asked.
"""

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from treadle import failpoint
from treadle.counting import count_noun
from treadle.destinations.protocol import CommittedOffset
from treadle.errors import OperatorError, RetriableError, TableStoppedError
from treadle.loader.load_report import PlannedReport, complete_report, decode_planned_report
from treadle.loader.reporting import LoadReporting
from treadle.loader.schedule import TableKey
from treadle.log.joined import choose_reader
from treadle.log.protocol import LogEntry, LogReader, ReadLimits
from treadle.store.model import TableLoadStatus
from treadle.store.store import Store
from treadle.tables.rejection_reason import RejectionCode
from treadle.text import digest_text

logger = logging.getLogger("treadle.loader")

UNCERTAIN_US_MAX: Final = 60_000_000
"""A table that is to be loaded elsewhere waits this long for its former destination to say whether
it committed the last load. After that it is loaded elsewhere in any case."""

NAMED_MAX: Final = 5
"""Most lost tables, or unknown sources, that a log line names."""


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
    unrecorded: Mapping[TableKey, str] = field(default_factory=dict)
    """The tables with a committed load that cannot be recorded by a fault of ours, and why nothing
    more of them is loaded: the next load would put its own report in the place of that one."""
    uncertain: Mapping[TableKey, UncertainCommit] = field(default_factory=dict)
    """The tables whose last load may have been committed. Replaced as a whole, because the
    supervisor's thread reads it."""
    _compared: set[TableKey] = field(default_factory=set)
    _told: frozenset[TableKey] = frozenset()
    """The lost tables of which the operator was told."""
    _told_unknown: frozenset[int] = frozenset()
    """The unknown sources of which the operator was told."""

    def forget_offsets(self) -> None:
        """Have the destination asked before the next load."""
        self.offsets = None

    def advance_offset(self, key: TableKey, last: int) -> None:
        """Note that a load was committed up to this position."""
        if self.offsets is not None:
            self.offsets[key] = last

    def may_load(self, key: TableKey) -> bool:
        """Return whether `refuse_unsafe` lets a table be loaded."""
        return key not in self.foreign and key not in self.unrecorded

    def refuse_unsafe(self, key: TableKey) -> None:
        """Refuse to load a table of another log than the one that was loaded.

        And one with a committed load that could not be recorded.

        Raises:
            TableStoppedError: it is one.
        """
        why = self.foreign.get(key) or self.unrecorded.get(key)
        if why is not None:
            raise TableStoppedError(why)

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
        was_asked: Callable[[int], bool] = lambda source_id: True,
    ) -> None:
        """Record loads that were committed but not recorded; tell the log where tables stand.

        Args:
            found: what the destination has committed.
            reader: of the log.
            sources: those that load into this destination, or of which it is asked.
            is_ours: returns whether this process has the unit of a table. Another one may be in the
                middle of a load of those that it has not.
            present: those that load into this destination now.
            was_asked: returns whether the destination was asked of the log of a source.
        """
        statuses = self.store.tables.list_statuses()
        recorded = {(one.source_id, one.table_name): one.loaded for one in statuses}
        unrecorded: dict[TableKey, str] = {}
        # The store is asked after the destination: what was loaded there it has known before.
        unknown = self._find_unknown(
            key[0]
            for key, held in found.items()
            if held.report and key not in recorded and key[0] not in present and is_ours(key)
        )
        for key, held in found.items():
            if not is_ours(key) or key[0] in unknown:
                continue
            if held.position > recorded.get(key, -1) and held.report:
                try:
                    self._record(decode_planned_report(held.report), held, reader)
                except (RetriableError, OperatorError):
                    raise
                except Exception as error:
                    # It must not hold up all other tables. Its position is told all the same: the
                    # rows are committed, and a destination that the source moves to begins there.
                    logger.exception("the load of %s is not noted", self.reporting.describe(key))
                    unrecorded[key] = (
                        f"records up to entry {held.position} are loaded, and treadle cannot note "
                        f"that: {error}; this is a fault of treadle, and the log has more of it"
                    )
            self._compare_anchor(key, held, reader)
            # Where a table stands is said by the destination that its source loads into now, and
            # where that begins by what the former one did last.
            commit = self.uncertain.get(key)
            was_committed = commit is not None and held.position >= commit.last
            if was_committed or key[0] in sources:
                self.reporting.report_position(key, held.position)
        self.unrecorded = unrecorded
        # Of another log the destination has not said whether it committed anything.
        self.uncertain = {
            key: commit for key, commit in self.uncertain.items() if not was_asked(key[0])
        }
        # A position of 0 says that nothing was loaded yet.
        unheld = {key: last for key, last in recorded.items() if last and key not in found}
        self.lost = self._find_lost(
            (one for one in statuses if (one.source_id, one.table_name) in unheld),
            lambda key: key[0] in present and is_ours(key) and was_asked(key[0]),
        )
        self.starts = {key: last for key, last in unheld.items() if key not in self.lost}
        self.offsets = {key: held.position for key, held in found.items()}

    def _record(self, kept: PlannedReport, held: CommittedOffset, reader: LogReader) -> None:
        """Record a load that was committed and not recorded."""
        failpoint.reach("loader.recover")
        load, outcomes = complete_report(
            kept, held.result, self.clock(), partial(self._read_positions, kept, reader)
        )
        self.reporting.record_recovered(load, outcomes)

    def _find_unknown(self, source_ids: Iterable[int]) -> frozenset[int]:
        """Return the sources that the store does not know; tell the operator of each once.

        They were made and loaded after the backup that the store was brought back from, or in what
        a failover of its database lost. Their rows stay.
        """
        asked = frozenset(source_ids)
        if not asked:
            return asked
        unknown = asked.difference(one.id for one in self.store.sources.list_sources())
        told = sorted(unknown - self._told_unknown)
        self._told_unknown |= unknown
        if told:
            named = ", ".join(map(str, told[:NAMED_MAX]))
            logger.warning(
                "%s has loaded %s that the store does not know, as after a restore or a failover: "
                "what was loaded of them stays there, and is in no report (%s)",
                self.reporting.find_place() or "the destination",
                count_noun(len(told), "source", "sources"),
                f"{named}, ..." if told[NAMED_MAX:] else named,
            )
        return unknown

    def _find_lost(
        self,
        unheld: Iterable[TableLoadStatus],
        is_loaded_here: Callable[[TableKey], bool],
    ) -> frozenset[TableKey]:
        """Return the tables whose last load went into this database, which holds no offset of them.

        The log is told that nothing of them is loaded, and the operator of each once. Where this is
        wrong, since the offset came meanwhile, the destination refuses the plan and is asked again.

        Args:
            unheld: tables without an offset that are loaded, as the store says.
            is_loaded_here: returns whether a table is loaded by this process, into this database,
                which was asked of its log.
        """
        place = self.reporting.find_place()
        digest = digest_text(place) if place else None
        if digest is None:
            return frozenset()
        lost = frozenset(
            key
            for one in unheld
            if one.place_sha256 == digest and is_loaded_here(key := (one.source_id, one.table_name))
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
        """Return the positions of the entries that were sound in a load, read again from the log.

        None at all where the log has not the same ones any more: an older one was brought back, or
        it trimmed some, as its store lost the load. An index would then be that of another entry.
        """
        found: list[int] = []
        records = 0
        after = kept.first - 1
        while after < kept.last:
            items = reader.read(
                kept.source_id, kept.table_name, after, self.limits.records, self.limits.size
            )
            if not items:
                break
            after = items[-1].position
            for item in items:
                if item.position <= kept.last:
                    records += item.records
                    # One that became damaged since was sound, and counts.
                    if not _was_damaged(kept, item.position):
                        found.append(item.position)
        return found if records == kept.records else []


def _was_damaged(kept: PlannedReport, position: int) -> bool:
    """Return whether a load found an entry damaged."""
    reasons = kept.rejected.get(position)
    return reasons is not None and all(one.code is RejectionCode.DAMAGED_ENTRY for one in reasons)
