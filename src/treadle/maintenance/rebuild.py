"""Rebuilds a table from the entries that the log still has, beside the table that exists.

The records are prepared, planned and loaded by the same functions as in the loader, but into
another schema and with offsets of another log id. So the loader and a rebuild do not disturb each
other. A record that was rejected stays rejected: if it was sent again with `treadle rejects
resend`, the table would get it twice.

The swap is one transaction. It checks that the table is loaded to the same position as the rebuilt
one. If a load was committed in between, the swap fails; the records of that load are rebuilt, too,
and the swap is tried again. A load that was planned before the swap fails because the table's
revision changed, and is planned again. So nothing is lost or loaded twice, and the loader need not
stop.

One rebuild at a time builds in a schema. The installation has a lock for that, and what was built
is compared and swapped in only where the offset in the schema is the one that this rebuild left
there.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import sleep
from typing import Final

from treadle.counting import count_noun, count_subject
from treadle.destinations.layout import REJECTED
from treadle.destinations.planning import execute_accepted
from treadle.destinations.protocol import (
    Destination,
    PlanOutdatedError,
    RowDiff,
    Session,
)
from treadle.destinations.relation_diff import pair_relations
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, RetriableError, TableStoppedError
from treadle.load_locks import LockTakenError, find_locks
from treadle.log.protocol import DamagedEntry, LogEntry, LogReader, ReadLimits
from treadle.records.message_batch import decode_batch
from treadle.store.model import Source, TableLoadStatus
from treadle.store.store import Store
from treadle.tables.model import OffsetCommit, Rejection, Table
from treadle.tables.names import Namer
from treadle.tables.options import make_options
from treadle.tables.plan.planner import plan_swap
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, RecordRef, prepare_load
from treadle.tables.rejection_reason import RejectionReason
from treadle.tables.schema_owner import SchemaOwner, make_operator

ROUNDS_MAX: Final = 50
"""How many times a load may come in between. Each round rebuilds only what is new."""

REJECTIONS_MAX: Final = 1_000
"""The most newly rejected records that a swap can put into `_sdc_rejected`, of up to 64 KB each."""

REPORT_CHECKS_MAX: Final = 200
REPORT_CHECK_PAUSE_SECONDS: Final = 0.05
"""How long to wait until a committed load is in the store; the loader takes milliseconds."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The time in which entries were accepted, in microseconds since 1970.

    Attributes:
        since: the beginning, which belongs to it; None for no bound.
        until: the end, which does not belong to it; None for no bound.
    """

    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        """Return whether the window has a bound."""
        return self.since is not None or self.until is not None

    @property
    def is_possible(self) -> bool:
        """Return whether an entry can be in the window."""
        return self.since is None or self.until is None or self.since < self.until

    def contains(self, received_at: int) -> bool:
        """Return whether an entry is in the window."""
        return (self.since is None or received_at >= self.since) and (
            self.until is None or received_at < self.until
        )


@dataclass(slots=True)
class RebuildProgress:
    """What is rebuilt so far.

    Attributes:
        first: position of the table's first entry in the log; None if there is none.
        position: the last position that was read.
        committed: the last position of a load; -1 before the first load.
        entries, records: numbers of those that were loaded.
        damaged: number of entries that failed their checksum.
        rejected: records that are rejected now and were loaded before: reason -> number.
        rejections: the first `REJECTIONS_MAX` rows of `_sdc_rejected` for them.
        overtaken: entries may have been trimmed before they were read.
        shape_changes: how the table's shape changed; known after the comparison.
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
    """The comparison of one relation, by its name in the destination.

    Attributes:
        is_only_here: the rebuilt table has no such relation.
    """

    relation: str
    diff: RowDiff
    is_only_here: bool = False

    @property
    def differs(self) -> bool:
        """Return whether a row differs."""
        return bool(self.diff.only_here or self.diff.only_there or self.diff.different)


@dataclass(frozen=True, slots=True)
class RebuildOutcome:
    """What a rebuild found, and whether it replaced the rows.

    Attributes:
        found: the comparison of each relation, the root first.
        doubts: why rows may be missing in what was built.
        swapped: the table now holds the rebuilt rows.
    """

    found: tuple[RelationComparison, ...]
    doubts: tuple[str, ...]
    swapped: bool

    @property
    def differs(self) -> bool:
        """Return whether a row differs."""
        return any(one.differs for one in self.found)


