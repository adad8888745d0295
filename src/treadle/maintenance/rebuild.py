"""Builds a table again from the entries that the log still holds, beside the one that is there.

The same functions prepare, plan and load as in the loader, into another schema and under marks of
another name, so that neither disturbs the other. Records that were rejected stay so: they are sent
again by `treadle rejects resend`, and would be there twice otherwise.

A swap is one transaction that checks that the table stands where the rebuilt one ends. A load that
came in between makes it fail; what that load took is built too, and the swap is tried again. A load
that was planned before the swap is refused by the table's revision and planned anew. So nothing is
lost or loaded twice, and the loader need not stop.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import sleep
from typing import Final

from treadle.destinations.layout import REJECTED
from treadle.destinations.planning import execute_load, find_refused_records
from treadle.destinations.protocol import (
    Destination,
    PlanOutdatedError,
    RowDiff,
    RowRefusedError,
    Session,
)
from treadle.destinations.relation_diff import pair_relations
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, RetriableError, TableStoppedError
from treadle.log.protocol import DamagedEntry, LogEntry, LogReader, ReadLimits
from treadle.records.message_batch import decode_batch
from treadle.store.model import Source, TableLoadStatus
from treadle.store.store import Store
from treadle.tables.model import OffsetCommit, Rejection, Table
from treadle.tables.names import Namer
from treadle.tables.options import make_options
from treadle.tables.plan.planner import plan_swap
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, RecordRef, prepare_load

ROUNDS_MAX: Final = 50
"""How often loads may come in between before giving up; each round takes only what is new."""

REJECTIONS_MAX: Final = 1_000
"""How many newly rejected records a swap can put into `_sdc_rejected`: each holds up to 64 KB."""

REPORT_CHECKS_MAX: Final = 200
REPORT_CHECK_PAUSE_SECONDS: Final = 0.05
"""How long a load may be committed and not noted in the store: the loader takes milliseconds."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Which entries, by when they were accepted: microseconds since 1970, None for no bound.

    Attributes:
        since: the first that is in it.
        until: the first that is not.
    """

    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return self.since is not None or self.until is not None

    @property
    def is_possible(self) -> bool:
        """Whether anything can be in it."""
        return self.since is None or self.until is None or self.since < self.until

    def contains(self, received_at: int) -> bool:
        """Whether an entry is in it."""
        return (self.since is None or received_at >= self.since) and (
            self.until is None or received_at < self.until
        )


@dataclass(slots=True)
class RebuildProgress:
    """What was built so far.

    Attributes:
        first: position of the first entry the log holds of the table; None when it holds none.
        position: the last position that was looked at.
        mark: the last position of a load; -1 before the first.
        entries, records: taken.
        damaged: entries that failed their checksum.
        rejected: records rejected now that had not been rejected: reason -> how many.
        rejections: the first of the rows of `_sdc_rejected` for them, at most `REJECTIONS_MAX`.
        overtaken: entries may have been trimmed before they were read.
        reshaped: how the table's shape is another one than it was; known once it was compared.
    """

    first: int | None = None
    position: int = 0
    committed: int = -1
    entries: int = 0
    records: int = 0
    damaged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    overtaken: bool = False
    shape_changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RelationComparison:
    """A relation that was compared, by its name in the destination.

    Attributes:
        only_here: what was built has no such relation.
    """

    relation: str
    diff: RowDiff
    is_only_here: bool = False

    @property
    def differs(self) -> bool:
        """Whether any row does."""
        return bool(self.diff.only_here or self.diff.only_there or self.diff.different)


def find_doubts(
    built: RebuildProgress, status: TableLoadStatus | None, window: TimeWindow
) -> list[str]:
    """Why what was built may be less than the table ought to hold; empty when it is all.

    Args:
        built: what was built.
        status: what the store knows of the table.
        window: what was asked for.
    """
    found = []
    began = status.began if status is not None else None
    if built.first is None:
        found.append("the log holds nothing of the table any more")
    elif began is None:
        found.append("it is not known where the table begins, or it is in an earlier log")
    elif built.first > began:
        found.append(
            f"the log no longer reaches back to the table's beginning: that was at position "
            f"{began}, and the first it holds is {built.first}"
        )
    if window:
        found.append("only a part of the log was taken (--from, --to)")
    if built.damaged:
        found.append(f"{built.damaged} entries of the log are damaged")
    if built.overtaken:
        found.append("the log was trimmed while it was read")
    if built.rejected:
        reasons = "; ".join(
            f"{reason} ({count})" for reason, count in built.rejected.most_common(3)
        )
        found.append(
            f"{built.rejected.total()} records that were loaded before are rejected now: {reasons}"
        )
    return [*found, *built.shape_changes]


def describe_shape_changes(
    here: Table | None, there: Table | None, found: Sequence[RelationComparison]
) -> tuple[str, ...]:
    """How a table built again has another shape than it had, as after its options were changed.

    Args:
        here: the catalogue entry of the table.
        there: of what was built.
        found: their relations, compared.
    """
    if here is None or there is None:
        return ()
    told = []
    ways = {True: "appends every record", False: "keeps one row for a key"}
    if here.append != there.append:
        told.append(
            f"the table {ways[here.append]}, and by the options it has now it {ways[there.append]}"
        )
    ours, theirs = (", ".join(sorted(key.field for key in each.keys)) for each in (here, there))
    if ours != theirs:
        told.append(f"the table has the key {ours}, and what was built {theirs}")
    told += [
        f"the subtable {each.relation} holds {each.diff.only_here} rows, and none such was built"
        for each in found
        if each.is_only_here and each.diff.only_here
    ]
    return tuple(told)


@dataclass(slots=True)
class TableRebuild:
    """One table built again.

    Attributes:
        reader: of the log.
        destination: where the source loads.
        table_name: as sent.
        schema: where to build; of no source.
        window: which entries.
        limits: how much is built at once.
        clock: microseconds since 1970.
    """

    store: Store
    reader: LogReader
    destination: Destination
    source: Source
    table_name: str
    schema: str
    window: TimeWindow
    limits: ReadLimits
    clock: Callable[[], int]
    progress: RebuildProgress = field(default_factory=RebuildProgress)

    @property
    def destination_name(self) -> str:
        """The table's name in the destination."""
        return self._make_namer().name_table(self.table_name)[0]

    @property
    def _offset_log_id(self) -> str:
        """The name of the marks of what is built."""
        return f"{self._offset_log_prefix}{self.source.id} {self.destination_name}"

    @property
    def _offset_log_prefix(self) -> str:
        """How the names of all marks of what is built there begin."""
        return f"replay into {self.schema} of "

    # --- building ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Build up to where the table stands, from nothing.

        Raises:
            OperatorFault: there is nothing to build, or it cannot be told apart.
            TableStopped: an entry cannot be loaded; says which.
            Unavailable, Forbidden: the destination.
        """
        self._refuse_shared_table()
        self.progress = RebuildProgress(first=self._find_first_position())
        with self._open_session() as session:
            if others := self._list_foreign_relations(session):
                raise OperatorError(
                    f"the schema {self.schema} holds {others}, which is not from an earlier replay "
                    f"of {self.destination_name}; a table is built in a schema that is missing, "
                    f"empty, or "
                    "holds nothing but what replays built there. Nothing was changed: drop what "
                    "nobody needs there, or name another schema with --into"
                )
            if session.committed(self._offset_log_id):
                session.remove(self.schema, self.destination_name, self._offset_log_id)
            stands = self._find_loaded_position(session)
        if stands <= 0:
            raise OperatorError(
                f"nothing of the table {self.table_name!r} was loaded yet, so there is nothing to "
                "build again; `treadle log stats` shows what waits"
            )
        self._build_to(stands)

    def _build_to(self, last: int) -> None:
        built = self.progress
        while built.position < last:
            items = self.reader.read(
                self.source.id,
                self.table_name,
                built.position,
                self.limits.records,
                self.limits.size,
            )
            if built.first is not None:
                # Where what was read before is gone, what came right after it may be gone as well.
                first = self._find_first_position()
                if first is None or first > max(built.first, built.position):
                    built.overtaken = True
            items = [item for item in items if item.position <= last]
            if not items:
                built.position = last
                return
            taken = [item for item in items if self.window.contains(item.received_at)]
            entries = [item for item in taken if isinstance(item, LogEntry)]
            built.damaged += sum(1 for item in taken if isinstance(item, DamagedEntry))
            if entries:
                with self._open_session() as session:
                    self._load_entries(session, entries)
            built.position = items[-1].position

    def _load_entries(self, session: Session, entries: Sequence[LogEntry]) -> None:
        built = self.progress
        refused = self._find_rejected(entries)
        prepared = prepare_load(
            [
                LogBatch(decode_batch(entry.payload), entry.position, entry.received_at)
                for entry in entries
            ],
            schema=self.schema,
            source_name=self.table_name,
            profile=self.destination.profile,
            options=make_options(self.source.settings, self.table_name),
            refused=refused,
        )
        mark = OffsetCommit(
            self._offset_log_id,
            self.source.id,
            self.table_name,
            built.committed,
            entries[-1].position,
        )
        try:
            rejections = self._load_prepared(session, prepared, mark)
        except TableStoppedError as stopped:
            raise TableStoppedError(
                f"it cannot be built beyond position {entries[0].position}, accepted before "
                f"something was changed by hand: {stopped} With --from it can begin later."
            ) from stopped
        for rejection in rejections:
            if rejection.entry >= 0 and RecordRef(rejection.entry, rejection.index) not in refused:
                built.rejected[rejection.reason] += 1
                if len(built.rejections) < REJECTIONS_MAX:
                    built.rejections.append(rejection)
        built.committed = mark.position
        built.entries += len(entries)
        built.records += prepared.received

    def _load_prepared(
        self, session: Session, prepared: PreparedLoad, mark: OffsetCommit
    ) -> tuple[Rejection, ...]:
        now, log_id = self.clock(), self.reader.log_id
        try:
            plan, _ = execute_load(session, prepared, mark=mark, now=now, log_id=log_id)
        except RowRefusedError:
            found = find_refused_records(session, prepared, mark=mark, now=now)
            prepared = prepared.reject_records(found)
            plan, _ = execute_load(session, prepared, mark=mark, now=now, log_id=log_id)
        return plan.rejections

    def _find_rejected(self, entries: Sequence[LogEntry]) -> dict[RecordRef, str]:
        """Records that were rejected when they were loaded."""
        places = {entry.position: index for index, entry in enumerate(entries)}
        found = self.store.outcomes.find_rejected_records(
            {entry.position: entry.records for entry in entries}
        )
        return {
            RecordRef(places[position], index): reason
            for (position, index), reason in found.items()
        }

    # --- comparing and swapping -------------------------------------------------------------------

    def compare(self) -> list[RelationComparison]:
        """Compare with the table that is there, both at the same position; the root first.

        Raises:
            TryLater: loads kept coming.
        """
        for _ in range(ROUNDS_MAX):
            with self._open_session() as session:
                if self._find_loaded_position(session) == self.progress.position:
                    found = self._compare_relations(session)
                    if self._find_loaded_position(session) == self.progress.position:
                        return found
                stands = self._find_loaded_position(session)
            self._build_to(stands)
        raise self._make_overtaken_error()

    def _compare_relations(self, session: Session) -> list[RelationComparison]:
        here = session.state(self.source.name, self.destination_name)
        there = session.state(self.schema, self.destination_name)
        found = []
        for pair in pair_relations(
            here.table, there.table, self.destination.profile, here.physical
        ):
            parted = session.compare(self.source.name, self.schema, pair)
            only_here = pair.there is None
            found.append(RelationComparison(pair.here or pair.there or "", parted, only_here))
        self.progress.shape_changes = describe_shape_changes(here.table, there.table, found)
        return found

    def swap(self) -> None:
        """Put what was built in the place of what is there, in one transaction.

        Raises:
            OperatorFault: more records are rejected now than a swap can keep.
            TableStopped: the table there cannot take the rows, or nothing was built.
            TryLater: loads kept coming.
        """
        options = make_options(self.source.settings, self.table_name)
        if self.progress.rejected.total() > REJECTIONS_MAX:
            raise OperatorError(
                f"{self.progress.rejected.total()} records that were loaded before are rejected "
                f"now, "
                f"and no more than {REJECTIONS_MAX} can be kept by a swap; look at the table's "
                "options (`treadle source options`) and at the newest rows of _sdc_rejected in "
                "what --into builds"
            )
        for _ in range(ROUNDS_MAX):
            with self._open_session() as session:
                session.prepare(self.source.name)
                stands = self._find_loaded_position(session)
                if stands == self.progress.position:
                    rebuilt = session.state(self.schema, self.destination_name).table
                    if rebuilt is None or not rebuilt.relations:
                        raise TableStoppedError(
                            "Nothing was built, so there is nothing to swap in."
                        )
                    plan = plan_swap(
                        session.state(self.source.name, self.destination_name),
                        rebuilt,
                        schema=self.source.name,
                        source_name=self.table_name,
                        profile=self.destination.profile,
                        options=options,
                        mark=self._make_swap_offset(session),
                        now=self.clock(),
                    )
                    plan.rejections = tuple(self.progress.rejections)
                    # Noted first: a crash in between must not have an audit compare the loads of
                    # before with rows of now. The other way round, it only has less to compare.
                    self.store.tables.record_rebuilt(
                        self.source.id, self.table_name, plan.batched_at
                    )
                    try:
                        session.load(plan)
                    except PlanOutdatedError:
                        stands = self._find_loaded_position(session)
                    else:
                        return
            self._build_to(stands)
        raise self._make_overtaken_error()

    def _make_swap_offset(self, session: Session) -> OffsetCommit:
        """A mark that moves nothing, or that makes the position where there is none yet."""
        held = session.committed(self.reader.log_id).get((self.source.id, self.table_name))
        return OffsetCommit(
            self.reader.log_id,
            self.source.id,
            self.table_name,
            -1 if held is None else self.progress.position,
            self.progress.position,
            replaces_rows=True,
        )

    def remove(self) -> None:
        """Drop what was built, and nothing else that is in its place."""
        with self._open_session() as session:
            if not self._list_foreign_relations(session):
                session.remove(self.schema, self.destination_name, self._offset_log_id)

    # --- helpers ----------------------------------------------------------------------------------

    def find_status(self) -> TableLoadStatus | None:
        """What the store knows of the table."""
        found = (
            status
            for status in self.store.tables.list_statuses(self.source.id)
            if status.table_name == self.table_name
        )
        return next(found, None)

    def _find_loaded_position(self, session: Session) -> int:
        """Up to which position the table is loaded, with all of it noted in the store.

        Where the destination holds no position, as after a change of it, what is there begins where
        the table stood.

        Raises:
            TryLater: a load was committed and is still not noted.
        """
        for _ in range(REPORT_CHECKS_MAX):
            held = session.committed(self.reader.log_id).get((self.source.id, self.table_name))
            status = self.find_status()
            noted = status.loaded if status is not None else 0
            if held is None:
                return noted
            if held.position <= noted or not held.report:
                return held.position
            sleep(REPORT_CHECK_PAUSE_SECONDS)
        raise RetriableError(
            "the last load of the table was committed and is not noted yet; start the server, "
            "which does so, and try again"
        )

    def _find_first_position(self) -> int | None:
        """Position of the first entry of the table that the log holds."""
        found = self.reader.read(self.source.id, self.table_name, 0, 1, 1)
        return found[0].position if found else None

    def _list_foreign_relations(self, session: Session) -> str:
        """What somebody else has where the table is to be built; empty for nothing."""
        there = set(session.relations(self.schema))
        built: set[str] = set()
        for log_id in session.list_log_ids(self._offset_log_prefix):
            table = log_id.removeprefix(self._offset_log_prefix).partition(" ")[2]
            names = self._list_built_relations(session, table)
            # What was dropped by hand left its marks; what else is there was not built with it.
            if names & there or not names:
                built |= names | {REJECTED}
        if not session.committed(self._offset_log_id):
            built -= self._list_built_relations(
                session, self.destination_name
            )  # of another source's table
        return ", ".join(sorted(there - built))

    def _list_built_relations(self, session: Session, table: str) -> set[str]:
        """The relations of a table built there."""
        entry = session.state(self.schema, table).table
        return {relation.name for relation in entry.relations} if entry is not None else set()

    def _refuse_shared_table(self) -> None:
        """Refuse a table that is loaded from several names.

        Raises:
            OperatorFault: it is one, or its name is none in the destination.
        """
        namer, fold = self._make_namer(), self.destination.profile.fold
        name, reason = namer.name_table(self.table_name)
        if reason is not None:
            raise OperatorError(f"the table {self.table_name!r} cannot be: {reason}")
        others = [
            sent
            for source_id, sent in self.reader.statistics.list_tables()
            if source_id == self.source.id
            and sent != self.table_name
            and fold(namer.name_table(sent)[0]) == fold(name)
        ]
        if others:
            named = ", ".join(map(repr, sorted([*others, self.table_name])))
            raise OperatorError(
                f"{named} are loaded into one table, {name}; it can only be built again from all "
                "of them, which treadle does not do"
            )

    def _make_namer(self) -> Namer:
        options = make_options(self.source.settings, self.table_name)
        return Namer(self.destination.profile, options)

    def _open_session(self) -> Session:
        return open_with_retry(self.destination.open)

    def _make_overtaken_error(self) -> RetriableError:
        return RetriableError(
            f"the table {self.table_name!r} was loaded {ROUNDS_MAX} times while it was to be "
            f"compared; "
            "pause its source for a moment and try again"
        )
