import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from tests.unit.loader.doubles import (
    LOG_ID,
    NOW,
    MemoryDestination,
    MemoryReader,
    MemorySession,
    MemoryStore,
    MemoryUnits,
    as_destination,
    as_store,
    backlog,
    entry,
    share,
    source,
)

from treadle.destinations.capabilities import Capabilities
from treadle.destinations.protocol import (
    CommittedOffset,
    CommitUnknownError,
    DestinationUnavailableError,
    FencedError,
    LoadResult,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.loader import asked_logs, destination_loader
from treadle.loader.commands import POLL_SECONDS, CommandQueue
from treadle.loader.destination_loader import DestinationLoader, LoaderDependencies
from treadle.loader.load_ending import ENDING_US
from treadle.loader.load_report import PlannedReport
from treadle.loader.schedule import UNTOLD_US, FlushPolicy, TableKey
from treadle.loader.share import LostMember, name_unit
from treadle.log.joined import FOLLOW_SECONDS, JoinedReader, SourceNumbers
from treadle.log.protocol import LogInfo, LogReader, LogState, ReadLimits
from treadle.log.slots import compute_slot
from treadle.store.model import TableLoadStatus
from treadle.tables.model import LoadPlan
from treadle.text import digest_text

ENTRIES = [entry(1, "a"), entry(2, "b"), entry(3, "b"), entry(4, "c")]
A, B, C = backlog(ENTRIES[0]), backlog(*ENTRIES[1:3]), backlog(ENTRIES[3])


@dataclass
class Bench:
    """A loader of one destination; everything it works with is in memory."""

    session: MemorySession = field(default_factory=MemorySession)
    store: MemoryStore = field(default_factory=MemoryStore)
    reader: MemoryReader = field(default_factory=lambda: MemoryReader(ENTRIES))
    units: MemoryUnits = field(default_factory=MemoryUnits)
    positions: list[tuple[TableKey, int]] = field(default_factory=list)
    capabilities: Capabilities = Capabilities(multi_table_transaction=False)  # noqa: RUF009 - frozen
    now: int = NOW

    def __post_init__(self) -> None:
        self.destination = MemoryDestination(self.session, self.capabilities)
        self.loader = DestinationLoader(
            9,
            LoaderDependencies(
                open_reader=lambda: cast(LogReader, self.reader),
                open_destination=lambda: as_destination(self.destination),
                store=as_store(self.store),
                flush_policy=FlushPolicy(age_us=0),
                read_limits=ReadLimits(records=1),
                clock=lambda: self.now,
                new_id=lambda: "load",
                report_position=lambda key, position: self.positions.append((key, position)),
                share=share(self.units),
            ),
        )
        self.loader.assign_sources({1: source()})

    def loads(self) -> list[tuple[str, int]]:
        return [(plan.offset.table_name, plan.offset.position) for plan in self.session.plans]

    def fail(self, table: str, make: Callable[[], BaseException]) -> None:
        """Let the loads of a table fail."""

        def before_load(plan: LoadPlan, rehearse: bool) -> None:
            if plan.offset.table_name == table:
                raise make()

        self.session.before_load = before_load


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def grouping() -> Bench:
    """A loader that may load several tables in one transaction."""
    return Bench(capabilities=Capabilities(multi_table_transaction=True))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_backlogs_are_loaded_in_order_and_reported(bench: Bench) -> None:
    assert bench.loader.identity == "destination 9"
    bench.loader.load_once([A, B, C])
    assert bench.loader.identity == "a database in memory"
    assert bench.loads() == [("a", 1), ("b", 2), ("b", 3), ("c", 4)]
    assert bench.positions == [((1, "a"), 1), ((1, "b"), 2), ((1, "b"), 3), ((1, "c"), 4)]
    assert bench.loader.claimed_tables == frozenset()
    bench.loader.close()
    assert bench.reader.closed


def test_a_table_that_fails_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.fail("b", lambda: OperatorError("no such right"))
    bench.loader.load_once([A, B, C])
    assert bench.loads() == [("a", 1), ("c", 4)]
    assert ("failure", "b", "no such right", False) in bench.store.calls
    assert bench.loader.claimed_tables == frozenset()


def test_a_commit_that_is_uncertain_keeps_its_table_until_the_destination_is_asked(
    bench: Bench,
) -> None:
    bench.fail("b", lambda: CommitUnknownError("cut"))
    bench.loader.load_once([A, B, C])
    assert bench.loads() == [("a", 1)]
    assert bench.loader.claimed_tables == {(1, "b")}
    assert ("trouble", 9, "cut") in bench.store.calls
    bench.session.before_load = lambda plan, rehearse: None
    bench.loader.load_once([B, C])
    assert bench.loads() == [("a", 1), ("b", 2), ("b", 3), ("c", 4)]
    assert bench.loader.claimed_tables == frozenset()
    assert bench.store.calls[-1] == ("trouble", 9, None)


def test_a_table_that_was_overtaken_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.fail("a", lambda: FencedError("another loader has it", 8))
    bench.loader.load_once([A, B])
    assert bench.loads() == [("b", 2), ("b", 3)]
    assert [held for _, held in bench.units.reports] == [8]
    assert [call for call in bench.store.calls if call[0] in ("failure", "trouble")] == [
        ("trouble", 9, None)
    ]


def test_with_a_further_unit_the_destination_is_asked_before_anything_of_it_is_loaded(
    bench: Bench,
) -> None:
    unit = name_unit(0, compute_slot(1, "b"))
    all_units = bench.units.fences
    bench.units.fences = {one: its for one, its in all_units.items() if one != unit}
    bench.loader.load_once([A, C])
    result = LoadResult({}, {})
    bench.session.offsets[1, "b"] = CommittedOffset(2, "", result)  # another loader did that
    bench.units.fences = {**all_units, unit: 11}
    bench.loader.load_once([B])
    assert bench.loads() == [("a", 1), ("c", 4), ("b", 3)]
    assert bench.session.plans[-1].offset.fence == 11


def test_a_load_of_another_loader_is_not_noted_here(bench: Bench) -> None:
    unit = name_unit(0, compute_slot(1, "b"))
    bench.units.fences = {one: its for one, its in bench.units.fences.items() if one != unit}
    bench.session.offsets[1, "b"] = CommittedOffset(2, "", LoadResult({}, {}))
    bench.loader.load_once([A])
    assert bench.positions == [((1, "a"), 1)]


def test_sessions_of_a_lost_loader_are_ended_once_before_the_destination_is_asked(
    bench: Bench,
) -> None:
    bench.destination.capabilities = Capabilities(multi_table_transaction=False, evictable=True)
    bench.units.lost = (LostMember("gone", 3),)
    bench.units.fences = dict(bench.units.fences)
    bench.loader.load_once([A])
    bench.units.lost = (*bench.units.lost, LostMember("another", 4), LostMember("gone", 5))
    bench.units.fences = {**bench.units.fences, "log:1:1": 9}
    bench.loader.load_once([C])
    assert bench.session.evicted == ["gone", "another", "gone"]
    assert bench.destination.member == "me"


def test_a_round_ends_when_a_further_unit_comes(bench: Bench) -> None:
    def take(plan: LoadPlan, rehearse: bool) -> None:
        bench.units.fences = {**bench.units.fences, "log:1:1": 9}

    bench.session.before_load = take
    bench.loader.load_once([A, B, C])
    assert bench.loads() == [("a", 1)]
    bench.session.before_load = lambda plan, rehearse: None
    bench.loader.load_once([A, B, C])
    assert bench.loads() == [("a", 1), ("b", 2), ("b", 3), ("c", 4)]


def test_a_table_is_claimed_while_it_is_loaded(bench: Bench) -> None:
    claims: list[frozenset[TableKey]] = []
    bench.session.before_load = lambda plan, rehearse: claims.append(bench.loader.claimed_tables)
    bench.loader.load_once([A, C])
    assert claims == [{(1, "a")}, {(1, "c")}]


def test_a_source_that_was_taken_away_is_not_loaded_further(bench: Bench) -> None:
    bench.session.before_load = lambda plan, rehearse: bench.loader.assign_sources({})
    bench.loader.load_once([A, B, C])
    assert bench.loads() == [("a", 1)]


def test_the_thread_loads_what_it_is_told_of_and_stops(bench: Bench) -> None:
    bench.loader.start()
    bench.loader.set_backlog([A])
    wait_until(lambda: bench.loads() == [("a", 1)])
    bench.loader.set_backlog([A, C])
    wait_until(lambda: bench.loads() == [("a", 1), ("c", 4)])
    bench.loader.stop()
    bench.loader.join(60)
    assert not bench.loader.is_alive()
    assert bench.reader.closed


def test_a_destination_that_is_down_is_tried_again(bench: Bench) -> None:
    bench.destination.fails = DestinationUnavailableError("down")
    bench.loader.load_once([A])
    assert ("trouble", 9, "down") in bench.store.calls
    bench.loader.load_once([A])
    assert bench.loads() == [("a", 1)]


def test_a_failed_table_is_tried_again_when_somebody_wants_it(bench: Bench) -> None:
    bench.fail("a", lambda: OperatorError("no such right"))
    bench.loader.start()
    bench.loader.set_backlog([A])
    wait_until(lambda: ("failure", "a", "no such right", False) in bench.store.calls)
    bench.session.before_load = lambda plan, rehearse: None
    bench.loader.load_now((1, "a"))  # its pause never ends by itself: the clock stands still
    wait_until(lambda: bench.loads() == [("a", 1)])
    bench.loader.stop()
    bench.loader.join(60)
    assert not bench.loader.is_alive()


def test_a_thread_with_nothing_to_load_is_woken_by_what_it_is_told_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    receive = CommandQueue.receive

    def receive_with_note(
        queue: CommandQueue[object], timeout_seconds: float = 0.0
    ) -> list[object]:
        if timeout_seconds:
            pauses.append(timeout_seconds)
        return receive(queue, timeout_seconds)

    monkeypatch.setattr(destination_loader, "REST_SECONDS", 3600.0)
    monkeypatch.setattr(CommandQueue, "receive", receive_with_note)
    bench.loader.start()
    wait_until(lambda: pauses[-1:] == [3600.0])
    rests = len(pauses)
    for _ in range(100):
        bench.loader.set_backlog([])
    bench.loader.load_now((1, "a"))
    wait_until(lambda: pauses[rests : rests + 2] == [POLL_SECONDS] * 2)  # it waits for the table
    bench.loader.set_backlog([A])
    wait_until(lambda: bench.loads() == [("a", 1)])
    bench.loader.set_backlog([])
    wait_until(lambda: pauses[-1] == 3600.0)
    bench.loader.stop()
    bench.loader.join(60)
    assert not bench.loader.is_alive()


def test_a_retired_loader_ends_by_itself_and_loads_nothing(bench: Bench) -> None:
    bench.loader.start()
    bench.loader.retire()
    bench.loader.set_backlog([A])
    bench.loader.join(60)
    assert not bench.loader.is_alive()
    assert bench.loads() == []


def test_small_tables_are_loaded_in_one_transaction_and_recorded_together(grouping: Bench) -> None:
    claims: list[frozenset[TableKey]] = []
    grouping.session.before_load = lambda plan, rehearse: claims.append(
        grouping.loader.claimed_tables
    )
    grouping.loader.load_once([A, C])
    assert grouping.session.groups == [["a", "c"]]
    assert claims == [{(1, "a"), (1, "c")}] * 2
    assert grouping.loads() == [("a", 1), ("c", 4)]
    assert grouping.positions == [((1, "a"), 1), ((1, "c"), 4)]
    assert grouping.loader.claimed_tables == frozenset()


@pytest.mark.parametrize(
    "make",
    [
        lambda: OperatorError("no such right"),
        lambda: RowRefusedError("too long"),
        lambda: PlanOutdatedError("changed"),
        lambda: InternalError("a fault of ours"),
    ],
)
def test_a_table_that_fails_in_a_group_fails_alone(
    grouping: Bench, make: Callable[[], BaseException]
) -> None:
    grouping.fail("c", make)
    grouping.loader.load_once([A, C])
    assert grouping.session.groups == [["a", "c"]]
    assert grouping.loads() == [("a", 1)]
    assert [call[1] for call in grouping.store.calls if call[0] == "failure"] == ["c"]
    assert grouping.positions == [((1, "a"), 1)]


def test_an_uncertain_commit_keeps_all_tables_of_its_group(grouping: Bench) -> None:
    grouping.fail("a", lambda: CommitUnknownError("cut"))
    grouping.loader.load_once([A, C])
    assert grouping.loads() == []
    assert grouping.loader.claimed_tables == {(1, "a"), (1, "c")}
    grouping.session.before_load = lambda plan, rehearse: None
    grouping.loader.load_once([A, C])
    assert grouping.loads() == [("a", 1), ("c", 4)]
    assert grouping.loader.claimed_tables == frozenset()


def test_the_reports_of_a_group_wait_together_for_the_store(grouping: Bench) -> None:
    grouping.session.before_load = lambda plan, rehearse: setattr(
        grouping.store, "fails", RetriableError("locked")
    )
    grouping.loader.load_once([A, C])
    assert grouping.loader.claimed_tables == {(1, "a"), (1, "c")}
    assert grouping.positions == []
    grouping.session.before_load = lambda plan, rehearse: None
    grouping.loader.load_once([])
    assert grouping.positions == [((1, "a"), 1), ((1, "c"), 4)]
    assert grouping.loads() == [("a", 1), ("c", 4)]


def test_a_group_of_a_source_that_was_taken_away_is_not_loaded(grouping: Bench) -> None:
    grouping.loader.load_once([A])
    grouping.session.before_load = lambda plan, rehearse: grouping.loader.assign_sources({})
    grouping.loader.load_once([B, C])
    assert grouping.loads() == [("a", 1), ("b", 2)]


def test_a_destination_is_tried_at_the_start_and_why_it_fails_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.destination.fails = DestinationUnavailableError("password of u is wrong")
    bench.loader.start()
    try:
        wait_until(lambda: ("trouble", 9, "password of u is wrong") in bench.store.calls)
    finally:
        bench.loader.stop()
        bench.loader.join(60)
    assert "cannot be used, records wait: password of u is wrong; retrying in" in caplog.text
    assert bench.session.plans == []


def test_a_destination_that_can_be_used_at_the_start_has_no_trouble(bench: Bench) -> None:
    bench.loader.start()
    try:
        wait_until(lambda: ("trouble", 9, None) in bench.store.calls)
    finally:
        bench.loader.stop()
        bench.loader.join(60)


def test_a_file_is_not_opened_to_be_tried(bench: Bench, tmp_path: Path) -> None:
    bench.destination.file = tmp_path / "gone" / "warehouse.duckdb"
    bench.destination.fails = AssertionError("it was opened")
    bench.loader.start()
    try:
        wait_until(lambda: any(call[0] == "trouble" for call in bench.store.calls))
    finally:
        bench.loader.stop()
        bench.loader.join(60)
    [(_, _, why), *_] = [call for call in bench.store.calls if call[0] == "trouble"]
    assert why.endswith("its folder is missing; make it first")


def test_a_former_destination_tells_nothing_of_a_source_whose_move_is_settled(
    bench: Bench,
) -> None:
    """Where it stands is said by the new one; the log would go back to what was loaded here."""
    bench.session.offsets = {(3, "t"): CommittedOffset(9, "", LoadResult({}, {}))}
    moves = frozenset({(3, 5)})
    bench.loader.ask_offsets(moves)
    bench.loader.load_once(())
    assert bench.positions == [((3, "t"), 9)]
    assert bench.loader.answered_moves == moves
    for asked, told in ((moves, [((3, "t"), 9)]), (frozenset[tuple[int, int]](), [])):
        bench.positions.clear()
        bench.loader.ask_offsets(asked)
        bench.units.fences = {unit: its + 1 for unit, its in bench.units.fences.items()}
        bench.loader.load_once([A])  # units came, so the destination is asked anew
        assert [one for one in bench.positions if one[0][0] == 3] == told


def test_a_log_that_lost_where_a_table_stands_is_told_again(bench: Bench) -> None:
    """The hint is not synced, so a database that lost a server may have lost it."""
    bench.loader.set_backlog([A])
    bench.loader.start()
    try:
        wait_until(lambda: bench.positions == [((1, "a"), 1)])
        bench.positions.clear()
        bench.now += UNTOLD_US
        bench.loader.set_backlog([A, C])
        wait_until(lambda: ((1, "a"), 1) in bench.positions)
        wait_until(lambda: bench.loads() == [("a", 1), ("c", 4)])
    finally:
        bench.loader.stop()
        bench.loader.join(60)


LATE = [entry(position, "late", source_id=2) for position in range(1, 8)]


@dataclass
class LateLog:
    """A second log, which is away when the loader starts; source 2 is on it."""

    is_back: bool = False
    looks: int = 0

    def list_logs(self) -> list[LogInfo]:
        return [
            LogInfo(number, log_id, "sqlite", "", LogState.OPEN)
            for number, log_id in enumerate([LOG_ID, "late"])
        ]

    def open_part(self, number: int) -> LogReader:
        assert number == 1
        self.looks += 1
        if not self.is_back:
            raise RetriableError("away")
        return cast(LogReader, MemoryReader(LATE, "late"))


@dataclass
class LateSession(MemorySession):
    """A session that keeps what it committed of source 2 under the id of the second log."""

    asked: list[str] = field(default_factory=list)

    def committed(self, log_id: str) -> dict[TableKey, CommittedOffset]:
        self.asked.append(log_id)
        number = {LOG_ID: 1, "late": 2}[log_id]
        return {key: held for key, held in self.offsets.items() if key[0] == number}


@dataclass
class LateBench(Bench):
    """The loader of a destination that was loaded from two logs; the second one is away."""

    session: LateSession = field(default_factory=LateSession)
    log: LateLog = field(default_factory=LateLog)
    at: int = 0

    def __post_init__(self) -> None:
        parts = {0: cast(LogReader, self.reader)}
        numbers = SourceNumbers(lambda source_id: source_id - 1)
        self.reader = cast(MemoryReader, JoinedReader(parts, numbers, self.log))
        self.store.known.append(source(2))
        super().__post_init__()
        planned = PlannedReport(
            "cut", 2, "late", 4, 6, NOW, 3, {}, {}, {"relations": [], "bookmarks": []}
        )
        held = CommittedOffset(6, planned.encode(), LoadResult({}, {}))
        self.session.offsets[2, "late"] = held

    def wait(self, seconds: float) -> None:
        self.at += round(seconds * 1e6)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateBench:
    bench = LateBench()
    monkeypatch.setattr(asked_logs, "read_monotonic", lambda: bench.at)
    return bench


def test_a_move_waits_for_what_was_committed_from_a_log_that_is_away(late: LateBench) -> None:
    """The load of entries 4 to 6 was committed and not recorded, and source 2 went elsewhere."""
    moves = frozenset({(2, NOW), (1, NOW)})
    late.loader.ask_offsets(moves)
    late.loader.load_once([A])
    assert late.loader.answered_moves == {(1, NOW)}
    late.log.is_back = True
    late.wait(FOLLOW_SECONDS / 2)
    late.loader.load_once([])
    assert late.log.looks == 1
    assert late.loader.answered_moves == {(1, NOW)}
    assert late.positions[-1] == ((1, "a"), 1)
    late.wait(FOLLOW_SECONDS / 2)
    late.loader.load_once([])
    assert late.session.asked[-2:] == [LOG_ID, "late"]
    assert late.loader.answered_moves == moves
    assert ("load", "late", 6, []) in late.store.calls
    assert ((2, "late"), 6) in late.positions


def test_nothing_of_a_log_that_comes_back_is_loaded_before_the_destination_was_asked(
    late: LateBench, caplog: pytest.LogCaptureFixture
) -> None:
    digest = digest_text("a database in memory")
    late.store.statuses = [
        TableLoadStatus(2, "late", 3, NOW, None, None, False, place_sha256=digest)
    ]
    late.loader.assign_sources({1: source(), 2: source(2)})
    waiting = backlog(*LATE[3:], loaded=3)
    late.loader.load_once([A, waiting])
    late.log.is_back = True
    late.loader.load_once([waiting])
    assert late.loads() == [("a", 1)]
    late.wait(FOLLOW_SECONDS)
    late.loader.load_once([waiting])
    assert late.loads() == [("a", 1), ("late", 7)]
    # Nothing was lost, so no mark goes back, and no load fails.
    assert [one for one in late.positions if one[0] == (2, "late")] == [
        ((2, "late"), 6),
        ((2, "late"), 7),
    ]
    assert not [call for call in late.store.calls if call[0] == "failure"]
    assert "any more how far" not in caplog.text


@dataclass
class LeavingSession(MemorySession):
    """A session whose loads leave something to be done, which fails while somebody has a lock."""

    is_held: bool = False
    has_unended: bool = False
    ends: int = 0

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        result = super().load(plan, rehearse=rehearse)
        self.has_unended = self.is_held
        return result

    def end_loads(self) -> None:
        self.ends += 1
        self.has_unended = self.is_held


def test_what_was_left_of_a_load_is_tried_again_though_nothing_more_comes() -> None:
    session = LeavingSession()
    bench = Bench(session=session)
    bench.loader.load_once([A])
    assert session.ends == 1  # of a loader that was killed
    session.is_held = True
    bench.loader.load_once([B])
    bench.loader.load_once([])
    assert session.ends == 1
    bench.now += ENDING_US
    bench.loader.load_once([])
    assert session.ends == 2
    bench.loader.load_once([C])
    assert session.ends == 2  # not with each round
    session.is_held = False
    bench.now += ENDING_US
    bench.loader.load_once([])
    bench.now += ENDING_US
    bench.loader.load_once([])
    assert session.ends == 3
