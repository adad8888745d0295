"""A log, a store and a destination in memory, as one of the loader's objects needs them alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import msgspec

from treadle.destinations.capabilities import Capabilities
from treadle.destinations.protocol import CommittedOffset, Destination, LoadResult
from treadle.destinations.registry import make_destination
from treadle.loader.destination_share import DestinationShare
from treadle.loader.schedule import TableKey
from treadle.loader.share import LostMember, list_log_units
from treadle.loader.unit_names import UnitNames
from treadle.log.protocol import DamagedEntry, LogEntry, TableBacklog
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.model import EntryOutcome, LoadReport, Source, TableLoadStatus
from treadle.store.store import Store
from treadle.tables.model import LoadPlan, TableState
from treadle.tables.schema_owner import SchemaOwner

LOG_ID = "log"
NOW = 1_700_000_000_000_000
PROFILE = make_destination("duckdb:///never-opened.duckdb").profile


def source(source_id: int = 1) -> Source:
    return Source(source_id, 1, "import_api", "web", "web", 1, 0, 0, None, None, None, {})


def entry(position: int, table: str = "t", records: int = 1, source_id: int = 1) -> LogEntry:
    """An entry whose records have the entry's position as their only field."""
    data = msgspec.json.encode([{"id": position}] * records)
    batch = MessageBatch(table, (), "json", b"", (), list(range(records)), 0, None, [], data)
    return LogEntry(position, source_id, table, NOW, records, encode_batch(batch))


def backlog(*entries: LogEntry, loaded: int = 0) -> TableBacklog:
    """All entries wait; they are of one table."""
    first = entries[0]
    return TableBacklog(
        first.source_id,
        first.table_name,
        last=entries[-1].position,
        entries=len(entries),
        records=sum(one.records for one in entries),
        size=sum(len(one.payload) for one in entries),
        oldest=first.received_at,
        loaded=loaded,
    )


@dataclass
class MemoryReader:
    """The part of a log's reader that loading needs."""

    entries: Sequence[LogEntry | DamagedEntry] = ()
    log_id: str = LOG_ID
    reads: list[tuple[str, int]] = field(default_factory=list)
    closed: bool = False

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[LogEntry | DamagedEntry]:
        self.reads.append((table_name, after))
        found: list[LogEntry | DamagedEntry] = []
        for one in self.entries:
            if (one.source_id, one.table_name) == (source_id, table_name) and one.position > after:
                records = sum(each.records for each in found)
                if found and records + one.records > records_max:
                    break
                found.append(one)
        return found

    def get_anchor(self, position: int) -> bytes | None:
        return b"%d" % position

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        return [one for one in self.entries if first <= one.position < first + count]

    def close(self) -> None:
        self.closed = True


@dataclass
class MemoryStore:
    """The part of the store that loading needs.

    Attributes:
        calls: what was recorded, in order.
        fails: raised by the next call that records.
        reports: of the loads that were recorded.
        known: the sources.
    """

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fails: BaseException | None = None
    statuses: list[TableLoadStatus] = field(default_factory=list)
    installation_id: str = "here"
    reports: list[LoadReport] = field(default_factory=list)
    known: list[Source] = field(default_factory=lambda: [source()])

    def __post_init__(self) -> None:
        self.loads = self.tables = self.destinations = self.sources = self

    def list_sources(self) -> list[Source]:
        return self.known

    def record_load(
        self, load: LoadReport, outcomes: Sequence[EntryOutcome], *, destination_id: int, place: str
    ) -> None:
        self.record_loads([(load, outcomes)], destination_id=destination_id, place=place)

    def record_loads(
        self,
        committed: Sequence[tuple[LoadReport, Sequence[EntryOutcome]]],
        *,
        destination_id: int,
        place: str,
    ) -> None:
        self._fail()
        self.reports += [load for load, _ in committed]
        self.calls += [
            ("load", load.table_name, load.last, list(outcomes)) for load, outcomes in committed
        ]

    def record_failure(self, load: LoadReport, *, stopped: bool, denied: bool = False) -> None:
        self._call("failure", load.table_name, load.error, stopped)

    def set_trouble(
        self, destination_id: int, trouble: str | None, *, denied: bool = False
    ) -> None:
        self._call("trouble", destination_id, trouble)

    def list_statuses(self) -> list[TableLoadStatus]:
        return self.statuses

    def _call(self, *call: Any) -> None:
        self._fail()
        self.calls.append(call)

    def _fail(self) -> None:
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error


