"""Loads the tables of one destination, in a thread of its own.

A destination that is down or slow holds up only its own thread; a table that fails holds up only
itself. While the database works on one load, the next one is read and prepared in a second thread
(the drivers release the interpreter lock).
"""

import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from treadle import failpoint
from treadle.destinations.planning import execute_load, find_refused_records
from treadle.destinations.protocol import (
    CommittedOffset,
    CommitUnknownError,
    Destination,
    FencedError,
    LoadResult,
    PlanOutdatedError,
    RowRefusedError,
    Session,
)
from treadle.destinations.retry import RETRY_PAUSE_SECONDS
from treadle.errors import OperatorError, RetriableError, TableStoppedError
from treadle.loader.chunk import EntryChunk, build_chunk
from treadle.loader.lease import DestinationLease
from treadle.loader.load_report import (
    PlannedReport,
    build_failure_report,
    complete_report,
    decode_planned_report,
    plan_report,
)
from treadle.loader.notes import Note, Notes, gathers
from treadle.loader.schedule import (
    FlushPolicy,
    RetryBackoff,
    RetrySchedule,
    RoundProgress,
    TableKey,
    select_backlogs,
)
from treadle.log.protocol import LogEntry, LogReader, TableBacklog
from treadle.records.message_batch import decode_batch
from treadle.store.model import Source
from treadle.store.store import Store
from treadle.tables.model import LoadPlan, OffsetCommit
from treadle.tables.options import make_options
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load

logger = logging.getLogger("treadle.loader")

LOOK_SECONDS = 0.05
"""How often a thread with nothing to do looks whether a table became due."""

TAKEN_BYTES_MAX = 16_000_000
"""Most bytes of the log in one load, whatever may wait: they are in memory several times over.

A single entry that is larger is loaded with no other being prepared meanwhile.
"""

ROUND_US_MAX = 5_000_000
"""How long a round begins loads, of what was due and of what became due since. Then the destination
is let go of, as a DuckDB file has to be for others to read it, and cycles are collected."""

BREATH_SECONDS = 5 * RETRY_PAUSE_SECONDS
"""How long a destination that only one process can open is let alone after a round as long as that.
Who waits for a DuckDB file tries every `RETRY_PAUSE_SECONDS`, and a try takes as long or, on a busy
machine, thrice as long: between two rounds of a steady stream hardly anybody would get it."""

TOLD_US_MAX = 1_000_000
"""How long after a load the log is told of it, by which time it surely was: the main thread does so
with each look."""

SILENT_US = 120_000_000
"""After which a destination that does not answer is told of; a load seldom takes a second."""


UNSURE_US_MAX = 60_000_000
"""How long a table that is to be loaded elsewhere waits for its former destination to say whether
it committed the last load. After that it is loaded elsewhere in any case."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a destination's thread needs from outside.

    Attributes:
        open_reader: a reader of the log, for this thread alone.
        open_destination: where it loads; raises OperatorFault when that cannot be used.
        clock: microseconds since 1970.
        new_id: a fresh load id.
        marked: told of each table's new position, for the log's own note.
        lease: of this destination.
    """

    open_reader: Callable[[], LogReader]
    open_destination: Callable[[], Destination]
    store: Store
    trigger: FlushPolicy
    clock: Callable[[], int]
    new_id: Callable[[], str]
    marked: Callable[[TableKey, int], None]
    lease: DestinationLease


class _Step(NamedTuple):
    """A chunk, what it comes to or why not, and its bytes in the log."""

    chunk: EntryChunk
    prepared: PreparedLoad | Exception
    size: int


class _Unsure(NamedTuple):
    """A load that may have been committed: its last position, and since when that is not known."""

    last: int
    since: int


