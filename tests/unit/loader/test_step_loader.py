from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.loader.doubles import NOW, MemoryStore, MemoryUnits, as_store, entry, share

from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    FencedError,
    PlanOutdatedError,
    SearchUnfinishedError,
    Session,
    TableHeldError,
)
from treadle.errors import InternalError, OperatorError
from treadle.loader.answer_wait import AnswerWait
from treadle.loader.chunk import build_chunk
from treadle.loader.commit_recovery import CommitRecovery
from treadle.loader.execution import LoadExecutor
from treadle.loader.pipeline import PreparedStep, StepGroup
from treadle.loader.reporting import LoadReporting, PendingReport
from treadle.loader.schedule import TableKey
from treadle.loader.share import name_unit
from treadle.loader.step_loader import StepLoader
from treadle.loader.table_claims import TableClaims
from treadle.log.protocol import ReadLimits
from treadle.log.slots import compute_slot

A, B = (1, "a"), (1, "b")
NO_SESSION = cast(Session, None)


@dataclass
class FailingExecutor:
    """Stands for an executor whose loads fail.

    Attributes:
        error: what they fail with.
        look: called before they do.
    """

    error: BaseException
    look: Callable[[], None] = lambda: None

    def load(self, session: Session, step: PreparedStep) -> PendingReport:
        self.look()
        raise self.error

    def load_group(self, session: Session, group: StepGroup) -> list[PendingReport]:
        self.look()
        raise self.error


@dataclass
class Bench:
    """A step loader over an executor that fails."""

    error: BaseException
    store: MemoryStore = field(default_factory=MemoryStore)
    sources: set[int] = field(default_factory=lambda: {1})

    def __post_init__(self) -> None:
        def clock() -> int:
            return NOW

        reporting = LoadReporting(9, as_store(self.store), lambda key, last: None, lambda: "here")
        self.units = MemoryUnits()
        self.recovery = CommitRecovery(as_store(self.store), reporting, ReadLimits(), clock)
        self.recovery.offsets = {A: 0}
        self.claims = TableClaims(lambda: self.sources)
        self.executor = FailingExecutor(self.error)
        self.steps = StepLoader(
            cast(LoadExecutor, self.executor),
            self.claims,
            AnswerWait(clock),
            self.recovery,
            reporting,
            share(self.units),
            clock,
            lambda: "load",
        )

    def load(self, *, together: bool) -> bool:
        """Load one table, or two together."""
        if together:
            return self.steps.load_group(NO_SESSION, (step("a"), step("b")))
        return self.steps.load(NO_SESSION, step("a"))

    def failures(self) -> list[object]:
        return [call[1] for call in self.store.calls if call[0] == "failure"]


def step(table: str, error: Exception | None = None) -> PreparedStep:
    """A step of one entry; what was prepared matters to the executor alone."""
    chunk = build_chunk((1, table), -1, [entry(1, table)])
    assert chunk is not None
    return PreparedStep(chunk, error or InternalError("of no use"), 1)


@pytest.mark.parametrize(
    "error", [OperatorError("no right"), PlanOutdatedError("changed"), TableHeldError("held")]
)
def test_a_table_that_fails_is_recorded_and_waits(error: Exception) -> None:
    bench = Bench(error)
    assert not bench.steps.load(NO_SESSION, step("a"))
    assert bench.failures() == ["a"]
    assert bench.recovery.offsets is None
    assert not bench.recovery.uncertain
    assert not bench.steps.history.retries.may_retry(A, NOW)
    assert bench.steps.history.retries.may_retry(B, NOW)
    assert bench.steps.history.ended == {}


def test_a_fault_of_ours_is_recorded_and_its_commit_is_uncertain() -> None:
    bench = Bench(InternalError("broken"))
    with pytest.raises(InternalError):
        bench.steps.load(NO_SESSION, step("a"))
    assert bench.failures() == ["a"]
    assert set(bench.recovery.uncertain) == {A}


def test_a_step_that_could_not_be_prepared_leaves_no_commit_uncertain() -> None:
    error = InternalError("not prepared")
    bench = Bench(error)
    with pytest.raises(InternalError):
        bench.steps.load(NO_SESSION, step("a", error))
    assert bench.failures() == ["a"]
    assert not bench.recovery.uncertain


