"""Loads the tables of one destination, in a thread of its own.

A destination that is down or slow holds up only its own thread; a table that fails holds up only
itself. The thread decides what to load and when to try again. What it needs for that has objects
of its own: `LoadPipeline` reads and prepares ahead, `LoadExecutor` loads, `CommitRecovery` knows
what the destination has committed, `LoadReporting` tells store, log and operator.

The supervisor's thread sends commands and never waits for an answer, so no destination can hold it
up. It reads three things besides: `claimed_tables`, `identity`, and since when the destination has
not answered.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import (
    CommitUnknownError,
    Destination,
    FencedError,
    PlanOutdatedError,
    Session,
)
from treadle.destinations.retry import RETRY_PAUSE_SECONDS, open_with_retry
from treadle.errors import OperatorError, RetriableError
from treadle.loader.chunk import EntryChunk
from treadle.loader.commands import (
    POLL_SECONDS,
    AssignSources,
    CommandQueue,
    RetireLoader,
    SetBacklog,
    StopLoader,
)
from treadle.loader.commit_recovery import CommitRecovery
from treadle.loader.execution import LoadExecutor
from treadle.loader.lease import DestinationLease
from treadle.loader.load_report import build_failure_report
from treadle.loader.pipeline import (
    GroupLimits,
    LoadPipeline,
    LoadRound,
    PipelineCommand,
    PreparedStep,
    StepGroup,
)
from treadle.loader.reporting import LoadReporting, PendingReport
from treadle.loader.schedule import (
    FlushPolicy,
    LoadHistory,
    RetryBackoff,
    RetrySchedule,
    TableKey,
    select_due,
)
from treadle.log.protocol import LogReader, ReadLimits, TableBacklog
from treadle.quotas import SourceQuota
from treadle.store.model import Source
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

ROUND_US_MAX = 5_000_000
"""A round begins no load after this time. Then the session is closed, because others can read a
DuckDB file only while nobody has it open, and cycles are collected."""

ROUND_PAUSE_SECONDS = 5 * RETRY_PAUSE_SECONDS
"""The pause after a round of that length, where only one process can open the destination. A
process that waits for a DuckDB file tries every `RETRY_PAUSE_SECONDS`. A try takes as long, on a
busy machine three times as long. Without a pause hardly any try would fall between two rounds."""

HELD_SECONDS_MAX = 2.0
"""How long a file that another process holds is tried, before its destination counts as one that
cannot be used. A dry run lets go of it after the table that it is at."""

LoaderCommand = AssignSources | SetBacklog | RetireLoader | StopLoader


@dataclass(frozen=True, slots=True)
class LoaderDependencies:
    """The surroundings of one destination's loader: where it reads, loads and reports.

    Attributes:
        open_reader: opens a reader of the log, for this loader alone.
        open_destination: opens the destination; raises OperatorError when it cannot be used.
        store: keeps reports.
        flush_policy: when loads begin.
        read_limits: how much one load reads.
        clock: microseconds since 1970.
        new_id: returns a fresh load id.
        report_position: tells the log how far a table is loaded.
        lease: of this destination.
        priority: of the loader at a destination that one process at a time can open; None where
            nobody else opens it.
    """

    open_reader: Callable[[], LogReader]
    open_destination: Callable[[], Destination]
    store: Store
    flush_policy: FlushPolicy
    read_limits: ReadLimits
    clock: Callable[[], int]
    new_id: Callable[[], str]
    report_position: Callable[[TableKey, int], None]
    lease: DestinationLease
    priority: LoaderPriority | None = None


class _OpenParts(NamedTuple):
    """The objects that are made when the destination is used first."""

    destination: Destination
    reader: LogReader
    pipeline: LoadPipeline
    executor: LoadExecutor


class DestinationLoader:
    """The loader of one destination.

    It has a thread, and it opens and closes what it works with: nobody else waits for that.

    Args:
        destination_id: of the destination.
        dependencies: see there.
    """

    def __init__(self, destination_id: int, dependencies: LoaderDependencies) -> None:
        self._destination_id = destination_id
        self._dependencies = dependencies
        self._thread = threading.Thread(
            target=self._run, name=f"destination-{destination_id}", daemon=True
        )
        self._commands = CommandQueue[LoaderCommand]()
        self._pipeline_commands = CommandQueue[PipelineCommand]()
        self._reporting = LoadReporting(
            destination_id,
            dependencies.store,
            dependencies.report_position,
            lambda: self.identity,
        )
        self._recovery = CommitRecovery(
            dependencies.store, self._reporting, dependencies.read_limits, dependencies.clock
        )
        self._parts: _OpenParts | None = None
        # As the last commands said:
        self._sources: Mapping[int, Source] = {}
        self._backlogs: Sequence[TableBacklog] = ()
        self._is_retired = self._is_stopped = False

        self._retries = RetrySchedule()
        """When tables that failed may be tried again."""
        self._pauses = RetrySchedule(RetryBackoff(first_us=250_000, max_us=15_000_000))
        """When the destination may be tried again, under the key `_all_tables`."""
        self._ended: dict[TableKey, int] = {}
        """The time when each table's last load here ended."""
        self._all_tables: TableKey = (destination_id, "")
        self._claimed: frozenset[TableKey] = frozenset()
        """The tables that it may commit now, or `_all_tables`; read by the supervisor's thread."""
        self._waiting_since: int | None = None
        """The time since which the destination has been at a load or at opening, else None.
        Read by the supervisor's thread."""

    # --- for the supervisor's thread --------------------------------------------------------------

    @property
    def identity(self) -> str:
        """Return the name of the destination for the operator."""
        if (parts := self._parts) is None:
            return f"destination {self._destination_id}"
        return parts.destination.identity

    @property
    def claimed_tables(self) -> frozenset[TableKey]:
        """Return the tables that it may still commit or record, and nobody else may load meanwhile.

        It begins no table of a source that was taken away by `assign_sources`, even if it has not
        received that command yet. A table named `` stands for all.
        """
        # In this order: a load that is committed is pending before its table is no longer claimed.
        claimed = self._claimed
        return claimed.union(self._reporting.pending_tables, self._recovery.uncertain)

    def assign_sources(
        self, sources: Mapping[int, Source], quotas: Mapping[int, SourceQuota] | None = None
    ) -> None:
        """Say which sources load into this destination; their backlog is to be set anew.

        Args:
            sources: by id.
            quotas: see `AssignSources`.
        """
        command = AssignSources(sources, quotas or {})
        self._commands.put(command)
        self._pipeline_commands.put(command)

    def set_backlog(self, backlogs: Sequence[TableBacklog]) -> None:
        """Say what waits for this destination now."""
        self._pipeline_commands.put(SetBacklog(backlogs))
        self._commands.put(SetBacklog(backlogs))

    def report_silence(self) -> None:
        """Tell the operator when the destination does not answer; its own thread cannot."""

        def measure() -> int | None:
            since = self._waiting_since
            return None if since is None else self._dependencies.clock() - since

        self._reporting.report_silence(measure)

    def retire(self) -> None:
        """Ask the thread to end because its destination is gone, or another loader has its place.

        It begins no load. It ends when what it loaded is known and recorded, as far as that can be
        waited for: nobody else would ever know of it.
        """
        self.assign_sources({})
        self._reporting.retire()
        self._commands.put(RetireLoader())

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after the load it is in."""
        self._commands.put(StopLoader())

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end of the thread, at most so long."""
        self._thread.join(timeout_seconds)

    def load_once(self, backlogs: Sequence[TableBacklog]) -> None:
        """Load these backlogs in the calling thread, whatever their age, instead of `start`."""
        self._receive()
        self._run_once(backlogs, None)
        self._reporting.write_lines()

    def close(self) -> None:
        """Close what was opened; the thread does so itself at its end."""
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.pipeline.close()
            parts.reader.close()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        """Load what is due until asked to stop."""
        try:
            while True:
                self._receive()
                if self._is_stopped:
                    break
                now = self._dependencies.clock()
                self._reporting.write_lines(now)
                self._recovery.drop_expired(self._sources, self.identity)
                has_open_ends = self._reporting.pending_tables or self._recovery.uncertain
                if self._is_retired and not has_open_ends:
                    break
                chosen: list[TableBacklog] = []
                if self._parts is not None:
                    policy, history = self._dependencies.flush_policy, self._history()
                    chosen = select_due(self._backlogs, self._sources, history, policy, now)
                todo = chosen or has_open_ends or self._parts is None
                if not todo or not self._pauses.may_retry(self._all_tables, now):
                    self._receive(POLL_SECONDS)
                    continue
                self._run_once(chosen, ROUND_US_MAX)
                if self._dependencies.clock() - now >= ROUND_US_MAX:
                    self._leave_time_for_others()
            self._reporting.flush_if_possible()
        finally:
            self.close()

    def _receive(self, timeout_seconds: float = 0.0) -> None:
        """Obey the commands that wait; wait for the first one at most so long."""
        for command in self._commands.receive(timeout_seconds):
            match command:
                case AssignSources(sources, _):
                    self._sources, self._backlogs = sources, ()
                case SetBacklog(backlogs):
                    self._backlogs = backlogs
                case RetireLoader():
                    self._is_retired = True
                case StopLoader():
                    self._is_stopped = True

    def _leave_time_for_others(self) -> None:
        """Let a destination alone that only one process can open, for those who wait for it."""
        if self._parts is None or not self._parts.destination.capabilities.exclusive:
            return
        until = time.monotonic() + ROUND_PAUSE_SECONDS
        while not self._is_stopped and (left := until - time.monotonic()) > 0:
            self._receive(left)

    def _history(self) -> LoadHistory:
        return LoadHistory(self._recovery.offsets or {}, self._ended, self._retries)

    def _open(self) -> _OpenParts:
        its = self._dependencies
        destination = its.open_destination()
        reader = its.open_reader()
        pipeline = LoadPipeline(
            reader,
            destination.profile,
            its.flush_policy,
            its.read_limits,
            its.clock,
            self._pipeline_commands,
            ThreadPoolExecutor(1, thread_name_prefix=f"{self._thread.name}-prepare"),
            GroupLimits() if destination.capabilities.transactional_ddl else GroupLimits(steps=1),
            its.store.installation_id,
        )
        executor = LoadExecutor(reader.log_id, its.lease, its.clock, its.new_id)
        self._parts = _OpenParts(destination, reader, pipeline, executor)
        logger.info("loading into %s", self.identity)
        return self._parts

    def _run_once(self, backlogs: Sequence[TableBacklog], round_us: int | None) -> None:
        """Load one round; when it cannot be finished, leave the destination alone for a while.

        Args:
            backlogs: to begin with; empty only to ask what the destination has committed.
            round_us: how long loads are begun, microseconds; None until nothing waits.
        """
        clock = self._dependencies.clock
        try:
            self._reporting.flush()  # what could not be recorded in the last round
            parts = self._parts or self._open()
            if backlogs or self._recovery.uncertain:
                until = None if round_us is None else clock() + round_us
                self._load_round(parts, backlogs, until)
        except (RetriableError, OperatorError) as error:
            self._recovery.forget_offsets()
            pause_us = self._pauses.add_failure(self._all_tables, clock())
            self._reporting.report_trouble(str(error), pause_us)
        except Exception:
            # A fault of ours must not end the loading of the other tables for good: what is in
            # the log stays there, and the destination is asked anew where it stands.
            self._recovery.forget_offsets()
            self._pauses.add_failure(self._all_tables, clock())
            logger.exception("loading into %s failed", self.identity)
        else:
            self._pauses.clear_failures(self._all_tables)
        finally:
            self._waiting_since = None
            # An error holds, in a cycle, all that was being loaded when it came up.
            gc.collect()

    def _load_round(
        self, parts: _OpenParts, backlogs: Sequence[TableBacklog], until: int | None
    ) -> None:
        """Load every backlog in turn, one chunk being prepared while another is written.

        Args:
            parts: to load with.
            backlogs: to begin with.
            until: when no further load is begun, microseconds since 1970; None for never.
        """
        self._dependencies.lease.fence()
        self._waiting_since = self._dependencies.clock()
        with self._open_session(parts.destination) as session:
            self._fetch_offsets(parts, session)
            self._waiting_since = None
            history = self._history().copy()
            parts.pipeline.begin_round(LoadRound(backlogs, history, until))
            skipped: frozenset[TableKey] = frozenset()
            try:
                while not self._is_stopped:
                    group = parts.pipeline.take_group()
                    if not group:
                        break
                    self._reporting.flush()
                    self._reporting.write_lines(self._dependencies.clock())
                    group = tuple(step for step in group if step.chunk.key not in skipped)
                    if len(group) > 1 and self._load_group(parts.executor, session, group):
                        group = ()
                    for step in group:
                        self._reporting.flush()
                        if not self._load_step(parts.executor, session, step):
                            # What follows of the table does not follow what is there.
                            skipped |= {step.chunk.key}
                            parts.pipeline.skip_tables(skipped)
                        del step
                        if self._is_stopped:
                            break
                    del group
                    self._receive()
            finally:
                parts.pipeline.end_round()
        self._reporting.clear_trouble()

    @contextmanager
    def _open_session(self, destination: Destination) -> Iterator[Session]:
        """Open the destination; one that somebody else holds for a moment is tried again at once.

        Who reads a DuckDB file lets go of it within that time. The pause of a failed round grows
        and would be missed by that: one reader after another could keep the loader away.
        """
        if not destination.capabilities.exclusive:
            with destination.open() as session:
                yield session
            return
        priority = self._dependencies.priority
        claim = nullcontext() if priority is None else priority.claim(destination.identity)
        with claim, open_with_retry(destination.open, seconds=HELD_SECONDS_MAX) as session:
            yield session

    def _fetch_offsets(self, parts: _OpenParts, session: Session) -> None:
        """Ask the destination what it has committed, if that is not known."""
        if self._recovery.offsets is not None:
            return
        found = session.committed(parts.reader.log_id)
        # What is recorded below must not come after what another loader records (see `_claim`).
        self._claimed = frozenset((self._all_tables,))
        try:
            self._receive()
            self._recovery.recover(found, parts.reader, self._sources)
        finally:
            self._claimed = frozenset()

    def _load_group(self, executor: LoadExecutor, session: Session, group: StepGroup) -> bool:
        """Load small steps in one transaction and record them; return whether that was possible.

        If it was not, the steps are to be loaded alone, which says of each what is wrong with it.
        That is safe whatever came up here, because the destination refuses a plan whose offset it
        holds already.

        Raises:
            RetriableError: the destination or the store cannot be used.
        """
        if not self._claim(step.chunk.key for step in group):
            return False
        self._waiting_since = self._dependencies.clock()
        try:
            reports = self._try_group(executor, session, group)
            if reports is None:
                return False
            # Before the reports: whatever becomes of them, the loads are committed.
            for chunk, _, _ in group:
                self._recovery.advance_offset(chunk.key, chunk.last)
            self._reporting.record(reports)
        finally:
            self._waiting_since = None
            self._claimed = frozenset()
        ended_at = self._dependencies.clock()
        for chunk, _, _ in group:
            self._retries.clear_failures(chunk.key)
            self._ended[chunk.key] = ended_at
        return True

    def _try_group(
        self, executor: LoadExecutor, session: Session, group: StepGroup
    ) -> Sequence[PendingReport] | None:
        """Load steps in one transaction; None when they have to be loaded alone."""
        try:
            return executor.load_group(session, group)
        except FencedError as error:
            self._dependencies.lease.invalidate()
            raise RetriableError(str(error)) from error
        except CommitUnknownError:
            for chunk, _, _ in group:
                self._recovery.add_uncertain(chunk.key, chunk.last)
            raise
        except PlanOutdatedError:
            return None
        except RetriableError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it comes again with the table it is of
            return None

    def _load_step(self, executor: LoadExecutor, session: Session, step: PreparedStep) -> bool:
        """Load a step and record it; return whether its table can be loaded further.

        Raises:
            RetriableError: the destination cannot be used.
            Exception: a fault of ours.
        """
        chunk = step.chunk
        if not self._claim((chunk.key,)):
            return False
        self._waiting_since = self._dependencies.clock()
        try:
            report = executor.load(session, step)
            # Before the report: whatever becomes of that, the load is committed.
            self._recovery.advance_offset(chunk.key, chunk.last)
            self._reporting.record([report])
        except FencedError as error:
            self._dependencies.lease.invalidate()
            raise RetriableError(str(error)) from error
        except (OperatorError, PlanOutdatedError) as error:
            # The load may have been committed before this came up.
            self._recovery.forget_offsets()
            self._record_failure(chunk, error)
            return False
        except CommitUnknownError:
            self._recovery.add_uncertain(chunk.key, chunk.last)
            raise
        except RetriableError:
            raise
        except Exception as error:
            # Whatever it is, it came with this table: the others go on without it.
            if error is not step.prepared:
                self._recovery.add_uncertain(chunk.key, chunk.last)
            self._record_failure(chunk, error)
            raise
        finally:
            self._waiting_since = None
            self._claimed = frozenset()
        self._retries.clear_failures(chunk.key)
        self._ended[chunk.key] = self._dependencies.clock()
        return True

    def _claim(self, keys: Iterable[TableKey]) -> bool:
        """Claim tables; return whether the sources of all still load here."""
        # They are claimed before the commands are received. Whoever takes a source away sends the
        # command first and then looks at the claims: either it finds this claim, or the command
        # is received here.
        self._claimed = frozenset(keys)
        self._receive()
        if all(source_id in self._sources for source_id, _ in self._claimed):
            return True
        self._claimed = frozenset()
        return False

    def _record_failure(self, chunk: EntryChunk, error: Exception) -> None:
        """Record that a table cannot be loaded for now; the others go on."""
        now = self._dependencies.clock()
        pause_us = self._retries.add_failure(chunk.key, now)
        load = build_failure_report(chunk, str(error), self._dependencies.new_id(), now, now)
        self._reporting.record_failure(load, error, pause_us)
