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
from treadle.destinations.pairing import pairs
from treadle.destinations.patience import patiently
from treadle.destinations.planning import carry_out, refusals
from treadle.destinations.protocol import Destination, Parted, PlanOutdated, RowRefused, Session
from treadle.errors import OperatorFault, TableStopped, TryLater
from treadle.loader.due import Trigger
from treadle.log.protocol import Damaged, Entry, Reader
from treadle.records.message import unpack
from treadle.store.model import Source, TableStatus
from treadle.store.store import Store
from treadle.tables.model import Mark, Rejection, Table
from treadle.tables.names import Namer
from treadle.tables.options import options_of
from treadle.tables.plan import swapping
from treadle.tables.prepare import Arrival, At, Prepared, prepare

ROUNDS: Final = 50
"""How often loads may come in between before giving up; each round takes only what is new."""

REJECTIONS_MAX: Final = 1_000
"""How many newly rejected records a swap can put into `_sdc_rejected`: each holds up to 64 KB."""

NOTED_LOOKS: Final = 200
NOTED_PAUSE_SECONDS: Final = 0.05
"""How long a load may be committed and not noted in the store: the loader takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Window:
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
    def possible(self) -> bool:
        """Whether anything can be in it."""
        return self.since is None or self.until is None or self.since < self.until

    def holds(self, received_at: int) -> bool:
        """Whether an entry is in it."""
        return (self.since is None or received_at >= self.since) and (
            self.until is None or received_at < self.until
        )


@dataclass(slots=True)
class Built:
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
    mark: int = -1
    entries: int = 0
    records: int = 0
    damaged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    overtaken: bool = False
    reshaped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """A relation that was compared, by its name in the destination.

    Attributes:
        only_here: what was built has no such relation.
    """

    relation: str
    parted: Parted
    only_here: bool = False

    @property
    def differs(self) -> bool:
        """Whether any row does."""
        return bool(self.parted.here or self.parted.there or self.parted.different)


def doubts(built: Built, status: TableStatus | None, window: Window) -> list[str]:
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
    return [*found, *built.reshaped]


def reshaped(here: Table | None, there: Table | None, found: Sequence[Compared]) -> tuple[str, ...]:
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
        f"the subtable {each.relation} holds {each.parted.here} rows, and none such was built"
        for each in found
        if each.only_here and each.parted.here
    ]
    return tuple(told)


@dataclass(slots=True)
class Replay:
    """One table built again.

    Attributes:
        reader: of the log.
        destination: where the source loads.
        table_name: as sent.
        schema: where to build; of no source.
        window: which entries.
        trigger: how much is built at once.
        clock: microseconds since 1970.
    """

    store: Store
    reader: Reader
    destination: Destination
    source: Source
    table_name: str
    schema: str
    window: Window
    trigger: Trigger
    clock: Callable[[], int]
    built: Built = field(default_factory=Built)

    @property
    def canonical(self) -> str:
        """The table's name in the destination."""
        return self._namer().table(self.table_name)[0]

    @property
    def _log_id(self) -> str:
        """The name of the marks of what is built."""
        return f"{self._prefix}{self.source.id} {self.canonical}"

    @property
    def _prefix(self) -> str:
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
        self._check_alone()
        self.built = Built(first=self._first())
        with self._opened() as session:
            if others := self._others(session):
                raise OperatorFault(
                    f"the schema {self.schema} holds {others}, which is not from an earlier replay "
                    f"of {self.canonical}; a table is built in a schema that is missing, empty, or "
                    "holds nothing but what replays built there. Nothing was changed: drop what "
                    "nobody needs there, or name another schema with --into"
                )
            if session.held(self._log_id):
                session.remove(self.schema, self.canonical, self._log_id)
            stands = self._stands(session)
        if stands <= 0:
            raise OperatorFault(
                f"nothing of the table {self.table_name!r} was loaded yet, so there is nothing to "
                "build again; `treadle log stats` shows what waits"
            )
        self._build_to(stands)

    def _build_to(self, last: int) -> None:
        built = self.built
        while built.position < last:
            items = self.reader.read(
                self.source.id,
                self.table_name,
                built.position,
                self.trigger.records,
                self.trigger.size,
            )
            if built.first is not None:
                # Where what was read before is gone, what came right after it may be gone as well.
                first = self._first()
                if first is None or first > max(built.first, built.position):
                    built.overtaken = True
            items = [item for item in items if item.position <= last]
            if not items:
                built.position = last
                return
            taken = [item for item in items if self.window.holds(item.received_at)]
            entries = [item for item in taken if isinstance(item, Entry)]
            built.damaged += sum(1 for item in taken if isinstance(item, Damaged))
            if entries:
                with self._opened() as session:
                    self._load(session, entries)
            built.position = items[-1].position

    def _load(self, session: Session, entries: Sequence[Entry]) -> None:
        built = self.built
        refused = self._refused(entries)
        prepared = prepare(
            [
                Arrival(unpack(entry.payload), entry.position, entry.received_at)
                for entry in entries
            ],
            schema=self.schema,
            source_name=self.table_name,
            profile=self.destination.profile,
            options=options_of(self.source.settings, self.table_name),
            refused=refused,
        )
        mark = Mark(self._log_id, self.source.id, self.table_name, built.mark, entries[-1].position)
        try:
            rejections = self._carried(session, prepared, mark)
        except TableStopped as stopped:
            raise TableStopped(
                f"it cannot be built beyond position {entries[0].position}, accepted before "
                f"something was changed by hand: {stopped} With --from it can begin later."
            ) from stopped
        for rejection in rejections:
            if rejection.entry >= 0 and At(rejection.entry, rejection.index) not in refused:
                built.rejected[rejection.reason] += 1
                if len(built.rejections) < REJECTIONS_MAX:
                    built.rejections.append(rejection)
        built.mark = mark.position
        built.entries += len(entries)
        built.records += prepared.received

    def _carried(self, session: Session, prepared: Prepared, mark: Mark) -> tuple[Rejection, ...]:
        now, log_id = self.clock(), self.reader.log_id
        try:
            plan, _ = carry_out(session, prepared, mark=mark, now=now, log_id=log_id)
        except RowRefused:
            found = refusals(session, prepared, mark=mark, now=now)
            prepared = prepared.refusing(found)
            plan, _ = carry_out(session, prepared, mark=mark, now=now, log_id=log_id)
        return plan.rejections

    def _refused(self, entries: Sequence[Entry]) -> dict[At, str]:
        """Records that were rejected when they were loaded."""
        places = {entry.position: index for index, entry in enumerate(entries)}
        found = self.store.rejected({entry.position: entry.records for entry in entries})
        return {At(places[position], index): reason for (position, index), reason in found.items()}

    # --- comparing and swapping -------------------------------------------------------------------

    def compare(self) -> list[Compared]:
        """Compare with the table that is there, both at the same position; the root first.

        Raises:
            TryLater: loads kept coming.
        """
        for _ in range(ROUNDS):
            with self._opened() as session:
                if self._stands(session) == self.built.position:
                    found = self._compared(session)
                    if self._stands(session) == self.built.position:
                        return found
                stands = self._stands(session)
            self._build_to(stands)
        raise self._overtaken()

    def _compared(self, session: Session) -> list[Compared]:
        here = session.state(self.source.name, self.canonical)
        there = session.state(self.schema, self.canonical)
        found = []
        for pair in pairs(here.table, there.table, self.destination.profile, here.physical):
            parted = session.compare(self.source.name, self.schema, pair)
            only_here = pair.there is None
            found.append(Compared(pair.here or pair.there or "", parted, only_here))
        self.built.reshaped = reshaped(here.table, there.table, found)
        return found

    def swap(self) -> None:
        """Put what was built in the place of what is there, in one transaction.

        Raises:
            OperatorFault: more records are rejected now than a swap can keep.
            TableStopped: the table there cannot take the rows, or nothing was built.
            TryLater: loads kept coming.
        """
        options = options_of(self.source.settings, self.table_name)
        if self.built.rejected.total() > REJECTIONS_MAX:
            raise OperatorFault(
                f"{self.built.rejected.total()} records that were loaded before are rejected now, "
                f"and no more than {REJECTIONS_MAX} can be kept by a swap; look at the table's "
                "options (`treadle source options`) and at the newest rows of _sdc_rejected in "
                "what --into builds"
            )
        for _ in range(ROUNDS):
            with self._opened() as session:
                session.prepare(self.source.name)
                stands = self._stands(session)
                if stands == self.built.position:
                    rebuilt = session.state(self.schema, self.canonical).table
                    if rebuilt is None or not rebuilt.relations:
                        raise TableStopped("Nothing was built, so there is nothing to swap in.")
                    plan = swapping(
                        session.state(self.source.name, self.canonical),
                        rebuilt,
                        schema=self.source.name,
                        source_name=self.table_name,
                        profile=self.destination.profile,
                        options=options,
                        mark=self._swap_mark(session),
                        now=self.clock(),
                    )
                    plan.rejections = tuple(self.built.rejections)
                    # Noted first: a crash in between must not have an audit compare the loads of
                    # before with rows of now. The other way round, it only has less to compare.
                    self.store.record_rebuilt(self.source.id, self.table_name, plan.batched_at)
                    try:
                        session.load(plan)
                    except PlanOutdated:
                        stands = self._stands(session)
                    else:
                        return
            self._build_to(stands)
        raise self._overtaken()

    def _swap_mark(self, session: Session) -> Mark:
        """A mark that moves nothing, or that makes the position where there is none yet."""
        held = session.held(self.reader.log_id).get((self.source.id, self.table_name))
        return Mark(
            self.reader.log_id,
            self.source.id,
            self.table_name,
            -1 if held is None else self.built.position,
            self.built.position,
            swap=True,
        )

    def remove(self) -> None:
        """Drop what was built, and nothing else that is in its place."""
        with self._opened() as session:
            if not self._others(session):
                session.remove(self.schema, self.canonical, self._log_id)

    # --- helpers ----------------------------------------------------------------------------------

    def status(self) -> TableStatus | None:
        """What the store knows of the table."""
        found = (
            status
            for status in self.store.table_statuses(self.source.id)
            if status.table_name == self.table_name
        )
        return next(found, None)

    def _stands(self, session: Session) -> int:
        """Up to which position the table is loaded, with all of it noted in the store.

        Where the destination holds no position, as after a change of it, what is there begins where
        the table stood.

        Raises:
            TryLater: a load was committed and is still not noted.
        """
        for _ in range(NOTED_LOOKS):
            held = session.held(self.reader.log_id).get((self.source.id, self.table_name))
            status = self.status()
            noted = status.loaded if status is not None else 0
            if held is None:
                return noted
            if held.position <= noted or not held.report:
                return held.position
            sleep(NOTED_PAUSE_SECONDS)
        raise TryLater(
            "the last load of the table was committed and is not noted yet; start the server, "
            "which does so, and try again"
        )

    def _first(self) -> int | None:
        """Position of the first entry of the table that the log holds."""
        found = self.reader.read(self.source.id, self.table_name, 0, 1, 1)
        return found[0].position if found else None

    def _others(self, session: Session) -> str:
        """What somebody else has where the table is to be built; empty for nothing."""
        there = set(session.relations(self.schema))
        built: set[str] = set()
        for log_id in session.log_ids(self._prefix):
            table = log_id.removeprefix(self._prefix).partition(" ")[2]
            names = self._relations(session, table)
            # What was dropped by hand left its marks; what else is there was not built with it.
            if names & there or not names:
                built |= names | {REJECTED}
        if not session.held(self._log_id):
            built -= self._relations(session, self.canonical)  # of another source's table
        return ", ".join(sorted(there - built))

    def _relations(self, session: Session, table: str) -> set[str]:
        """The relations of a table built there."""
        entry = session.state(self.schema, table).table
        return {relation.name for relation in entry.relations} if entry is not None else set()

    def _check_alone(self) -> None:
        """Refuse a table that is loaded from several names.

        Raises:
            OperatorFault: it is one, or its name is none in the destination.
        """
        namer, fold = self._namer(), self.destination.profile.fold
        name, reason = namer.table(self.table_name)
        if reason is not None:
            raise OperatorFault(f"the table {self.table_name!r} cannot be: {reason}")
        others = [
            sent
            for source_id, sent in self.reader.tables()
            if source_id == self.source.id
            and sent != self.table_name
            and fold(namer.table(sent)[0]) == fold(name)
        ]
        if others:
            named = ", ".join(map(repr, sorted([*others, self.table_name])))
            raise OperatorFault(
                f"{named} are loaded into one table, {name}; it can only be built again from all "
                "of them, which treadle does not do"
            )

    def _namer(self) -> Namer:
        options = options_of(self.source.settings, self.table_name)
        return Namer(self.destination.profile, options)

    def _opened(self) -> Session:
        return patiently(self.destination.open)

    def _overtaken(self) -> TryLater:
        return TryLater(
            f"the table {self.table_name!r} was loaded {ROUNDS} times while it was to be compared; "
            "pause its source for a moment and try again"
        )