def as_store(store: MemoryStore) -> Store:
    return cast(Store, store)


@dataclass
class MemoryUnits:
    """The units of a process: all of log 0, unless a test says otherwise.

    Attributes:
        reports: what was reported as overtaken.
    """

    fences: Mapping[str, int] = field(
        default_factory=lambda: dict.fromkeys([*list_log_units(0), "exclusive:9"], 7)
    )
    lost: tuple[LostMember, ...] = ()
    member_id: str = "me"
    is_current: bool = True
    leaving: frozenset[str] = frozenset()
    reports: list[tuple[str, int]] = field(default_factory=list)

    def get_fence(self, unit: str) -> int | None:
        return None if unit in self.leaving or not self.is_current else self.fences.get(unit)

    def report_overtaken(self, unit: str, held: int) -> None:
        self.reports.append((unit, held))


def share(units: MemoryUnits | None = None, destination_id: int | None = None) -> DestinationShare:
    """What a process has of a destination; it was opened already."""
    made = DestinationShare(units or MemoryUnits(), destination_id, UnitNames(lambda source_id: 0))
    made.open_units()
    return made


@dataclass
class MemorySession:
    """A session whose tables are always missing; it remembers what was loaded.

    Attributes:
        offsets: what `committed` returns.
        before_load: called with each plan; may raise.
        plans: what was loaded, in order.
        groups: for each group, its tables; also of one that failed.
        evicted: the members whose sessions were ended.
    """

    offsets: dict[TableKey, CommittedOffset] = field(default_factory=dict)
    before_load: Callable[[LoadPlan, bool], None] = lambda plan, rehearse: None
    plans: list[LoadPlan] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)

    def evict(self, member: str) -> int:
        self.evicted.append(member)
        return 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing was opened."""

    def committed(self, log_id: str) -> Mapping[TableKey, CommittedOffset]:
        assert log_id == LOG_ID
        return dict(self.offsets)

    def prepare(self, schema: str, owner: SchemaOwner) -> None:
        """Nothing is made."""

    def check_owner(self, schema: str, owner: SchemaOwner) -> None:
        """Everything is anybody's."""

    def state(self, schema: str, table: str) -> TableState:
        return TableState(0, None, {})

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        self.before_load(plan, rehearse)
        result = LoadResult({plan.table_name: plan.received}, {})
        if not rehearse:
            self.plans.append(plan)
            mark = plan.offset
            self.offsets[mark.source_id, mark.table_name] = CommittedOffset(
                mark.position, mark.report, result
            )
        return result

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        self.groups.append([plan.offset.table_name for plan in plans])
        for plan in plans:
            self.before_load(plan, False)
        before, self.before_load = self.before_load, lambda plan, rehearse: None
        try:
            return [self.load(plan) for plan in plans]
        finally:
            self.before_load = before


@dataclass
class MemoryDestination:
    """A destination with one session."""

    session: MemorySession
    capabilities: Capabilities = Capabilities()  # noqa: RUF009 - frozen
    identity: str = "a database in memory"
    profile: Any = PROFILE
    fails: BaseException | None = None
    file: Path | None = None
    member: str | None = None

    def name_sessions(self, member: str) -> None:
        self.member = member

    def open(self) -> MemorySession:
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        return self.session


def as_destination(destination: MemoryDestination) -> Destination:
    return cast(Destination, destination)
