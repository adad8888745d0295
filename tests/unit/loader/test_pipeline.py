from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import cast

import msgspec
import pytest
from tests.unit.loader.doubles import NOW, PROFILE, MemoryReader, backlog, entry, source

from treadle.loader import pipeline as pipelines
from treadle.loader.commands import AssignSources, CommandQueue, SetBacklog
from treadle.loader.pipeline import LoadPipeline, LoadRound, PipelineCommand, PreparedStep
from treadle.loader.schedule import FlushPolicy, LoadHistory, RetrySchedule, TableKey
from treadle.log.protocol import LogEntry, LogReader, ReadLimits, TableBacklog
from treadle.tables.prepare.prepare import PreparedLoad

Make = Callable[..., LoadPipeline]


@pytest.fixture
def commands() -> CommandQueue[PipelineCommand]:
    found = CommandQueue[PipelineCommand]()
    found.put(AssignSources({1: source()}))
    return found


@pytest.fixture
def make(commands: CommandQueue[PipelineCommand]) -> Iterator[Make]:
    with ExitStack() as stack:

        def make_one(reader: MemoryReader, records: int = 10) -> LoadPipeline:
            found = LoadPipeline(
                cast(LogReader, reader),
                PROFILE,
                FlushPolicy(age_us=0, records=records),
                ReadLimits(records=records),
                lambda: NOW,
                commands,
            )
            stack.callback(found.close)
            return found

        yield make_one


def load_round(
    *backlogs: TableBacklog, offsets: dict[TableKey, int] | None = None, until: int | None = None
) -> LoadRound:
    return LoadRound(backlogs, LoadHistory(offsets or {}, {}, RetrySchedule()), until)


def take_all(pipeline: LoadPipeline) -> list[PreparedStep]:
    found = []
    while (step := pipeline.take_step()) is not None:
        found.append(step)
    pipeline.end_round()
    return found


def places(steps: Sequence[PreparedStep]) -> list[tuple[str, int, int]]:
    return [(step.chunk.key[1], step.chunk.after, step.chunk.last) for step in steps]


def test_a_round_comes_out_prepared_chunk_by_chunk(make: Make) -> None:
    entries = [entry(position, records=4) for position in (1, 2, 3)]
    other = entry(4, "other")
    reader = MemoryReader([*entries, other])
    pipeline = make(reader)
    pipeline.begin_round(load_round(backlog(*entries), backlog(other)))
    steps = take_all(pipeline)
    assert places(steps) == [("t", -1, 2), ("t", 2, 3), ("other", -1, 4)]
    assert [cast(PreparedLoad, step.prepared).received for step in steps] == [8, 4, 1]
    assert steps[0].size == sum(len(one.payload) for one in entries[:2])
    assert {one.payload for step in steps for one in step.chunk.entries} == {b""}


def test_a_table_goes_on_after_what_is_committed_and_else_after_what_the_log_says(
    make: Make,
) -> None:
    entries = [entry(position) for position in range(1, 6)]
    pipeline = make(MemoryReader(entries))
    pipeline.begin_round(load_round(backlog(*entries), offsets={(1, "t"): 3}))
    assert places(take_all(pipeline)) == [("t", 3, 5)]
    pipeline.begin_round(load_round(backlog(*entries, loaded=2)))
    [step] = take_all(pipeline)
    assert (step.chunk.after, step.chunk.first, step.chunk.last) == (-1, 3, 5)


def test_no_more_than_one_step_is_read_ahead(make: Make) -> None:
    entries = [entry(position, records=10) for position in range(1, 5)]
    reader = MemoryReader(entries)
    pipeline = make(reader)
    pipeline.begin_round(load_round(backlog(*entries)))
    first = pipeline.take_step()
    second = pipeline.take_step()
    assert first is not None
    assert second is not None
    assert len(reader.reads) <= 3
    pipeline.end_round()
    assert len(reader.reads) == 3


def test_nothing_is_read_beside_a_step_that_is_too_large(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "READ_BYTES_MAX", 10)
    entries = [entry(position, records=10) for position in (1, 2)]
    reader = MemoryReader(entries)
    pipeline = make(reader)
    pipeline.begin_round(load_round(backlog(*entries)))
    assert pipeline.take_step() is not None
    assert len(reader.reads) == 1
    pipeline.end_round()
    assert len(reader.reads) == 1


