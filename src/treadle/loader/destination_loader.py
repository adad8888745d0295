"""Loads the tables of one destination, in a thread of its own.

A destination that is down or slow holds up only its own thread; a table that fails holds up only
itself. The thread decides what to load and when to try again. What it needs for that has objects
of its own: `LoadPipeline` reads and prepares ahead, `StepLoader` loads with a `LoadExecutor`,
`CommitRecovery` knows what the destination has committed, `LoadReporting` tells store, log and
operator.

The supervisor's thread sends commands and never waits for an answer, so no destination can hold it
up. It reads four things besides: `claimed_tables`, `answered_moves`, `identity`, and since when the
destination has not answered.

Other processes may load other tables of the destination. Which tables are whose is said by units
(`DestinationShare`). With a new one the destination is asked first what it has committed.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

from treadle import failpoint
from treadle.clock import read_monotonic
from treadle.counting import count_noun
from treadle.destinations.file_check import check_file
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import (
    CommittedOffset,
    Destination,
    DestinationUnavailableError,
    NamedSessions,
    Session,
)
from treadle.destinations.retry import RETRY_PAUSE_SECONDS, open_with_retry
from treadle.errors import OperatorError, RetriableError
from treadle.loader.answer_wait import AnswerWait
from treadle.loader.asked_logs import AskedLogs
from treadle.loader.chunk import EntryChunk
from treadle.loader.commands import (
    POLL_SECONDS,
    REST_SECONDS,
    AskOffsets,
    AssignSources,
    CommandQueue,
    MoveKey,
    RetireLoader,
    SetBacklog,
    StopLoader,
    TakeRequests,
)
from treadle.loader.commit_recovery import CommitRecovery
from treadle.loader.destination_share import DestinationShare
from treadle.loader.execution import LoadExecutor
from treadle.loader.hold_watch import HoldWatch
from treadle.loader.load_ending import LoadEnding
from treadle.loader.load_texts import describe_source
from treadle.loader.pipeline import (
    LoadPipeline,
    LoadRound,
    PipelineCommand,
    choose_group_limits,
)
from treadle.loader.reporting import LoadReporting
from treadle.loader.schedule import (
    FlushPolicy,
    RetryBackoff,
    RetrySchedule,
    TableKey,
    select_due,
)
from treadle.loader.step_loader import StepLoader
from treadle.loader.table_claims import TableClaims
from treadle.log.joined import get_log_id
from treadle.log.protocol import LogReader, ReadLimits, TableBacklog
from treadle.quotas import SourceQuota
from treadle.store.model import LoadReport, Source
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

HURRY_US = 5_000_000
"""A table that somebody wants loaded is loaded at once if something of it waits within this
time. Afterwards its records wait for their age again."""

ROUND_US_MAX = 5_000_000
"""A round begins no load after this time. Then the session is closed, because others can read a
DuckDB file only while nobody has it open, and cycles are collected."""

ROUND_PAUSE_SECONDS = 5 * RETRY_PAUSE_SECONDS
"""The pause after a round of that length, where only one process can open the destination. A
process that waits for a DuckDB file tries every `RETRY_PAUSE_SECONDS`. A try takes as long, on a
busy machine three times as long. Without a pause hardly any try would fall between two rounds."""

HELD_SECONDS_MAX = 2.0
"""Seconds in which the loader tries to open a file that another process holds, before it reports
that the destination cannot be used. A dry run closes the file after its present table."""

QUESTION_SECONDS_MAX = 70.0
"""Seconds in which it waits for a question, which reads the file and is ended before that."""

LoaderCommand = AssignSources | SetBacklog | AskOffsets | TakeRequests | RetireLoader | StopLoader


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
        share: the units of this destination that this process has.
        priority: of the loader at a destination that one process at a time can open; None where
            nobody else opens it.
        note_load: called with each load that was committed and recorded.
        place: the URL of the destination without its password, for the operator; empty for its
            identity.
        note_entries: called with the id of the log, the name of the source, the entries and the
            report of each load that was recorded; None for nobody.
        hold: bounds how long a reader may hold the file of the destination; None for no bound.
    """

    open_reader: Callable[[], LogReader]
    open_destination: Callable[[], Destination]
    store: Store
    flush_policy: FlushPolicy
    read_limits: ReadLimits
    clock: Callable[[], int]
    new_id: Callable[[], str]
    report_position: Callable[[TableKey, int], None]
    share: DestinationShare
    priority: LoaderPriority | None = None
    note_load: Callable[[LoadReport], None] = lambda load: None
    place: str = ""
    hold: HoldWatch | None = None
    note_entries: Callable[[str, str, EntryChunk, LoadReport], None] | None = None