def test_a_search_for_refused_records_takes_turns_with_other_tables() -> None:
    bench = Bench(SearchUnfinishedError("looking"))
    for _ in range(3):
        assert not bench.load(together=False)
        retries = bench.steps.history.retries
        assert not retries.may_retry(A, NOW)
        assert retries.may_retry(A, NOW + 500_000)  # the pause does not grow
    assert bench.failures() == []
    assert bench.recovery.offsets == {A: 0}


@pytest.mark.parametrize("together", [False, True])
def test_after_an_error_of_the_destination_other_tables_come_first(*, together: bool) -> None:
    """It may come of this table alone, which would then end each round."""
    bench = Bench(DestinationUnavailableError("out of memory"))
    with pytest.raises(DestinationUnavailableError):
        bench.load(together=together)
    assert bench.failures() == []
    retries = bench.steps.history.retries
    assert not retries.may_retry(A, NOW)
    assert retries.may_retry(B, NOW) is not together
    assert retries.may_retry(A, NOW + 500_000)


@pytest.mark.parametrize("together", [False, True])
def test_a_commit_that_is_unknown_is_uncertain_for_each_table(*, together: bool) -> None:
    bench = Bench(CommitUnknownError("cut"))
    with pytest.raises(CommitUnknownError):
        bench.load(together=together)
    assert set(bench.recovery.uncertain) == ({A, B} if together else {A})
    assert bench.failures() == []


@pytest.mark.parametrize("together", [False, True])
def test_a_loader_that_was_overtaken_says_so_and_leaves_the_table_for_a_moment(
    *, together: bool
) -> None:
    bench = Bench(FencedError("another loader has it", 12))
    assert not bench.load(together=together)
    unit = name_unit(0, compute_slot(1, "a"))
    assert bench.units.reports == ([] if together else [(unit, 12)])  # each alone will say which
    assert bench.failures() == []
    assert bench.steps.history.retries.may_retry(A, NOW) is together
    assert (bench.recovery.offsets is None) is not together


def test_a_table_of_a_unit_that_is_another_loaders_is_not_loaded() -> None:
    bench = Bench(InternalError("nobody asks for this"))
    bench.units.leaving = frozenset([name_unit(0, compute_slot(1, "a"))])
    bench.claims = TableClaims(lambda: bench.sources, share(bench.units).may_begin)
    bench.steps.claims = bench.claims
    assert not bench.load(together=False)
    assert not bench.load(together=True)
    assert bench.claims.tables == frozenset()


@pytest.mark.parametrize(
    "error",
    [
        OperatorError("no right"),
        PlanOutdatedError("changed"),
        TableHeldError("held"),
        InternalError("broken"),
    ],
)
def test_a_group_that_fails_is_to_be_loaded_one_by_one(error: Exception) -> None:
    bench = Bench(error)
    assert not bench.steps.load_group(NO_SESSION, (step("a"), step("b")))
    assert bench.failures() == []
    assert bench.steps.history.retries.may_retry(A, NOW)


def test_tables_are_claimed_and_the_wait_lasts_while_they_are_loaded() -> None:
    bench = Bench(OperatorError("no right"))
    seen: list[tuple[frozenset[TableKey], int | None]] = []
    bench.executor.look = lambda: seen.append((bench.claims.tables, bench.steps.wait.measure()))
    bench.steps.load_group(NO_SESSION, (step("a"), step("b")))
    bench.steps.load(NO_SESSION, step("b"))
    assert seen == [(frozenset((A, B)), 0), (frozenset((B,)), 0)]
    assert (bench.claims.tables, bench.steps.wait.measure()) == (frozenset(), None)


def test_a_table_of_a_source_that_was_taken_away_is_not_loaded() -> None:
    bench = Bench(InternalError("nobody asks for this"))
    bench.sources.clear()
    assert not bench.steps.load(NO_SESSION, step("a"))
    assert not bench.steps.load_group(NO_SESSION, (step("a"), step("b")))
    assert bench.failures() == []