class DestinationLoader(threading.Thread):
    """The thread of one destination.

    It opens what it works with, and closes it: nobody else waits for that, nor for its end.

    Args:
        row_id: of the destination.
        outside: see there.
    """

    _destination: Destination  # both from `_open` on
    _reader: LogReader

    def __init__(self, row_id: int, outside: Surroundings) -> None:
        super().__init__(name=f"destination-{row_id}", daemon=True)
        self._row_id = row_id
        self._outside = outside
        self._opened = False
        self._backlogs: Sequence[TableBacklog] = ()
        self._sources: Mapping[int, Source] = {}
        """Those that load here; what the main thread last said, like the backlogs."""
        self._at: TableKey | None = None
        """The table it may commit now; all of them while it notes where they stand."""
        self._stop_asked = threading.Event()
        self._wake = threading.Event()
        self._failures = RetrySchedule()
        self._all: TableKey = (row_id, "")
        """Stands for all tables in `_pauses` and `_at`."""
        self._ended: dict[TableKey, int] = {}
        """When each table's last load here ended."""
        self._pauses = RetrySchedule(RetryBackoff(first_us=250_000, max_us=15_000_000))
        self._held: dict[TableKey, int] | None = None
        """Positions the destination holds; None when they have to be asked for."""
        self._in_trouble: bool | None = None
        """Whether the operator is told that it cannot be used; None for what an earlier thread
        or process may have told."""
        self._notes = Notes()
        self._unsure: Mapping[TableKey, _Unsure] = {}
        """Tables of which the destination has to be asked; replaced as a whole, others read it."""
        self._telling = threading.Lock()
        """Held while trouble is noted, or ends, so that none is noted later."""
        self._left = False
        """Whether another thread has its place, and tells of trouble."""
        self._asked_at: int | None = None
        """Since when the destination has been at a load, or at opening; None while it is not."""

    # --- for the main thread ----------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """The destination, for the operator."""
        return self._destination.identity if self._opened else f"destination {self._row_id}"

    @property
    def at(self) -> frozenset[TableKey]:
        """The tables it may still commit or note, which nobody else is to load meanwhile.

        It begins no table of a source that `own` no longer has. One named `` stands for all.
        """
        # In this order: what it has committed waits to be noted before it is at another table.
        now = self._at
        waiting = (*self._notes.keys, *self._unsure)
        return frozenset(waiting if now is None else (now, *waiting))

    @property
    def sources(self) -> Mapping[int, Source]:
        """Those that load into this destination."""
        return self._sources

    def own(self, sources: Mapping[int, Source]) -> None:
        """Say which sources load into this destination; what waits of them is to be offered."""
        self._backlogs = ()
        self._sources = sources

    def offer(self, backlogs: Sequence[TableBacklog]) -> None:
        """Say what waits for this destination now."""
        self._backlogs = backlogs
        self._wake.set()

    def look(self) -> None:
        """Tell the operator when the destination does not answer; its thread cannot."""
        now = self._outside.clock()
        with self._telling:
            asked_at = self._asked_at
            if asked_at is None or now - asked_at <= SILENT_US or self._in_trouble:
                return
            why = f"it has not answered for {(now - asked_at) / 1e6:.0f} s"
            self._note_trouble(why)
        logger.error("%s, records wait: %s", self.identity, why)

    def stop(self) -> None:
        """Ask the thread to end after the load it is in."""
        self._stop_asked.set()
        self._wake.set()

    def leave(self) -> None:
        """Ask the thread to end because its destination is gone, or another has its place.

        It begins no load, and ends when what it loaded is known and noted, as far as that can be
        waited for: nobody else would ever know of it.
        """
        self.own({})
        with self._telling:
            self._left = True
        self._wake.set()

    def once(self, backlogs: Sequence[TableBacklog]) -> None:
        """Load these backlogs in the calling thread, whatever their age; needs `run` not to run."""
        with ThreadPoolExecutor(1) as ahead:
            self._tried(backlogs, ahead, ends=False)

    def close(self) -> None:
        """Let go of what was opened; the thread does so itself at its end."""
        if self._opened:
            self._opened = False
            self._reader.close()

    # --- the thread -------------------------------------------------------------------------------

    def run(self) -> None:
        """Load what is due until asked to stop."""
        try:
            with ThreadPoolExecutor(1, thread_name_prefix=f"{self.name}-prepare") as ahead:
                while not self._stop_asked.is_set():
                    now = self._outside.clock()
                    self._give_up(now)
                    open_ends = self._notes.waiting or self._unsure
                    if self._left and not open_ends:
                        break
                    chosen = self._chosen(now) if self._opened else []
                    todo = chosen or open_ends or not self._opened
                    if not todo or not self._pauses.may_retry(self._all, now):
                        self._wake.wait(LOOK_SECONDS)
                        self._wake.clear()
                        continue
                    self._tried(chosen, ahead)
                    took = self._outside.clock() - now
                    if (
                        took >= ROUND_US_MAX
                        and self._opened
                        and self._destination.capabilities.exclusive
                    ):
                        self._stop_asked.wait(BREATH_SECONDS)
                self._note_if_possible()
        finally:
            self.close()

    def _open(self) -> None:
        self._destination = self._outside.open_destination()
        self._reader = self._outside.open_reader()
        self._opened = True
        logger.info("loading into %s", self.identity)

    def _tried(
        self, backlogs: Sequence[TableBacklog], ahead: ThreadPoolExecutor, *, ends: bool = True
    ) -> None:
        """One round; when it cannot be finished, the destination is left alone for a while."""
        try:
            self._note()  # what could not be noted in the last round
            if not self._opened:
                self._open()
            if backlogs or self._unsure:
                until = self._outside.clock() + ROUND_US_MAX if ends else None
                self._round(backlogs, ahead, until)
        except (RetriableError, OperatorError) as error:
            self._held = None
            self._trouble(str(error), self._pauses.add_failure(self._all, self._outside.clock()))
        except Exception:
            # A fault of ours must not end the loading of the other tables for good: what is in
            # the log stays there, and the destination is asked anew where it stands.
            self._held = None
            self._pauses.add_failure(self._all, self._outside.clock())
            logger.exception("loading into %s failed", self.identity)
        else:
            self._pauses.clear_failures(self._all)
        finally:
            self._asked_at = self._at = None
            # An error holds, in a cycle, all that was being loaded when it came up.
            gc.collect()

    def _chosen(self, now: int) -> list[TableBacklog]:
        outside = self._outside
        known = [backlog for backlog in self._backlogs if self._is_known(backlog, now)]
        return select_backlogs(known, now, outside.trigger, self._failures, ended=self._ended)

    def _is_known(self, backlog: TableBacklog, now: int) -> bool:
        """Whether a backlog is to be loaded here, and says of that how much it is and how old."""
        key = backlog.source_id, backlog.table_name
        held = (self._held or {}).get(key, -1)
        if backlog.source_id not in self._sources or held >= backlog.last:
            return False
        # Before the log was told of a load, it counts, with its age, what that took.
        counted = held > backlog.loaded
        return not counted or now - self._ended.get(key, 0) >= TOLD_US_MAX

    def _further(
        self,
        taken: Mapping[TableKey, RoundProgress],
        held: Mapping[TableKey, int],
        stuck: set[TableKey],
    ) -> list[TableBacklog]:
        """What became due in this round beyond what it took, in the same order."""
        outside = self._outside
        now = outside.clock()
        rests = []
        for backlog in self._backlogs:
            key = backlog.source_id, backlog.table_name
            if key in stuck or held.get(key, -1) >= backlog.last:
                continue
            its = taken.get(key)
            if its is None and self._is_known(backlog, now):
                rests.append(backlog)
            elif its is not None and backlog.source_id in self._sources:
                rest = its.subtract_from(backlog)
                if rest is not None:
                    rests.append(rest)
        return select_backlogs(
            rests, now, outside.trigger, self._failures, ended=self._ended, going=taken
        )

    def _round(
        self, backlogs: Sequence[TableBacklog], ahead: ThreadPoolExecutor, until: int | None
    ) -> None:
        """Load every backlog in turn, one chunk being prepared while another is written.

        Args:
            backlogs: to begin with.
            ahead: prepares.
            until: when no further load is begun, microseconds since 1970; None for never.
        """
        idle = threading.Event()

        def following_one() -> "_Step | None":
            # Whoever prepares is told that nothing is being loaded any more, and ends the round
            # unless there is something by now.
            idle.set()
            self._wake.set()
            step = following.result()
            idle.clear()
            return step

        self._outside.lease.fence()
        self._asked_at = self._outside.clock()
        with self._destination.open() as session:
            held = self._asked(session)
            self._asked_at = None
            stuck: set[TableKey] = set()
            chunks = self._chunks(backlogs, held, stuck, idle, until)
            following = ahead.submit(next, chunks, None)
            try:
                while (step := following_one()) is not None:
                    alone = step.size > TAKEN_BYTES_MAX
                    if not alone:
                        following = ahead.submit(next, chunks, None)
                    if not gathers(step.chunk.after, step.size):
                        self._note()
                    self._take(session, step, stuck)
                    if self._stop_asked.is_set():
                        break
                    if not following.done() or self._notes.are_due(self._outside.clock()):
                        self._note()
                    if alone:
                        del step
                        following = ahead.submit(next, chunks, None)
                self._note()
            except BaseException:
                if not self._notes.are_late:
                    self._note_if_possible()
                raise
            finally:
                idle.set()
                wait([following])  # it reads the log, and one at a time may do so
        with self._telling:
            was = self._in_trouble
            if was is not False and not self._left:
                self._outside.store.destinations.set_trouble(self._row_id, None)
                self._in_trouble = False
        if was:
            logger.info("%s is back", self.identity)

    def _take(self, session: Session, step: "_Step", stuck: set[TableKey]) -> None:
        """Load a chunk of a table that did not get stuck and is still to be loaded here."""
        chunk = step.chunk
        if chunk.key in stuck:
            return
        if not self._begins(chunk.key):
            stuck.add(chunk.key)  # what follows of it does not follow what is there
            return
        self._asked_at = self._outside.clock()
        try:
            self._load(session, step)
        except FencedError as error:
            self._outside.lease.invalidate()
            raise RetriableError(str(error)) from error
        except (OperatorError, PlanOutdatedError) as error:
            stuck.add(chunk.key)
            # The load may have been committed before this came up.
            self._held = None
            self._failed(chunk, error)
        except CommitUnknownError:
            self._doubt(chunk)
            raise
        except RetriableError:
            raise
        except Exception as error:
            # Whatever it is, it came with this table: the others go on without it.
            if error is not step.prepared:
                self._doubt(chunk)
            self._failed(chunk, error)
            raise
        finally:
            self._asked_at = self._at = None

    def _doubt(self, chunk: EntryChunk) -> None:
        """Keep a table until the destination has said whether it committed this load of it."""
        unsure = _Unsure(chunk.last, self._outside.clock())
        self._unsure = {**self._unsure, chunk.key: unsure}
        self._held = None

    def _give_up(self, now: int) -> None:
        """Let tables go that are to be loaded elsewhere and were asked about for long enough."""
        for key, unsure in self._unsure.items():
            if key[0] in self._sources or now - unsure.since < UNSURE_US_MAX:
                continue
            self._unsure = {other: its for other, its in self._unsure.items() if other != key}
            logger.error(
                "%s does not say whether it committed the last load of %s, records up to entry "
                "%d: the next destination gets them in any case, so they may be in both",
                self.identity,
                _name(key),
                unsure.last,
            )

    def _begins(self, key: TableKey) -> bool:
        """Whether a table may be loaded: its source still loads here."""
        # Said before it is looked: whoever takes the source away looks after that, and so either
        # finds that this thread is at it, or has been heard.
        self._at = key
        if key[0] in self._sources:
            return True
        self._at = None
        return False

    def _asked(self, session: Session) -> dict[TableKey, int]:
        """Positions the destination holds, after what it still knows of lost reports was noted."""
        if self._held is None:
            found = session.committed(self._reader.log_id)
            self._at = self._all  # what is noted below must not come after what another notes
            try:
                self._recover(found)
                self._unsure = {}
            finally:
                self._at = None
            self._held = {key: held.position for key, held in found.items()}
        return self._held

    def _recover(self, found: Mapping[TableKey, CommittedOffset]) -> None:
        """Note loads that were committed but not recorded, and tell the log where tables stand."""
        noted = {
            (status.source_id, status.table_name): status.loaded
            for status in self._outside.store.tables.list_statuses()
        }
        for key, held in found.items():
            if held.position > noted.get(key, -1) and held.report:
                kept = decode_planned_report(held.report)
                failpoint.reach("loader.recover")
                load, outcomes = complete_report(
                    kept, held.result, self._outside.clock(), partial(self._positions, kept)
                )
                self._outside.store.loads.record_load(load, outcomes)
                logger.info("noted the load of %s that was cut short", _name(key))
            # Where a table stands is said by the destination that its source loads into now, and
            # where that begins by what the former one did last.
            unsure = self._unsure.get(key)
            did = unsure is not None and held.position >= unsure.last
            if did or key[0] in self._sources:
                self._outside.marked(key, held.position)

    def _positions(self, kept: PlannedReport) -> list[int]:
        """Positions of the sound entries that a load took, read again from the log."""
        trigger = self._outside.trigger
        found: list[int] = []
        after = kept.first - 1
        while after < kept.last:
            items = self._reader.read(
                kept.source_id, kept.table_name, after, trigger.records, trigger.size
            )
            if not items:
                break
            after = items[-1].position
            found += [
                item.position
                for item in items
                if isinstance(item, LogEntry) and item.position <= kept.last
            ]
        return found

    def _chunks(
        self,
        backlogs: Sequence[TableBacklog],
        held: Mapping[TableKey, int],
        stuck: set[TableKey],
        idle: threading.Event,
        until: int | None,
    ) -> Iterator["_Step"]:
        """Chunks of the backlogs in order, and of what becomes due while they are loaded.

        Args:
            backlogs: to begin with.
            held: positions the destination holds.
            stuck: tables to be left.
            idle: set while nothing is being loaded.
            until: when they end, but not before the first; None for all there are.
        """

        def over() -> bool:
            return until is not None and self._outside.clock() >= until

        taken: dict[TableKey, RoundProgress] = {}
        while backlogs:
            for backlog in backlogs:
                yield from self._chunks_of(backlog, taken, held, stuck, over)
                if taken and over():
                    return
            backlogs = ()
            while not backlogs and not self._stop_asked.is_set() and not over():
                last_look = idle.is_set()
                backlogs = self._further(taken, held, stuck)
                if last_look:
                    break
                if not backlogs:
                    self._wake.wait(LOOK_SECONDS)
                    self._wake.clear()

    def _chunks_of(
        self,
        backlog: TableBacklog,
        taken: dict[TableKey, RoundProgress],
        held: Mapping[TableKey, int],
        stuck: set[TableKey],
        over: Callable[[], bool],
    ) -> Iterator["_Step"]:
        """Chunks of a table in order, prepared or why not, unless it got stuck or time is over."""
        trigger = self._outside.trigger
        size = min(trigger.size, TAKEN_BYTES_MAX)
        key = (backlog.source_id, backlog.table_name)
        if key in taken:
            begin = after = taken[key].last
        else:
            after = held.get(key, -1)
            # A destination that holds no position starts where the log says that the table stands:
            # switching the destination moves nothing (loading.md 5.5).
            begin = after if key in held else backlog.loaded
        while begin < backlog.last and key not in stuck:
            source = self._sources.get(backlog.source_id)
            if source is None:  # it loads elsewhere now
                break
            items = self._reader.read(*key, begin, trigger.records, size)
            chunk = build_chunk(key, after, items)
            if chunk is None:
                break
            # What was unpacked is not needed in its packed form, half of a load's bytes.
            payloads = [entry.payload for entry in chunk.entries]
            bytes_taken = sum(map(len, payloads))
            chunk = chunk.without_payloads()
            taken.setdefault(key, RoundProgress()).add_chunk(
                chunk.last, items[-1].received_at, chunk.records, bytes_taken
            )
            del items
            try:
                prepared: PreparedLoad | Exception = self._prepared(chunk, payloads, source)
            except Exception as error:  # noqa: BLE001 - raised again by who loads the chunk
                prepared = error
            begin = after = chunk.last
            step = _Step(chunk, prepared, bytes_taken)
            del chunk, prepared
            yield step
            del step
            if over():
                break

    def _prepared(self, chunk: EntryChunk, payloads: list[bytes], source: Source) -> PreparedLoad:
        """Prepare a chunk from what its entries carried, which is let go of piece by piece."""
        payloads.reverse()
        return prepare_load(
            [
                LogBatch(decode_batch(payloads.pop()), entry.position, entry.received_at)
                for entry in chunk.entries
            ],
            schema=source.name,
            source_name=chunk.key[1],
            profile=self._destination.profile,
            options=make_options(source.settings, chunk.key[1]),
        )

    def _load(self, session: Session, step: "_Step") -> None:
        """Load one chunk, without the records that the database itself refuses."""
        chunk, prepared, size = step
        if isinstance(prepared, Exception):
            raise prepared
        started = self._outside.clock()
        load_id = self._outside.new_id()
        failpoint.reach("loader.before-load")
        for damaged in chunk.damaged:
            logger.error(
                "entry %d of %s is damaged and left out, %d records: %s",
                damaged.position,
                _name(chunk.key),
                damaged.records,
                damaged.why,
            )
        try:
            plan, result = self._carried(session, chunk, prepared, load_id, started)
        except RowRefusedError:
            logger.warning("%s: the database refuses a record; looking for it", _name(chunk.key))
            found = find_refused_records(session, prepared, mark=self._mark(chunk), now=started)
            prepared = prepared.reject_records(found)
            plan, result = self._carried(session, chunk, prepared, load_id, started)
        failpoint.reach("loader.after-load")
        load, outcomes = complete_report(
            plan_report(chunk, plan, load_id, started),
            result,
            self._outside.clock(),
            lambda: [entry.position for entry in chunk.entries],
        )
        self._notes.add(Note(chunk.key, chunk.last, load, outcomes), load.finished_at)
        if not gathers(chunk.after, size):
            self._note()
        self._failures.clear_failures(chunk.key)
        self._ended[chunk.key] = self._outside.clock()
        if self._held is not None:
            self._held[chunk.key] = chunk.last
        logger.info(
            "loaded %s: %d records, %d superseded, %d rejected, %.3f s",
            _name(chunk.key),
            load.rows_received,
            load.rows_discarded,
            load.rows_rejected,
            (load.finished_at - started) / 1e6,
        )

    def _note(self) -> None:
        """Note the reports that wait, and only then tell the log, which may drop the entries."""
        notes = self._notes.waiting
        if not notes:
            return
        try:
            self._outside.store.loads.record_loads([(note.load, note.outcomes) for note in notes])
            failpoint.reach("loader.after-record")
        except BaseException:
            # They wait on, and are noted before anything else is loaded. The destination has them
            # too, for a loader that knows nothing of them, until their tables are loaded again.
            self._notes.are_late = True
            self._held = None
            raise
        for note in notes:
            self._outside.marked(note.key, note.position)
        self._notes.clear()

    def _note_if_possible(self) -> None:
        """Note what waits at the end of a round that failed; else the next one does."""
        try:
            self._note()
        except Exception as error:  # noqa: BLE001 - what ended the round is told, not this
            logger.warning("loads into %s cannot be noted now: %s", self.identity, error)

    def _mark(self, chunk: EntryChunk) -> OffsetCommit:
        return OffsetCommit(
            self._reader.log_id,
            *chunk.key,
            chunk.after,
            chunk.last,
            self._outside.lease.fence(),
        )

    def _carried(
        self,
        session: Session,
        chunk: EntryChunk,
        prepared: PreparedLoad,
        load_id: str,
        started: int,
    ) -> tuple[LoadPlan, LoadResult]:
        mark = self._mark(chunk)
        return execute_load(
            session,
            prepared,
            mark=mark,
            now=started,
            remark=lambda plan: replace(
                mark, report=plan_report(chunk, plan, load_id, started).encode()
            ),
        )

    def _failed(self, chunk: EntryChunk, error: Exception) -> None:
        """Note that a table cannot be loaded for now; the others go on."""
        now = self._outside.clock()
        pause = self._failures.add_failure(chunk.key, now)
        load = build_failure_report(chunk, str(error), self._outside.new_id(), now, now)
        self._outside.store.loads.record_failure(load, stopped=isinstance(error, TableStoppedError))
        logger.error(
            "%s cannot be loaded, its records wait: %s; tried again in %.0f s",
            _name(chunk.key),
            error,
            pause / 1e6,
        )

    def _trouble(self, why: str, pause: int) -> None:
        """Note that the whole destination cannot be used for now."""
        with self._telling:
            self._note_trouble(why)
        logger.warning(
            "%s cannot be used, records wait: %s; tried again in %.1f s",
            self.identity,
            why,
            pause / 1e6,
        )

    def _note_trouble(self, why: str) -> None:
        if self._left:
            return
        self._in_trouble = True
        try:
            self._outside.store.destinations.set_trouble(self._row_id, why)
        except Exception as error:  # noqa: BLE001 - a full disk may hold both; loading has to go on
            logger.warning("the store cannot note it now: %s", error)


def _name(key: TableKey) -> str:
    return f"{key[1]!r} of source {key[0]}"