class _OpenParts(NamedTuple):
    """The objects that are made when the destination is used first."""

    destination: Destination
    reader: LogReader
    pipeline: LoadPipeline
    steps: StepLoader
    policy: FlushPolicy
    place: str


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
            lambda: dependencies.place or self.identity,
            dependencies.note_load,
            lambda source_id: name_source(self._sources, source_id),
            lambda: "" if self._parts is None else self._parts.place,
        )
        self._recovery = CommitRecovery(
            dependencies.store, self._reporting, dependencies.read_limits, dependencies.clock
        )
        self._parts: _OpenParts | None = None
        # As the last commands said:
        self._sources: Mapping[int, Source] = {}
        self._backlogs: Sequence[TableBacklog] = ()
        self._asked: frozenset[MoveKey] = frozenset()
        self._is_retired = self._is_stopped = False
        self._is_offered = False
        """Whether something waited at the last `set_backlog`."""
        self._is_tried = False
        """Whether the destination was asked, so that the operator knows if it can be used."""
        self._asked_tables = SimpleQueue[TableKey]()
        self._hurried: dict[TableKey, int] = {}
        """Tables that somebody wants loaded, and until when that holds."""

        self._answered: frozenset[MoveKey] = frozenset()
        """Replaced as a whole: the supervisor's thread reads it."""
        self._logs = AskedLogs()
        self._ending = LoadEnding()
        self._pauses = RetrySchedule(RetryBackoff(first_us=250_000, max_us=15_000_000))
        """When the destination may be tried again, under the key `_all_tables`."""
        self._all_tables: TableKey = (destination_id, "")
        self._claims = TableClaims(self._receive, dependencies.share.may_begin)
        self._wait = AnswerWait(dependencies.clock)

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
        claimed = self._claims.tables
        return claimed.union(self._reporting.pending_tables, self._recovery.uncertain)

    @property
    def answered_moves(self) -> frozenset[MoveKey]:
        """Return those of `ask_offsets` for which the destination has answered.

        What it has committed of the units of this process was recorded and reported. With a unit
        that came since it has to be asked again.
        """
        # In this order: the answers are forgotten before further units are open.
        answered = self._answered
        return frozenset() if self._dependencies.share.is_stale else answered

    @property
    def is_prepared(self) -> bool:
        """Return whether the thread has all that it needs to load: drivers, readers, a thread."""
        return self._parts is not None

    @property
    def share(self) -> DestinationShare:
        """Return the units of the destination that this process has."""
        return self._dependencies.share

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

    def ask_offsets(self, moves: frozenset[MoveKey]) -> None:
        """Have the destination asked what it has committed of the sources of some moves.

        Args:
            moves: all that are to be answered; the sources of some came here, of others left. It
                comes after the `assign_sources` that says so.
        """
        self._commands.put(AskOffsets(moves))

    def set_backlog(self, backlogs: Sequence[TableBacklog]) -> None:
        """Say what waits for this destination now."""
        if not backlogs and not self._is_offered:
            return  # nothing waited before, either: the thread rests
        self._is_offered = bool(backlogs)
        self._pipeline_commands.put(SetBacklog(backlogs))
        self._commands.put(SetBacklog(backlogs))

    def load_now(self, key: TableKey) -> None:
        """Load a table at once, whatever its age, and whatever failed before."""
        self._asked_tables.put(key)
        self._commands.put(TakeRequests())

    def report_silence(self) -> None:
        """Tell the operator when the destination does not answer; its own thread cannot."""
        self._reporting.report_silence(self._wait.measure)

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
                has_open_ends = self._has_open_ends()
                if self._is_retired and not has_open_ends:
                    break
                chosen: list[TableBacklog] = []
                self._take_asked(now)
                if self._parts is not None:
                    history = self._parts.steps.history
                    self._reporting.retell(self._backlogs, self._sources, history, now)
                    chosen = select_due(
                        self._backlogs,
                        self._sources,
                        history,
                        self._parts.policy,
                        now,
                        monotonic=read_monotonic(),
                        hurried=self._hurried,
                    )
                    for backlog in chosen:
                        self._hurried.pop((backlog.source_id, backlog.table_name), None)
                if self._logs.is_log_away:
                    chosen = [one for one in chosen if self._logs.was_asked(one.source_id)]
                    has_open_ends = self._has_open_ends(self._logs.was_asked)
                may_try_early = not self.share.is_exclusive or not self.share.is_empty
                is_untried = not self._is_tried and may_try_early
                todo = chosen or has_open_ends or is_untried or self._ending.is_due(now)
                may_try = self._pauses.may_retry(self._all_tables, now)
                if not todo or not may_try or not self.share.is_current:
                    is_busy = bool(self._backlogs or todo or self._hurried)
                    self._receive(POLL_SECONDS if is_busy else REST_SECONDS)
                    continue
                self._run_once(chosen, ROUND_US_MAX)
                if self._dependencies.clock() - now >= ROUND_US_MAX:
                    self._leave_time_for_others()
            self._reporting.flush_if_possible()
        finally:
            self.close()

    def _has_open_ends(self, may_ask: Callable[[int], bool] = lambda source_id: True) -> bool:
        """Return whether something is to be recorded, or to be asked of the destination.

        Args:
            may_ask: returns whether it can be asked of a source now.
        """
        return bool(
            self._reporting.pending_tables
            or any(may_ask(source_id) for source_id, _ in self._recovery.uncertain)
            or any(may_ask(source_id) for source_id, _ in self._asked - self.answered_moves)
        )

    def _receive(self, timeout_seconds: float = 0.0) -> Mapping[int, Source]:
        """Obey the commands that wait; wait for the first one at most so long.

        Returns:
            The sources that load here then.
        """
        for command in self._commands.receive(timeout_seconds):
            match command:
                case AssignSources(sources, _):
                    self._sources, self._backlogs = sources, ()
                case SetBacklog(backlogs):
                    self._backlogs = backlogs
                case AskOffsets(moves):
                    if moves - self._asked:
                        # Somebody else may have committed offsets there since.
                        self._recovery.forget_offsets()
                    self._asked = moves
                    self._answered &= moves
                case TakeRequests():
                    pass  # they are taken in the round that begins with this
                case RetireLoader():
                    self._is_retired = True
                    self._asked = frozenset()
                case StopLoader():
                    self._is_stopped = True
        return self._sources

    def _take_asked(self, now: int) -> None:
        """Note which tables somebody wants loaded, for as long as that means what waits now."""
        fresh: list[TableKey] = []
        while not self._asked_tables.empty():  # only this thread takes from it
            fresh.append(self._asked_tables.get())
        if fresh:
            self._pauses.clear_failures(self._all_tables)
            if self._parts is not None:
                self._parts.steps.forget_failures(fresh)
        if fresh or self._hurried:
            kept = {key: until for key, until in self._hurried.items() if until > now}
            self._hurried = kept | dict.fromkeys(fresh, now + HURRY_US)

    def _leave_time_for_others(self) -> None:
        """Let a destination alone that only one process can open, for those who wait for it."""
        if self._parts is None or not self._parts.destination.capabilities.exclusive:
            return
        until = time.monotonic() + ROUND_PAUSE_SECONDS
        while not self._is_stopped and (left := until - time.monotonic()) > 0:
            self._receive(left)

    def _open(self) -> _OpenParts:
        its = self._dependencies
        destination = its.open_destination()
        if destination.capabilities.evictable and isinstance(destination, NamedSessions):
            destination.name_sessions(its.share.member_id)
        policy = its.flush_policy.fit_to(destination.capabilities)
        reader = self._logs.reader = its.open_reader()
        pipeline = LoadPipeline(
            reader,
            destination.profile,
            policy,
            its.read_limits,
            its.clock,
            self._pipeline_commands,
            ThreadPoolExecutor(1, thread_name_prefix=f"{self._thread.name}-prepare"),
            choose_group_limits(destination.capabilities),
            its.store.installation_id,
            self._may_read,
        )
        steps = StepLoader(
            LoadExecutor(
                partial(get_log_id, reader),
                its.share,
                its.clock,
                its.new_id,
                self._reporting.describe,
            ),
            self._claims,
            self._wait,
            self._recovery,
            self._reporting,
            its.share,
            its.clock,
            its.new_id,
        )
        if (note := its.note_entries) is not None:
            steps.note_load = lambda chunk, load: note(
                get_log_id(reader, load.source_id),
                name_source(self._sources, load.source_id),
                chunk,
                load,
            )
        identity = destination.identity
        self._parts = _OpenParts(destination, reader, pipeline, steps, policy, identity)
        place = its.place or self.identity
        logger.info("loading into %s", place, extra={"fields": {"destination": place}})
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
            self._answer_unasked(parts)
            is_asked = self._recovery.uncertain or self._asked - self.answered_moves
            if backlogs or is_asked or self._ending.is_due(clock()):
                until = None if round_us is None else clock() + round_us
                self._load_round(parts, backlogs, until)
            elif not self._is_tried:
                self._wait.begin()
                try_destination(parts.destination)
                self._reporting.clear_trouble()
            self._is_tried = True
        except (RetriableError, OperatorError) as error:
            self._recovery.forget_offsets()
            now = clock()
            pause_us = self._pauses.add_failure(self._all_tables, now)
            denied = isinstance(error, OperatorError)
            self._reporting.report_trouble(str(error), pause_us, now, denied=denied)
            if self._parts is not None and release_held(
                self._dependencies, self._parts.destination, error
            ):
                self._pauses.clear_failures(self._all_tables)
        except Exception:
            # A fault of ours must not end the loading of the other tables for good: what is in
            # the log stays there, and the destination is asked anew where it stands.
            self._recovery.forget_offsets()
            self._pauses.add_failure(self._all_tables, clock())
            logger.exception("loading into %s failed", self.identity)
        else:
            self._pauses.clear_failures(self._all_tables)
            if self._dependencies.hold is not None:
                self._dependencies.hold.note_success()
        finally:
            self._wait.end()
            # An error holds, in a cycle, all that was being loaded when it came up.
            gc.collect()

    def _may_read(self, key: TableKey) -> bool:
        """Return whether a table may be read: its unit was held when offsets were read.

        And the destination was asked of its log then.
        """
        return self.share.is_open(key) and self._logs.was_asked(key[0])

    def _answer_unasked(self, parts: _OpenParts) -> None:
        """Answer what need not be asked of the destination.

        That is a file that no load has made yet: to open it would make it. And a destination of
        which other processes have all tables knows nothing of this one.
        """
        if self.share.is_empty:
            self._recovery.uncertain = {}  # who has the tables now asks for them
        elif self._recovery.uncertain:
            return
        else:
            file = parts.destination.file
            if file is None or file.exists():
                return
        self._answered |= self._asked

    def _load_round(
        self, parts: _OpenParts, backlogs: Sequence[TableBacklog], until: int | None
    ) -> None:
        """Load every backlog in turn, one chunk being prepared while another is written.

        Args:
            parts: to load with.
            backlogs: to begin with.
            until: when no further load is begun, microseconds since 1970; None for never.
        """
        self._wait.begin()
        with self._open_session(parts.destination) as session:
            self._fetch_offsets(parts, session, {one.source_id for one in backlogs})
            self._ending.end_loads(session, self._dependencies.clock())
            self._wait.end()
            # Nothing of a log that the destination was not asked of: the reader would open it, and
            # load from a position beside one that the destination has.
            backlogs = [one for one in backlogs if self._logs.was_asked(one.source_id)]
            history = parts.steps.history.copy()
            parts.pipeline.begin_round(LoadRound(backlogs, history, until))
            skipped: frozenset[TableKey] = frozenset()
            try:
                # With a further unit the destination is asked anew, in the next round.
                while not self._is_stopped and not self.share.is_stale:
                    group = parts.pipeline.take_group()
                    if not group:
                        break
                    self._reporting.flush()
                    self._reporting.write_lines(self._dependencies.clock())
                    group = tuple(step for step in group if step.chunk.key not in skipped)
                    if len(group) > 1 and parts.steps.load_group(session, group):
                        group = ()
                    for step in group:
                        self._reporting.flush()
                        if not parts.steps.load(session, step):
                            # Later steps of this table expect the offset of the step that failed.
                            skipped |= {step.chunk.key}
                            parts.pipeline.skip_tables(skipped)
                        del step
                        if self._is_stopped:
                            break
                    del group
                    self._receive()
            finally:
                parts.pipeline.end_round()
                self._ending.note_round(session, self._dependencies.clock())
        self._reporting.clear_trouble()

    @contextmanager
    def _open_session(self, destination: Destination) -> Iterator[Session]:
        """Open the destination; one that somebody else holds for a moment is tried again at once.

        A reader of a DuckDB file closes it within that time. The pause after a failed round is
        longer and could miss each such moment: readers in turn could keep the loader away.
        """
        if not destination.capabilities.exclusive:
            with destination.open() as session:
                yield session
            return
        priority = self._dependencies.priority
        if priority is None:
            with open_with_retry(destination.open, seconds=HELD_SECONDS_MAX) as session:
                yield session
            return
        # With the claim kept, so that no question after it begins before this round.
        with (
            priority.claim(destination.identity),
            _open_after_question(destination, priority) as session,
        ):
            yield session

    def _fetch_offsets(
        self, parts: _OpenParts, session: Session, source_ids: Collection[int]
    ) -> None:
        """Ask the destination what it has committed, if that is not known.

        Args:
            parts: to ask with.
            session: on the destination.
            source_ids: the sources of which something is to be loaded.
        """
        asked, share = self._asked, self.share
        is_known = self._recovery.offsets is not None and not share.is_stale
        uncertain = {source_id for source_id, _ in self._recovery.uncertain}
        if (
            is_known
            and asked <= self.answered_moves
            and all(map(self._logs.was_asked, uncertain.union(source_ids)))
        ):
            return
        if share.is_stale:
            self._recovery.forget_offsets()
            self._answered = frozenset()
        self._end_lost_sessions(parts, session)
        share.open_units()
        found: dict[TableKey, CommittedOffset] = {}
        for log_id in self._logs.list_log_ids(parts.reader):
            found |= session.committed(log_id)
        # What is recorded below must not come after what another loader records (see
        # `TableClaims.claim`).
        try:
            self._claims.hold((self._all_tables,))
            told = {source_id for source_id, _ in asked}.union(self._sources)
            self._recovery.recover(
                found,
                parts.reader,
                told,
                share.is_open,
                frozenset(self._sources),
                self._logs.was_asked,
            )
            # After the reports. What is asked meanwhile is asked of the destination again. A move
            # of a source whose log is away stays open: a load of it that was committed and not
            # recorded is known to the destination alone, and would be done again elsewhere.
            self._answered |= {key for key in asked & self._asked if self._logs.was_asked(key[0])}
            self._ending.note_question()
        finally:
            self._claims.release()

    def _end_lost_sessions(self, parts: _OpenParts, session: Session) -> None:
        """End the sessions of the loaders that had units of this process and were lost.

        One that was stopped in the middle of a load keeps its locks, and one on a machine that
        vanished keeps them until the server notices. What it has under way is undone with them.
        """
        for member in self.share.list_lost():
            if parts.destination.capabilities.evictable:
                failpoint.reach("share.before-evict")
                count = session.evict(member.id)
                if count:
                    logger.warning(
                        "ended %s of a lost loader at %s",
                        count_noun(count, "session", "sessions"),
                        self.identity,
                    )
            self.share.note_ended(member)


