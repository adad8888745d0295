from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from tests.unit.loader.doubles import NOW, MemoryReader, MemoryStore, as_store, entry

from treadle.destinations.protocol import CommittedOffset, LoadResult
from treadle.errors import InternalError, RetriableError, TableStoppedError
from treadle.loader.commit_recovery import UNCERTAIN_US_MAX, CommitRecovery
from treadle.loader.load_report import PlannedReport, decode_planned_report
from treadle.loader.reporting import LoadReporting
from treadle.loader.schedule import TableKey
from treadle.log.protocol import DamagedEntry, LogReader, ReadLimits
from treadle.store.model import RecordRejection, TableLoadStatus
from treadle.tables.rejection_reason import RejectionCode
from treadle.text import digest_text

KEY = (1, "t")
READER = cast(LogReader, MemoryReader([entry(position) for position in range(1, 8)]))


@dataclass
class Bench:
    """A recovery with a store in memory; the clock is set by hand."""

    now: int = NOW
    store: MemoryStore = field(default_factory=MemoryStore)
    positions: list[tuple[TableKey, int]] = field(default_factory=list)
    assigned: set[int] = field(default_factory=lambda: {1})
    place: str = "duckdb:///here"

    def __post_init__(self) -> None:
        reporting = LoadReporting(
            9,
            as_store(self.store),
            lambda key, position: self.positions.append((key, position)),
            lambda: "the warehouse",
            find_place=lambda: self.place,
        )
        self.recovery = CommitRecovery(
            as_store(self.store), reporting, ReadLimits(records=2), lambda: self.now
        )

    def recover(
        self,
        found: dict[TableKey, CommittedOffset],
        reader: LogReader = READER,
        was_asked: Callable[[int], bool] = lambda source_id: True,
    ) -> None:
        self.recovery.recover(
            found, reader, self.assigned, present=self.assigned, was_asked=was_asked
        )

    def recorded(self, last: int, place: str = "") -> None:
        digest = digest_text(place) if place else None
        self.store.statuses = [
            TableLoadStatus(*KEY, last, NOW, None, None, False, place_sha256=digest)
        ]


def held(position: int, superseded: dict[int, int] | None = None) -> CommittedOffset:
    memo = PlannedReport("load-1", *KEY, 3, position, NOW, position - 2, {}, {}, _details())
    return CommittedOffset(position, memo.encode(), LoadResult({"t": 1}, superseded or {}))


def _details() -> dict[str, object]:
    return {"relations": [["t", "t"]], "bookmarks": []}


def test_the_destination_says_where_its_tables_stand() -> None:
    bench = Bench()
    bench.recorded(5)
    assert bench.recovery.offsets is None
    bench.recover({KEY: held(5), (2, "elsewhere"): CommittedOffset(8, "", LoadResult({}, {}))})
    assert bench.recovery.offsets == {KEY: 5, (2, "elsewhere"): 8}
    # Of a source that loads elsewhere the log is told by that destination.
    assert bench.positions == [(KEY, 5)]
    assert bench.store.calls == []
    bench.recovery.advance_offset(KEY, 7)
    offsets = bench.recovery.offsets
    assert offsets is not None
    assert offsets[KEY] == 7
    bench.recovery.forget_offsets()
    assert bench.recovery.offsets is None
    bench.recovery.advance_offset(KEY, 9)
    assert bench.recovery.offsets is None


def test_a_table_that_its_database_has_lost_is_loaded_from_the_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.recorded(5, bench.place)
    for _ in range(2):
        bench.recover({})
        assert (bench.recovery.starts, bench.recovery.lost) == ({}, frozenset({KEY}))
        assert bench.positions.pop() == (KEY, 0)
    assert len(caplog.records) == 1
    bench.recover({KEY: held(2)})
    assert (bench.recovery.starts, bench.recovery.lost) == ({}, frozenset())


@pytest.mark.parametrize("place", ["duckdb:///elsewhere", ""])
def test_a_table_that_was_loaded_elsewhere_goes_on_after_that(place: str) -> None:
    bench = Bench()
    bench.recorded(5, place)
    bench.recover({})
    assert (bench.recovery.starts, bench.recovery.lost) == ({KEY: 5}, frozenset())
    bench.recorded(5, bench.place)
    bench.assigned.clear()  # it is asked what it committed of a source that left
    bench.recover({})
    assert (bench.recovery.starts, bench.recovery.lost) == ({KEY: 5}, frozenset())
    assert bench.positions == []


def test_a_load_that_was_not_recorded_is_recorded() -> None:
    bench = Bench()
    bench.recorded(2)
    bench.recover({KEY: held(6, superseded={2: 1})})
    [(kind, table, last, outcomes)] = bench.store.calls
    assert (kind, table, last) == ("load", "t", 6)
    # The third of the entries 3 to 6, which are read again two at a time.
    assert [(one.position, one.superseded) for one in outcomes] == [(5, 1)]
    assert bench.positions == [(KEY, 6)]


def test_what_cannot_be_recorded_is_asked_for_again() -> None:
    bench = Bench()
    bench.recovery.add_uncertain(KEY, 6)
    bench.store.fails = RetriableError("locked")
    with pytest.raises(RetriableError):
        bench.recover({KEY: held(6)})
    assert bench.recovery.offsets is None
    assert list(bench.recovery.uncertain) == [KEY]
    assert bench.positions == []