def name_rebuild_schema(schema: str, taken: Iterable[str]) -> str:
    """Return the name of a schema to build in that belongs to no source.

    Args:
        schema: of the source.
        taken: the schemas of all sources.
    """
    names = set(taken)
    made = f"{schema}__replay"
    while made in names:
        made += "_"
    return made


def find_doubts(
    built: RebuildProgress, status: TableLoadStatus | None, window: TimeWindow
) -> list[str]:
    """Return why rows may be missing in the rebuilt table; nothing if it is complete.

    Args:
        built: what was rebuilt.
        status: of the table, from the store.
        window: the entries that were asked for.
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
        found.append("only a part of the log was taken, by the times that were given")
    if built.damaged:
        found.append(
            f"{built.damaged} {'entry' if built.damaged == 1 else 'entries'} of the log "
            f"{'is' if built.damaged == 1 else 'are'} damaged"
        )
    if built.overtaken:
        found.append("the log was trimmed while it was read")
    if built.rejected:
        reasons = "; ".join(
            f"{reason} ({count})" for reason, count in built.rejected.most_common(3)
        )
        found.append(f"{describe_rejected(built.rejected.total())}: {reasons}")
    return [*found, *built.shape_changes]


def describe_rejected(count: int) -> str:
    """Say how many records a rebuild rejects that loads had taken."""
    taken = count_subject(
        count, "record", "that was loaded before is", "that were loaded before are"
    )
    return f"{taken} rejected now"


def describe_shape_changes(
    here: Table | None, there: Table | None, found: Sequence[RelationComparison]
) -> tuple[str, ...]:
    """Describe how the shape of the rebuilt table differs, as after a change of its options.

    Args:
        here: the catalogue entry of the table.
        there: the catalogue entry of the rebuilt table.
        found: the comparisons of their relations.
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
        f"the subtable {each.relation} holds {count_noun(each.diff.only_here, 'row')}, and none "
        "such was built"
        for each in found
        if each.is_only_here and each.diff.only_here
    ]
    return tuple(told)


