"""Copies what the log keeps of a source into a destination that it is to load into.

What was loaded is copied. What waits is not: the loader of the new destination loads it once the
source is moved, and reports that. The records are prepared, planned and loaded by the same
functions as in the loader, with the offsets that the loader of that destination goes on from. So
the copy can be stopped at any time and begun again, and the loader of the former destination goes
on meanwhile: what it loads after the copy, the new one gets from the log when the source is moved
(connect-rest.md A.2.2).

As in a rebuild, a record that was rejected stays rejected: if it was sent again with `treadle
rejects resend`, the table would get it twice.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle import failpoint
from treadle.destinations.planning import execute_accepted
from treadle.destinations.protocol import CommittedOffset, Destination, FencedError, Session
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, TableStoppedError
from treadle.log.protocol import DamagedEntry, LogEntry, LogReader, ReadLimits
from treadle.records.message_batch import decode_batch
from treadle.store.load_folding import list_parts
from treadle.store.model import Source
from treadle.store.store import Store
from treadle.tables.model import OffsetCommit
from treadle.tables.options import make_options
from treadle.tables.prepare.prepare import LogBatch, RecordRef, prepare_load
from treadle.tables.rejection_reason import RejectionReason
from treadle.tables.schema_owner import SchemaOwner

ROUNDS_MAX: Final = 5
"""How often the copy looks for what was loaded meanwhile. What comes after the last look is loaded
when the source is moved."""

LOADS_PAGE: Final = 1000


@dataclass(slots=True)
class TableHistory:
    """What became of the history of one table; numbers of records.

    Attributes:
        table: as clients send it.
        held: the position that the destination was loaded to before; None for not at all.
        there: records that the log holds up to that position: they are not copied.
        copied: records that were copied, those that were rejected left out.
        gone: records that were loaded elsewhere, and that the log does not hold any more.
        damaged: records of entries that failed their checksum.
        rejected: records that the destination got as rejections: reason -> number.
    """

    table: str
    held: int | None = None
    there: int = 0
    copied: int = 0
    gone: int = 0
    damaged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class HistoryCopy:
    """The copy of one source.

    Attributes:
        reader: of the source's log.
        destination: that the source is to load into.
        source: as it is.
        schema: that it is to fill there.
        limits: how much is loaded at once.
        clock: microseconds since 1970.
        tables: what became of each, by name, once the copy began.
    """

    store: Store
    reader: LogReader
    destination: Destination
    source: Source
    schema: str
    limits: ReadLimits
    clock: Callable[[], int]
    tables: dict[str, TableHistory] = field(default_factory=dict)
    _positions: dict[str, int] = field(default_factory=dict)
    """The offset that the destination has now of each table that is copied; -1 for none."""

    def run(self) -> None:
        """Copy everything that was loaded and that the log holds, and what is loaded meanwhile.

        Raises:
            TableStoppedError: the schema is not the source's, or an entry cannot be loaded there;
                the text says which.
            DestinationUnavailableError, AccessDeniedError: the destination cannot be used.
        """
        with open_with_retry(self.destination.open) as session:
            session.prepare(self.schema, self._owner)
            self._find_offsets(session)
        self._count_gone()
        failpoint.reach("move.before-copy")
        for _ in range(ROUNDS_MAX):
            loaded = self._find_loaded()
            copied = sum(
                self._copy_table(name, loaded.get(name, 0)) for name in list(self._positions)
            )
            if copied <= self.limits.records:
                break

    def survey(self) -> None:
        """Count what would be copied, and change nothing; what is rejected then is not known.

        Raises:
            TableStoppedError: the schema is not the source's.
            DestinationUnavailableError, AccessDeniedError: the destination cannot be used.
        """
        with open_with_retry(self.destination.preview) as session:
            session.check_owner(self.schema, self._owner)
            self._find_offsets(session)
        loaded = self._find_loaded()
        for name, position in self._positions.items():
            there = self._count_up_to(name, position)
            self.tables[name].copied = max(0, self._count_up_to(name, loaded.get(name, 0)) - there)
        self._count_gone()

    def _find_offsets(self, session: Session) -> None:
        """Find out where the destination stands."""
        committed = session.committed(self.reader.log_id)
        for name in self._list_tables():
            held = committed.get((self.source.id, name))
            table = TableHistory(name)
            if held is not None:
                table.held = held.position
                table.there = self._count_up_to(name, held.position)
            self.tables[name] = table
            if held is None or not is_of_loader(held):
                self._positions[name] = -1 if held is None else held.position

    def _list_tables(self) -> list[str]:
        """Return the tables that records were ever accepted for, by name."""
        ours = {
            name
            for source_id, name in self.reader.statistics.list_tables()
            if source_id == self.source.id
        }
        loaded = {status.table_name for status in self.store.tables.list_statuses(self.source.id)}
        return sorted(ours | loaded)

    @property
    def _owner(self) -> SchemaOwner:
        return SchemaOwner(self.store.installation_id, self.source.account_id, self.source.id)

    def _find_loaded(self) -> dict[str, int]:
        """Return the position that each table was loaded to, wherever that was."""
        return {
            status.table_name: status.loaded
            for status in self.store.tables.list_statuses(self.source.id)
        }

    def _copy_table(self, name: str, loaded: int) -> int:
        """Copy what the log holds of a table up to a position; return the number of records."""
        copied = 0
        expected = self._count_up_to(name, loaded) - self._count_up_to(name, self._positions[name])
        while self._positions[name] < loaded:
            items = self.reader.read(
                self.source.id,
                name,
                self._positions[name],
                self.limits.records,
                self.limits.size,
            )
            items = [item for item in items if item.position <= loaded]
            if not items:
                break
            with open_with_retry(self.destination.open) as session:
                copied += self._load_entries(session, name, items)
            failpoint.reach("move.after-copy")
        # The log is trimmed early while it is full.
        self.tables[name].gone += max(0, expected - copied)
        return copied

    def _load_entries(
        self, session: Session, name: str, items: Sequence[LogEntry | DamagedEntry]
    ) -> int:
        entries = [item for item in items if isinstance(item, LogEntry)]
        damaged = [item for item in items if isinstance(item, DamagedEntry)]
        prepared = prepare_load(
            [
                LogBatch(decode_batch(entry.payload), entry.position, entry.received_at)
                for entry in entries
            ],
            schema=self.schema,
            source_name=name,
            profile=self.destination.profile,
            options=make_options(self.source.settings, name),
            refused=self._find_rejected(entries),
            owner=self._owner,
        )
        mark = OffsetCommit(
            self.reader.log_id,
            self.source.id,
            name,
            self._positions[name],
            items[-1].position,
        )
        try:
            _, plan, _ = execute_accepted(session, prepared, offset=mark, now=self.clock())
        except TableStoppedError as stopped:
            raise TableStoppedError(
                f"the table {name!r} cannot be copied beyond position {items[0].position}: "
                f"{stopped} Nothing was moved; what was copied stays in the schema {self.schema}"
            ) from stopped
        except FencedError as fenced:
            raise OperatorError(
                f"the table {name!r} is loaded there by a server already: the source was moved "
                "meanwhile"
            ) from fenced
        self._positions[name] = mark.position
        table = self.tables[name]
        for rejection in plan.rejections:
            if rejection.entry >= 0:
                table.rejected[rejection.reason] += 1
        rejected = sum(1 for rejection in plan.rejections if rejection.entry >= 0)
        table.copied += prepared.received - rejected
        table.damaged += sum(item.records for item in damaged)
        return sum(item.records for item in items)

    def _find_rejected(self, entries: Sequence[LogEntry]) -> dict[RecordRef, RejectionReason]:
        """Return the records that were rejected when they were loaded, with the reasons."""
        places = {entry.position: index for index, entry in enumerate(entries)}
        found = self.store.outcomes.find_rejected_records(
            self.source.log, {entry.position: entry.records for entry in entries}
        )
        return {
            RecordRef(places[position], index): reason
            for (position, index), reason in found.items()
        }

    # --- what the log does not hold ---------------------------------------------------------------

    def _count_gone(self) -> None:
        totals = {
            each.table_name: each
            for each in self.store.tables.list_totals()
            if each.source_id == self.source.id
        }
        for name, table in self.tables.items():
            if table.held is not None:
                table.gone = self._count_gone_since(name, table.held)
            elif name in totals:
                kept = self._count_up_to(name, totals[name].position)
                table.gone = max(0, totals[name].received - kept)

    def _count_gone_since(self, name: str, held: int) -> int:
        """Count the records that were loaded elsewhere behind a position and are not kept."""
        found = self.reader.read(self.source.id, name, held, 1, 1)
        first = found[0].position if found else None
        gone, before = 0, None
        while page := self.store.loads.list_loads(
            source_id=self.source.id, table_name=name, limit=LOADS_PAGE, before=before
        ):
            before = page[-1].id
            gone += sum(
                part.rows_received
                for load in page
                if load.error is None
                for part in list_parts(load)
                if part.last > held and (first is None or part.last < first)
            )
        return gone

    def _count_up_to(self, name: str, position: int) -> int:
        """Count the records that the log holds of a table, up to a position."""
        # One question, so that what is accepted meanwhile is not in one of two numbers.
        hours = self.reader.statistics.count_by_hour(self.source.id, name, position)
        return sum(hour.records - hour.waiting for hour in hours)


def is_of_loader(held: CommittedOffset) -> bool:
    """Return whether a loader committed an offset, and not a copy, which leaves no report.

    A loader will go on from there, and no copy may: the loader held a lease.
    """
    return bool(held.report)