@pytest.mark.parametrize(("position", "told"), [(6, [(KEY, 6)]), (5, [])])
def test_an_uncertain_commit_is_told_also_of_a_table_that_is_loaded_elsewhere(
    position: int, told: list[tuple[TableKey, int]]
) -> None:
    bench = Bench(assigned=set())
    bench.recorded(6)
    bench.recovery.add_uncertain(KEY, 6)
    bench.recover({KEY: held(position)})
    assert bench.positions == told
    assert bench.recovery.uncertain == {}


def test_a_table_does_not_wait_for_ever_for_its_former_destination(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.recovery.add_uncertain(KEY, 6)
    bench.now += UNCERTAIN_US_MAX
    bench.recovery.drop_expired(bench.assigned, "the warehouse")
    assert list(bench.recovery.uncertain) == [KEY]  # it is loaded here
    bench.assigned.clear()
    bench.now -= 1
    bench.recovery.drop_expired(bench.assigned, "the warehouse")
    assert list(bench.recovery.uncertain) == [KEY]
    bench.now += 1
    bench.recovery.drop_expired(bench.assigned, "the warehouse")
    assert bench.recovery.uncertain == {}
    said = "the warehouse does not say whether it committed the last load of 't' of source 1"
    assert f"{said}, records up to entry 6: " in caplog.text


def test_a_source_that_the_store_does_not_know_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was made after the backup that the store was brought back from."""
    bench = Bench(assigned={1})
    bench.recorded(2)
    for _ in range(2):
        bench.recover({(5, "t"): held(9), KEY: held(6)})
    assert [call[:3] for call in bench.store.calls] == [("load", "t", 6)] * 2
    assert bench.positions == [(KEY, 6)] * 2
    assert bench.recovery.offsets == {(5, "t"): 9, KEY: 6}
    said = [one.getMessage() for one in caplog.records]
    assert len(said) == 1
    assert "has loaded 1 source that the store does not know" in said[0]
    assert said[0].endswith("(5)")


def test_a_load_that_cannot_be_recorded_stops_its_table_alone() -> None:
    bench = Bench()
    bench.store.fails = InternalError("a promise was broken")
    bench.recover({KEY: held(6), (1, "other"): CommittedOffset(7, "", LoadResult({}, {}))})
    assert bench.store.calls == []
    # Its rows are there, so another destination begins after them.
    assert bench.positions == [(KEY, 6), ((1, "other"), 7)]
    assert bench.recovery.lost == frozenset()
    bench.recovery.refuse_unsafe((1, "other"))
    assert not bench.recovery.may_load(KEY)
    with pytest.raises(TableStoppedError, match=r"up to entry 6 .* a promise was broken"):
        bench.recovery.refuse_unsafe(KEY)
    bench.recover({KEY: held(6)})
    assert [call[:3] for call in bench.store.calls] == [("load", "t", 6)]
    bench.recovery.refuse_unsafe(KEY)


@pytest.mark.parametrize("first", [8, 5], ids=["none", "not-all"])
def test_a_load_is_recorded_without_entries_that_the_log_has_no_more(first: int) -> None:
    bench = Bench()
    bench.recorded(2)
    there = MemoryReader([entry(position) for position in range(first, 8)])
    bench.recover({KEY: held(6, superseded={1: 1, 3: 1})}, cast(LogReader, there))
    assert bench.store.calls == [("load", "t", 6, [])]
    [load] = bench.store.reports
    assert (load.rows_received, load.rows_loaded, load.rows_discarded) == (4, 2, 2)


def test_an_entry_that_became_damaged_after_its_load_keeps_its_place() -> None:
    bench = Bench()
    entries = [entry(position) for position in range(1, 8)]
    broken = [DamagedEntry(position, *KEY, NOW, 1, "its checksum differs") for position in (3, 4)]
    log = cast(LogReader, MemoryReader([*entries[:2], *broken, *entries[4:]]))
    offset = held(6, superseded={1: 1})
    # Entry 3 was damaged when it was loaded, and entry 4 was not.
    planned = replace_rejected(offset.report, 3)
    bench.recover({KEY: replace(offset, report=planned)}, log)
    [(_, _, _, outcomes)] = bench.store.calls
    assert [(one.position, one.superseded) for one in outcomes] == [(3, 0), (5, 1)]
    bench.recover({KEY: offset}, log)
    _, (_, _, _, outcomes) = bench.store.calls
    assert [(one.position, one.superseded) for one in outcomes] == [(4, 1)]


def replace_rejected(report: str, position: int) -> str:
    """A report of a load that found an entry damaged."""
    kept = decode_planned_report(report)
    reason = RecordRejection(0, "its checksum differs", RejectionCode.DAMAGED_ENTRY)
    kept.rejected[position] = [reason]
    return kept.encode()


def test_a_destination_says_nothing_of_a_log_that_it_was_not_asked_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.recorded(5, bench.place)
    bench.recovery.add_uncertain(KEY, 6)
    bench.recovery.add_uncertain((2, "t"), 6)
    bench.recover({}, was_asked=lambda source_id: source_id != 1)
    assert list(bench.recovery.uncertain) == [KEY]
    assert (bench.recovery.lost, bench.positions) == (frozenset(), [])
    assert caplog.text == ""
    bench.recover({KEY: held(6)})
    assert bench.recovery.uncertain == {}
    assert bench.positions == [(KEY, 6)]
