from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.loader.doubles import NOW, PROFILE, MemoryReader, backlog, entry, source

from treadle.destinations.capabilities import Capabilities
from treadle.loader import pipeline as pipelines
from treadle.loader.chunk import EntryChunk
from treadle.loader.commands import AssignSources, CommandQueue, SetBacklog
from treadle.loader.pipeline import (
    GroupLimits,
    LoadPipeline,
    LoadRound,
    PipelineCommand,
    PreparedStep,
    StepGroup,
    choose_group_limits,
    group_steps,
)
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
                group_limits=GroupLimits(steps=1),
            )
            stack.callback(found.close)
            return found

        yield make_one


def load_round(
    *backlogs: TableBacklog,
    offsets: dict[TableKey, int] | None = None,
    starts: dict[TableKey, int] | None = None,
    lost: frozenset[TableKey] = frozenset(),
    until: int | None = None,
) -> LoadRound:
    history = LoadHistory(offsets or {}, {}, RetrySchedule(), starts or {}, lost)
    return LoadRound(backlogs, history, until)


def take_all(pipeline: LoadPipeline) -> list[PreparedStep]:
    found = [step for group in take_groups(pipeline) for step in group]
    pipeline.end_round()
    return found


def take_groups(pipeline: LoadPipeline) -> list[StepGroup]:
    return list(iter(pipeline.take_group, ()))


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
    # A loader that stood still has set back what the log says.
    pipeline.begin_round(load_round(backlog(*entries, loaded=2), starts={(1, "t"): 4}))
    [step] = take_all(pipeline)
    assert (step.chunk.after, step.chunk.first, step.chunk.last) == (-1, 5, 5)
    pipeline.begin_round(load_round(backlog(*entries, loaded=2), starts={(1, "t"): 5}))
    assert take_all(pipeline) == []
    # This destination has lost the table: it gets all that is there.
    pipeline.begin_round(load_round(backlog(*entries, loaded=2), lost=frozenset({(1, "t")})))
    assert places(take_all(pipeline)) == [("t", -1, 5)]


def test_no_more_than_one_step_is_read_ahead(make: Make) -> None:
    entries = [entry(position, records=10) for position in range(1, 5)]
    reader = MemoryReader(entries)
    pipeline = make(reader)
    pipeline.begin_round(load_round(backlog(*entries)))
    first = pipeline.take_group()
    second = pipeline.take_group()
    assert len(first) == len(second) == 1
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
    assert pipeline.take_group()
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
        pipeline.take_group()
    pipeline.end_round()


def test_what_becomes_due_meanwhile_is_read_in_the_same_round(
    make: Make, commands: CommandQueue[PipelineCommand]
) -> None:
    entries = [entry(position, records=10) for position in (1, 2, 3)]
    pipeline = make(MemoryReader(entries))
    pipeline.begin_round(load_round(backlog(entries[0])))
    assert pipeline.take_group()
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
    assert pipeline.take_group()
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
    assert pipeline.take_group()
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


def test_small_tables_come_together_and_a_large_one_alone(make: Make) -> None:
    small = [entry(position, f"small_{position}") for position in range(1, 6)]
    large = entry(6, "large", records=9)
    pipeline = make(MemoryReader([*small, large]))
    pipeline.group_limits = GroupLimits(step_bytes=len(small[0].payload), steps=3)
    pipeline.begin_round(load_round(*map(backlog, small), backlog(large)))
    groups = take_groups(pipeline)
    assert [[step.chunk.key[1] for step in group] for group in groups] == [
        ["small_1", "small_2", "small_3"],
        ["small_4", "small_5"],
        ["large"],
    ]


def test_a_large_table_is_not_read_before_the_small_ones_are_handed_over(make: Make) -> None:
    small, large = entry(1, "small"), entry(2, "large", records=9)
    reader = MemoryReader([small, large])
    pipeline = make(reader)
    pipeline.group_limits = GroupLimits(step_bytes=len(small.payload))
    steps = pipeline._read_steps(load_round(backlog(small), backlog(large)))
    pipeline._receive()
    groups = group_steps(steps, pipeline.group_limits)
    [step] = next(groups)
    assert (step.chunk.key, len(reader.reads)) == ((1, "small"), 1)


def step(name: str, size: int = 1, *, why: Exception | None = None) -> PreparedStep:
    chunk = EntryChunk((1, name), 0, (entry(1, name),), ())
    return PreparedStep(chunk, cast(PreparedLoad, object()) if why is None else why, size)


SIZES = st.sampled_from([1, 10, 11])
STEPS = st.lists(
    st.one_of(
        st.none(),
        st.builds(step, st.sampled_from("abcdef"), SIZES),
        st.builds(step, st.sampled_from("abcdef"), why=st.just(ValueError())),
    )
)


@given(STEPS, st.integers(1, 4))
def test_groups_keep_the_order_and_their_limits(
    steps: list[PreparedStep | None], steps_max: int
) -> None:
    groups = list(group_steps(steps, GroupLimits(10, steps_max)))
    assert [one for group in groups for one in group] == [one for one in steps if one is not None]
    for group in groups:
        assert 1 <= len(group) <= steps_max
        assert len({one.chunk.key for one in group}) == len(group)
        if len(group) > 1:
            assert all(one.size <= 10 for one in group)
            assert not any(isinstance(one.prepared, Exception) for one in group)


@pytest.mark.parametrize("transactional_ddl", [True, False])
def test_steps_come_together_where_a_transaction_writes_to_several_tables(
    transactional_ddl: bool,
) -> None:
    able = Capabilities(transactional_ddl=transactional_ddl)
    assert choose_group_limits(able).steps == 8
    assert choose_group_limits(replace(able, multi_table_transaction=False)).steps == 1
