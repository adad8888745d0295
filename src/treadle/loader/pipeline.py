"""Reads the log and prepares loads ahead, in a thread of its own.

While the database works on one load, the next one is read and prepared (the drivers release the
interpreter lock). A round goes in as a value; prepared steps come out one at a time. At most one
step waits to be taken, because a step is in memory several times over.

The two threads share nothing but that one step and a queue of commands, which only the pipeline's
thread receives.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from treadle.clock import read_monotonic
from treadle.destinations.capabilities import Capabilities
from treadle.loader.chunk import EntryChunk, build_chunk
from treadle.loader.commands import POLL_SECONDS, AssignSources, CommandQueue, SetBacklog
from treadle.loader.schedule import FlushPolicy, LoadHistory, RoundProgress, TableKey, select_due
from treadle.loader.turns import SourceTurns
from treadle.log.joined import choose_reader
from treadle.log.protocol import READ_BYTES_MAX, LogReader, ReadLimits, TableBacklog
from treadle.quotas import SourceQuota
from treadle.records.message_batch import decode_batch
from treadle.store.model import Source
from treadle.tables.options import make_options
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import SchemaOwner

ROUND_TABLES_MAX: Final = 5_000
"""Tables of one round: what a round notes of each table is kept until its end."""

NEWCOMER_LOOK_US: Final = 250_000
"""The time between two looks for sources that begin to wait while those of others are loaded."""


@dataclass(frozen=True, slots=True)
class LoadRound:
    """The loads of one session.

    Attributes:
        backlogs: to begin with, in order.
        history: of loads before the round.
        until: when no further load is begun, microseconds since 1970; None for never.
    """

    backlogs: Sequence[TableBacklog]
    history: LoadHistory
    until: int | None


class PreparedStep(NamedTuple):
    """A chunk, what it comes to or why it could not be prepared, and its bytes in the log."""

    chunk: EntryChunk
    prepared: PreparedLoad | Exception
    size: int


StepGroup = tuple[PreparedStep, ...]
"""Steps that may be loaded in one transaction: small ones of different tables, or a single one."""


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Bounds of a `StepGroup`: a longer transaction saves little and keeps rows from being seen.

    Attributes:
        step_bytes: size in the log of a step that may be in one with others.
        steps: number of steps; 1 where each load needs a transaction of its own.
    """

    step_bytes: int = 64 * 1024
    steps: int = 8


def choose_group_limits(capabilities: Capabilities) -> GroupLimits:
    """Return which steps come together in a destination with these abilities."""
    return GroupLimits() if capabilities.multi_table_transaction else GroupLimits(steps=1)


@dataclass(frozen=True, slots=True)
class AwaitStep:
    """The destination's thread loads nothing, and waits for the group of this number."""

    number: int


@dataclass(frozen=True, slots=True)
class SkipTables:
    """These tables are not to be read further in the round."""

    keys: frozenset[TableKey]


PipelineCommand = AssignSources | SetBacklog | AwaitStep | SkipTables


