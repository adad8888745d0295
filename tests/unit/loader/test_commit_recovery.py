from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.loader.doubles import NOW, MemoryReader, MemoryStore, as_store, entry

from treadle.destinations.protocol import CommittedOffset, LoadResult
from treadle.errors import RetriableError
from treadle.loader.commit_recovery import UNCERTAIN_US_MAX, CommitRecovery
from treadle.loader.load_report import PlannedReport
from treadle.loader.reporting import LoadReporting
from treadle.loader.schedule import TableKey
from treadle.log.protocol import LogReader, ReadLimits
from treadle.store.model import TableLoadStatus
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

    def recover(self, found: dict[TableKey, CommittedOffset]) -> None:
        self.recovery.recover(found, READER, self.assigned, present=self.assigned)

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