def name_source(sources: Mapping[int, Source], source_id: int) -> str:
    """Return the name of a source for the operator, also of one that is not there any more."""
    source = sources.get(source_id)
    return describe_source(source_id) if source is None else source.name


def release_held(its: LoaderDependencies, destination: Destination, error: Exception) -> bool:
    """Take a file from a reader that has held it for too long; return whether that was done."""
    if its.hold is None or not destination.capabilities.exclusive:
        return False
    asked = its.priority is not None and its.priority.is_taken(destination.identity)
    return its.hold.note_failure(error, destination.file, is_asked=asked)


def try_destination(destination: Destination) -> None:
    """Find out whether a destination can be used, before records wait for it.

    A file is not opened: that would make one that is missing, and keep readers away.

    Raises:
        DestinationUnavailableError: it cannot be reached now, or another process holds the file.
        AccessDeniedError, OperatorError: somebody has to act.
    """
    if destination.file is not None:
        check_file(destination.file)
    else:
        with destination.open():
            pass


def _open_after_question(destination: Destination, priority: LoaderPriority) -> Session:
    """Open a file; a question that reads it is waited for, and nobody else for long.

    Raises:
        DestinationUnavailableError: another process holds it.
    """
    until = time.monotonic() + QUESTION_SECONDS_MAX
    while True:
        taken = priority.is_taken(destination.identity)
        try:
            return open_with_retry(destination.open, seconds=HELD_SECONDS_MAX)
        except DestinationUnavailableError:
            if not taken or time.monotonic() >= until:
                raise