@dataclass(slots=True)
class LoadPipeline:
    """Reads and prepares what one destination loads.

    The destination's thread calls its methods. Other threads put `AssignSources` and `SetBacklog`
    into the commands.

    Attributes:
        reader: of the log; only the pipeline reads while a round lasts.
        profile: of the destination.
        policy: when loads begin.
        limits: how much one load reads.
        clock: microseconds since 1970.
        commands: to the pipeline's thread.
        thread: the pipeline's thread.
        group_limits: which steps come together.
        installation_id: of the store that knows the sources.
        may_read: returns whether a table is open to this process (`DestinationShare.is_open`);
            None where all are.
    """

    reader: LogReader
    profile: DestinationProfile
    policy: FlushPolicy
    limits: ReadLimits
    clock: Callable[[], int]
    commands: CommandQueue[PipelineCommand]
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    group_limits: GroupLimits = GroupLimits()
    installation_id: str = ""
    may_read: Callable[[TableKey], bool] | None = None

    # Of the destination's thread:
    _following: "Future[StepGroup] | None" = None
    _requested: int = 0
    _groups: Iterator[StepGroup] = field(default_factory=lambda: iter(()))

    # Of the pipeline's thread:
    _sources: Mapping[int, Source] = field(default_factory=dict)
    _quotas: Mapping[int, SourceQuota] = field(default_factory=dict)
    _backlogs: Sequence[TableBacklog] = ()
    _skipped: frozenset[TableKey] = frozenset()
    _turns: SourceTurns = field(default_factory=SourceTurns)
    """It is kept from round to round, so that a round goes on with whose turn it is."""
    _number: int = 0
    _awaited: int = 0

    # --- for the destination's thread -------------------------------------------------------------

    def begin_round(self, load_round: LoadRound) -> None:
        """Read what is to be loaded in this round; it ends with `end_round`."""
        self.commands.put(SkipTables(frozenset()))
        self._groups = group_steps(self._read_steps(load_round), self.group_limits)
        self._following = self._request_group()

    def take_group(self) -> StepGroup:
        """Wait for the next steps and return them; none when nothing more is due.

        Those after them are prepared at once, unless a step is so large that there is no memory
        for both: then they are prepared when they are asked for, and the caller has let go of this.
        """
        following = self._following or self._request_group()
        self.commands.put(AwaitStep(self._requested))
        group = following.result()
        self._following = None
        if group and group[0].size <= READ_BYTES_MAX:
            self._following = self._request_group()
        return group

    def skip_tables(self, keys: frozenset[TableKey]) -> None:
        """Read no more of these tables in this round."""
        self.commands.put(SkipTables(keys))

    def end_round(self) -> None:
        """Wait until nothing is read any more, and drop what was prepared."""
        if self._following is not None:
            self.commands.put(AwaitStep(self._requested))
            wait([self._following])
        self._following = None
        self._groups = iter(())

    def close(self) -> None:
        """End the thread."""
        self.thread.shutdown()

    def _request_group(self) -> "Future[StepGroup]":
        self._requested += 1
        return self.thread.submit(self._next_group, self._groups)

    # --- the thread -------------------------------------------------------------------------------

    def _next_group(self, groups: Iterator[StepGroup]) -> StepGroup:
        self._number += 1
        self._receive()
        return next(groups, ())

    def _receive(self, timeout_seconds: float = 0.0) -> None:
        """Obey the commands that wait."""
        for command in self.commands.receive(timeout_seconds):
            match command:
                case AssignSources(sources, quotas):
                    self._sources, self._backlogs = sources, ()
                    self._quotas = quotas
                    self._turns.weights = {source: its.weight for source, its in quotas.items()}
                case SetBacklog(backlogs):
                    self._backlogs = backlogs
                case AwaitStep(number):
                    self._awaited = number
                case SkipTables(keys):
                    self._skipped = keys

    def _read_steps(self, load_round: LoadRound) -> Iterator[PreparedStep | None]:
        """Yield what is due, source by source in turn, and then what becomes due meanwhile.

        None comes before anything that takes long: who gathers steps hands them over first.

        Ends when the round is over, but not before the first step, or when nothing is due and
        nothing is being loaded.
        """
        progress: dict[TableKey, RoundProgress] = {}

        def is_over() -> bool:
            if load_round.until is None:
                return False
            return self.clock() >= load_round.until or len(progress) >= ROUND_TABLES_MAX

        turns = self._turns
        turns.offer(load_round.backlogs)
        looked_at = self.clock()
        while True:
            backlog = turns.take()
            if backlog is None:
                yield None
                turns.offer(self._await_backlogs(load_round, progress, is_over))
                looked_at = self.clock()
                backlog = turns.take()
            if backlog is None:
                return
            if backlog.size > self.group_limits.step_bytes:
                yield None
            step = self._read_chunk(backlog, progress, load_round.history)
            if step is not None:
                has_more = step.chunk.last < backlog.last
                if has_more:
                    turns.put_back(backlog)
                yield step
                del step
                if is_over():
                    return
                if has_more:
                    yield None
            now = self.clock()
            if now - looked_at >= NEWCOMER_LOOK_US:
                looked_at = now
                turns.add(self._select_newcomers(load_round, progress, now))

    def _select_newcomers(
        self, load_round: LoadRound, progress: Mapping[TableKey, RoundProgress], now: int
    ) -> Sequence[TableBacklog]:
        """Return what is due of sources that do not wait for a turn yet.

        They would otherwise wait until all that is due of the others is loaded. What the others
        have besides is looked at then: to judge 20,000 tables takes some hundredths of a second.
        """
        turns = self._turns
        newcomers = [one for one in self._backlogs if not turns.is_waiting(one.source_id)]
        return self._select_due(newcomers, load_round, progress, now) if newcomers else ()

    def _select_due(
        self,
        backlogs: Sequence[TableBacklog],
        load_round: LoadRound,
        progress: Mapping[TableKey, RoundProgress],
        now: int,
    ) -> Sequence[TableBacklog]:
        may_read = self.may_read
        if may_read is not None:
            backlogs = [one for one in backlogs if may_read((one.source_id, one.table_name))]
        return select_due(
            backlogs,
            self._sources,
            load_round.history,
            self.policy,
            now,
            monotonic=read_monotonic(),
            progress=progress,
            skipped=self._skipped,
        )

    def _await_backlogs(
        self,
        load_round: LoadRound,
        progress: Mapping[TableKey, RoundProgress],
        is_over: Callable[[], bool],
    ) -> Sequence[TableBacklog]:
        """Return what became due, as soon as there is something; nothing when the round is over."""
        self._receive()
        while not is_over():
            is_last_look = self._awaited == self._number
            backlogs = self._select_due(self._backlogs, load_round, progress, self.clock())
            if backlogs or is_last_look:
                return backlogs
            self._receive(POLL_SECONDS)
        return ()

    def _read_chunk(
        self,
        backlog: TableBacklog,
        progress: dict[TableKey, RoundProgress],
        history: LoadHistory,
    ) -> PreparedStep | None:
        """Return the next chunk of a table, prepared; None when it is skipped or loads elsewhere.

        None, too, when nothing of the backlog is left in the log.
        """
        key = (backlog.source_id, backlog.table_name)
        if key in progress:
            begin = after = progress[key].last
        else:
            after = history.offsets.get(key, -1)
            # A destination that has committed no offset starts where the table stands: switching
            # the destination moves nothing (loading.md 5.5). What the log says of that is a hint,
            # which a loader that stood still may have set back, so the store is believed, too. One
            # that has lost the table gets all that is there.
            begin = after
            if key not in history.offsets and key not in history.lost:
                begin = max(backlog.loaded, history.find_last(key))
        if begin >= backlog.last:
            return None
        self._receive()
        source = self._sources.get(backlog.source_id)
        if source is None or key in self._skipped:
            return None
        items = self.reader.read(*key, begin, self.limits.records, self.limits.size)
        its = choose_reader(self.reader, backlog.source_id)
        chunk = build_chunk(key, after, items, its.get_anchor)
        if chunk is None:
            return None
        # Only this list keeps the payloads, so that each is released when it is decoded: half of a
        # load's bytes.
        payloads = [entry.payload for entry in chunk.entries]
        size = sum(map(len, payloads))
        chunk = chunk.without_payloads()
        progress.setdefault(key, RoundProgress()).add_chunk(
            chunk.last, items[-1].received_at, chunk.records, size
        )
        del items
        return PreparedStep(chunk, self._prepare(chunk, payloads, source), size)

    def _prepare(
        self, chunk: EntryChunk, payloads: list[bytes], source: Source
    ) -> PreparedLoad | Exception:
        """Prepare a chunk from what its entries carried, which is let go of piece by piece.

        An error is returned. Whoever loads the chunk raises it, so that it stops this table alone.
        """
        payloads.reverse()
        try:
            return prepare_load(
                [
                    LogBatch(decode_batch(payloads.pop()), entry.position, entry.received_at)
                    for entry in chunk.entries
                ],
                schema=source.schema,
                source_name=chunk.key[1],
                owner=SchemaOwner(self.installation_id, source.account_id, source.id),
                profile=self._limit_columns(source.id),
                options=make_options(source.settings, chunk.key[1]),
            )
        except Exception as error:  # noqa: BLE001 - raised again by who loads the chunk
            return error

    def _limit_columns(self, source_id: int) -> DestinationProfile:
        """Return the profile of the destination with no more columns than a source may have."""
        quota = self._quotas.get(source_id, SourceQuota()).columns
        there = self.profile.columns_max
        if not quota or (there is not None and there <= quota):
            return self.profile
        return replace(self.profile, columns_max=quota)


def group_steps(steps: Iterable[PreparedStep | None], limits: GroupLimits) -> Iterator[StepGroup]:
    """Put small steps that follow each other into groups; the order stays.

    A step that could not be prepared, or that has damaged entries, is alone: what is said of it
    concerns no other table. Two steps of one table are in different groups, because the second
    is planned with what the first has done.

    Args:
        steps: in order; None where a group ends.
        limits: which steps come together.
    """
    group: dict[TableKey, PreparedStep] = {}
    for step in steps:
        can_share = step is not None and may_share(step, limits)
        if group and (step is None or not can_share or step.chunk.key in group):
            yield tuple(group.values())
            group.clear()
        if step is None:
            continue
        if can_share:
            group[step.chunk.key] = step
        else:
            yield (step,)
        del step
        if len(group) >= limits.steps:
            yield tuple(group.values())
            group.clear()
    if group:
        yield tuple(group.values())


def may_share(step: PreparedStep, limits: GroupLimits) -> bool:
    """Return whether a step may be loaded in one transaction with others."""
    return (
        step.size <= limits.step_bytes
        and not isinstance(step.prepared, Exception)
        and not step.chunk.damaged
    )