@dataclass(slots=True)
class TableRebuild:
    """The rebuild of one table.

    Attributes:
        reader: of the source's log.
        destination: that the source is loaded into.
        table_name: as clients send it.
        schema: to build in; not the schema of a source.
        window: the entries to take.
        limits: how much is loaded at once.
        clock: microseconds since 1970.
        tell: called with the progress after each part that was built.
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
    tell: Callable[[RebuildProgress], None] = lambda progress: None

    @property
    def destination_name(self) -> str:
        """The name of the table in the destination."""
        return self._make_namer().name_table(self.table_name)[0]

    @property
    def _owner(self) -> SchemaOwner:
        """The owner of the source's schema."""
        return SchemaOwner(self.store.installation_id, self.source.account_id, self.source.id)

    @property
    def _builder(self) -> SchemaOwner:
        """The owner of the schema to build in: an operator may build tables of several sources."""
        return make_operator(self.store.installation_id)

    @property
    def _offset_log_id(self) -> str:
        """The log id of the offsets of the rebuilt table."""
        return f"{self._offset_log_prefix}{self.source.id} {self.destination_name}"

    @property
    def _offset_log_prefix(self) -> str:
        """The beginning of the log ids of all rebuilds in the schema."""
        return f"replay into {self.schema} of "

    # --- building ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Build from nothing up to the position that the table is loaded to.

        Raises:
            OperatorError: there is nothing to build, the schema is in use, or several tables are
                loaded into this one.
            TableStoppedError: an entry cannot be loaded; the text says which.
            DestinationUnavailableError, AccessDeniedError: the destination cannot be used.
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
            self._take_schema(session)
            stands = self._find_loaded_position(session)
        if stands <= 0:
            raise OperatorError(
                f"nothing of the table {self.table_name!r} was loaded yet, so there is nothing to "
                "build again; `treadle log stats` shows what waits"
            )
        self._build_to(stands)

    def _take_schema(self, session: Session) -> None:
        """Take a schema that is there, of which no owner is recorded: the operator named it."""
        status = session.schema_status(self.schema)
        if status.exists and status.owner is None:
            session.adopt(self.schema, self._builder)

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
                # If the entries before are trimmed meanwhile, the ones behind them may be, too.
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
            self.tell(built)

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
            owner=self._builder,
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
        _, plan, _ = execute_accepted(session, prepared, offset=mark, now=now, log_id=log_id)
        return plan.rejections

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

    # --- comparing and swapping -------------------------------------------------------------------

    def compare(self) -> list[RelationComparison]:
        """Compare the rebuilt table with the existing one at the same position; the root first.

        Raises:
            OperatorError: another rebuild was at work in the schema.
            RetriableError: loads kept coming in between.
        """
        for _ in range(ROUNDS_MAX):
            with self._open_session() as session:
                if self._find_loaded_position(session) == self.progress.position:
                    self._require_own_rows(session)
                    found = self._compare_relations(session)
                    self._require_own_rows(session)
                    if self._find_loaded_position(session) == self.progress.position:
                        return found
                stands = self._find_loaded_position(session)
            self._build_to(stands)
        raise self._make_overtaken_error()

    def _compare_relations(self, session: Session) -> list[RelationComparison]:
        here = session.state(self.source.schema, self.destination_name)
        there = session.state(self.schema, self.destination_name)
        found = []
        for pair in pair_relations(
            here.table, there.table, self.destination.profile, here.physical
        ):
            parted = session.compare(self.source.schema, self.schema, pair)
            only_here = pair.there is None
            found.append(RelationComparison(pair.here or pair.there or "", parted, only_here))
        self.progress.shape_changes = describe_shape_changes(here.table, there.table, found)
        return found

    def swap(self) -> None:
        """Replace the existing table by the rebuilt one, in one transaction.

        Raises:
            OperatorError: more records are rejected now than a swap can keep, or another rebuild
                was at work in the schema.
            TableStoppedError: the table cannot take the rows, or nothing was built.
            RetriableError: loads kept coming in between.
        """
        options = make_options(self.source.settings, self.table_name)
        if self.progress.rejected.total() > REJECTIONS_MAX:
            raise OperatorError(
                f"{describe_rejected(self.progress.rejected.total())}, "
                f"and no more than {REJECTIONS_MAX} can be kept by a swap; look at the table's "
                "options (`treadle source options`) and at the newest rows of _sdc_rejected in "
                "what --into builds"
            )
        for _ in range(ROUNDS_MAX):
            with self._open_session() as session:
                session.prepare(self.source.schema, self._owner)
                stands = self._find_loaded_position(session)
                if stands == self.progress.position:
                    self._require_own_rows(session)
                    rebuilt = session.state(self.schema, self.destination_name).table
                    if rebuilt is None or not rebuilt.relations:
                        raise TableStoppedError(
                            "Nothing was built, so there is nothing to swap in."
                        )
                    plan = plan_swap(
                        session.state(self.source.schema, self.destination_name),
                        rebuilt,
                        schema=self.source.schema,
                        owner=self._owner,
                        source_name=self.table_name,
                        profile=self.destination.profile,
                        options=options,
                        mark=self._make_swap_offset(session),
                        now=self.clock(),
                    )
                    plan.rejections = tuple(self.progress.rejections)
                    # Recorded first. After a crash in between, an audit only has fewer loads to
                    # compare. In the other order it would compare earlier loads with rebuilt rows.
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
        """Make an offset that keeps the table's position, or sets it if there is none yet."""
        held = session.committed(self.reader.log_id).get((self.source.id, self.table_name))
        return OffsetCommit(
            self.reader.log_id,
            self.source.id,
            self.table_name,
            -1 if held is None else self.progress.position,
            self.progress.position,
            replaces_rows=True,
        )

    def carry_out(self, *, swaps: bool, force: bool, keeps: bool = False) -> RebuildOutcome:
        """Build, compare, and replace the rows where that is asked for and nothing is in doubt.

        Args:
            swaps: replace the rows if they differ.
            force: also if rows may be lost.
            keeps: what was built stays in its schema.

        Raises:
            OperatorError: rows are to be replaced where they are only added, or another rebuild is
                at work in the schema.
        """
        if swaps and self.destination.profile.append_only:
            raise OperatorError(
                f"{self.destination_name} only adds rows, so a rebuilt table cannot take the place "
                "of the one that is there. Build it in a schema of its own with --into SCHEMA, or "
                "compare it with --dry-run."
            )
        swapped = False
        with self._lock_schema():
            try:
                self.build()
                found = self.compare()
                doubts = find_doubts(self.progress, self.find_status(), self.window)
                if swaps and any(each.differs for each in found) and (force or not doubts):
                    self.swap()
                    swapped = True
            finally:
                if not keeps and self._has_built():
                    self.remove()
        return RebuildOutcome(tuple(found), tuple(doubts), swapped)

    @contextmanager
    def _lock_schema(self) -> Iterator[None]:
        """Have the schema for this rebuild alone, among all processes of the installation.

        Raises:
            OperatorError: another rebuild has it.
            RetriableError: the lock cannot be asked for.
        """
        locks = find_locks()
        with ExitStack() as held:
            if locks is not None:
                name = f"{self.destination.identity}\nreplay into {self.schema}"
                try:
                    held.enter_context(locks.hold([name], 0.0))
                except LockTakenError as error:
                    raise OperatorError(
                        f"another replay is at work in the schema {self.schema} of the "
                        "destination; wait for its end"
                    ) from error
            yield

    def remove(self) -> None:
        """Drop the rebuilt table, and nothing else in its schema."""
        with self._open_session() as session:
            if not self._list_foreign_relations(session):
                session.remove(self.schema, self.destination_name, self._offset_log_id)

    # --- helpers ----------------------------------------------------------------------------------

    def find_status(self) -> TableLoadStatus | None:
        """Return the status of the table in the store; None without one."""
        found = (
            status
            for status in self.store.tables.list_statuses(self.source.id)
            if status.table_name == self.table_name
        )
        return next(found, None)

    def _find_loaded_position(self, session: Session) -> int:
        """Return the position that the table is loaded to, once the store has all its loads.

        Without a committed offset in the destination, as after it was changed, the position is the
        one in the store.

        Raises:
            RetriableError: a load is committed and still not in the store.
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

    def _has_built(self) -> bool:
        """Return whether the schema holds what this rebuild has built, and not another one."""
        with self._open_session() as session:
            return self._has_own_rows(session)

    def _has_own_rows(self, session: Session) -> bool:
        held = session.committed(self._offset_log_id).get((self.source.id, self.table_name))
        return self.progress.committed == (-1 if held is None else held.position)

    def _require_own_rows(self, session: Session) -> None:
        """Check that no other rebuild of the table was at work in the schema.

        Raises:
            OperatorError: what is there is not what was built.
        """
        if not self._has_own_rows(session):
            raise OperatorError(
                f"the schema {self.schema} does not hold what was built of "
                f"{self.destination_name} there: another replay was at work in it, or it was "
                "changed by hand. Nothing was swapped; run it again when no other one runs"
            )

    def _find_first_position(self) -> int | None:
        """Return the position of the table's first entry in the log; None if there is none."""
        found = self.reader.read(self.source.id, self.table_name, 0, 1, 1)
        return found[0].position if found else None

    def _list_foreign_relations(self, session: Session) -> str:
        """Return the relations in the schema that no rebuild made, as text; empty for none."""
        there = set(session.relations(self.schema))
        built: set[str] = set()
        for log_id in session.list_log_ids(self._offset_log_prefix):
            table = log_id.removeprefix(self._offset_log_prefix).partition(" ")[2]
            names = self._list_built_relations(session, table)
            # After a drop by hand the offsets are still there, but the relations are not.
            if names & there or not names:
                built |= names | {REJECTED}
        if not session.committed(self._offset_log_id):
            # They belong to a table of another source.
            built -= self._list_built_relations(session, self.destination_name)
        return ", ".join(sorted(there - built))

    def _list_built_relations(self, session: Session, table: str) -> set[str]:
        """Return the relations of a rebuilt table in the schema."""
        entry = session.state(self.schema, table).table
        return {relation.name for relation in entry.relations} if entry is not None else set()

    def _refuse_shared_table(self) -> None:
        """Check that the table is loaded from one name only.

        Raises:
            OperatorError: it is loaded from several, or its name is not valid in the destination.
        """
        namer, fold = self._make_namer(), self.destination.profile.fold
        name, reason = namer.name_table(self.table_name)
        if reason is not None:
            raise OperatorError(f"the table {self.table_name!r} cannot be: {reason.text}")
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