def test_a_chunk_that_cannot_be_prepared_says_why_and_the_next_one_comes(make: Make) -> None:
    bad = LogEntry(1, 1, "bad", NOW, 1, b"not a batch")
    good = entry(2, "good")
    pipeline = make(MemoryReader([bad, good]))
    pipeline.begin_round(load_round(backlog(bad), backlog(good)))
    first, second = take_all(pipeline)
    assert isinstance(first.prepared, msgspec.MsgspecError)
    assert isinstance(second.prepared, PreparedLoad)


def test_a_log_that_cannot_be_read_ends_the_round(make: Make) -> None:
    class Broken(MemoryReader):
        def read(self, *_: object) -> list[LogEntry]:  # type: ignore[override]
            raise OSError("the disk is gone")

    pipeline = make(Broken())
    pipeline.begin_round(load_round(backlog(entry(1))))
    with pytest.raises(OSError, match="the disk is gone"):
        pipeline.take_step()
    pipeline.end_round()


def test_what_becomes_due_meanwhile_is_read_in_the_same_round(
    make: Make, commands: CommandQueue[PipelineCommand]
) -> None:
    entries = [entry(position, records=10) for position in (1, 2, 3)]
    pipeline = make(MemoryReader(entries))
    pipeline.begin_round(load_round(backlog(entries[0])))
    assert pipeline.take_step() is not None
    commands.put(SetBacklog([backlog(*entries)]))
    assert places(take_all(pipeline)) == [("t", 1, 2), ("t", 2, 3)]


def test_a_round_takes_one_step_at_least_and_ends_when_its_time_is_over(make: Make) -> None:
    entries = [entry(position, records=10) for position in (1, 2, 3)]
    pipeline = make(MemoryReader(entries))
    pipeline.begin_round(load_round(backlog(*entries), until=NOW))
    assert places(take_all(pipeline)) == [("t", -1, 1)]
    pipeline.begin_round(load_round(backlog(*entries), until=NOW + 1))
    assert len(take_all(pipeline)) == 3


@pytest.mark.parametrize("why", ["skipped", "loads elsewhere"])
def test_a_table_is_left_when_it_is_skipped_or_loads_elsewhere(
    make: Make, commands: CommandQueue[PipelineCommand], why: str
) -> None:
    entries = [entry(position, records=10) for position in range(1, 6)]
    pipeline = make(MemoryReader(entries))
    pipeline.begin_round(load_round(backlog(*entries)))
    assert pipeline.take_step() is not None
    if why == "skipped":
        pipeline.skip_tables(frozenset([(1, "t")]))
    else:
        commands.put(AssignSources({}))
    # One may have been read before that was known.
    assert len(take_all(pipeline)) <= 1
    pipeline.begin_round(load_round(backlog(*entries)))
    assert len(take_all(pipeline)) == (5 if why == "skipped" else 0)


def test_sources_take_turns_chunk_by_chunk(
    make: Make, commands: CommandQueue[PipelineCommand]
) -> None:
    large = [entry(position, records=10) for position in (1, 2, 3)]
    small = [entry(4, "a", source_id=2), entry(5, "b", source_id=2)]
    commands.put(AssignSources({1: source(1), 2: source(2)}))
    pipeline = make(MemoryReader([*large, *small]))
    pipeline.begin_round(load_round(backlog(*large), *map(backlog, small)))
    assert [step.chunk.key for step in take_all(pipeline)] == [
        *((1, "t"), (2, "a"), (1, "t"), (2, "b"), (1, "t"))
    ]


def test_a_source_that_begins_to_wait_does_not_wait_for_the_tables_of_another(
    make: Make, commands: CommandQueue[PipelineCommand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "NEWCOMER_LOOK_US", 0)
    greedy = [entry(position, f"t{position}") for position in range(1, 50)]
    single = entry(50, "single", source_id=2)
    commands.put(AssignSources({1: source(1), 2: source(2)}))
    pipeline = make(MemoryReader([*greedy, single]))
    pipeline.begin_round(load_round(*map(backlog, greedy)))
    assert pipeline.take_step() is not None
    commands.put(SetBacklog([*map(backlog, greedy), backlog(single)]))
    order = [step.chunk.key for step in take_all(pipeline)]
    assert len(order) == 49
    assert order.index((2, "single")) <= 3


def test_a_round_has_a_bounded_number_of_tables(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "ROUND_TABLES_MAX", 3)
    entries = [entry(position, f"t{position}") for position in range(1, 10)]
    pipeline = make(MemoryReader(entries))
    pipeline.begin_round(load_round(*map(backlog, entries), until=NOW + 1))
    assert len(take_all(pipeline)) == 3
    pipeline.begin_round(load_round(*map(backlog, entries)))
    assert len(take_all(pipeline)) == 9
