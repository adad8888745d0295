"""The main loop of the loader process.

Twenty times a second it reads what waits in the log and gives it to the loader of each destination
(`DestinationLoader`), each of which has a thread. It also tells the log what was loaded. It waits
for no destination. The log is trimmed in a thread of its own (`LogTrimmer`).

Several such processes may run, on one machine or several. Each loads the tables of its units
(`unit_holder`). What is to be done once for all is done by the holder of the first unit of the
first log, and what is to be done for a log by the holder of the first unit of that log.
"""

import gc
import logging
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from treadle import __version__, failpoint
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import is_exclusive
from treadle.errors import RetriableError
from treadle.loader.chunk import EntryChunk
from treadle.loader.commands import SENSE_SECONDS, choose_pause
from treadle.loader.destination_loader import DestinationLoader, LoaderDependencies
from treadle.loader.destination_share import DestinationShare
from treadle.loader.hold_watch import HoldWatch
from treadle.loader.load_texts import describe_source
from treadle.loader.log_shares import LogShares
from treadle.loader.log_trimmer import LogTrimmer, TrimRules
from treadle.loader.move_agreement import MoveAgreement
from treadle.loader.move_settlement import MoveSettlement
from treadle.loader.schedule import FlushPolicy, TableKey, exclude_claimed, group_by_destination
from treadle.loader.series_sampler import SeriesSampler
from treadle.loader.unit_holder import UnitHolder
from treadle.loader.waiting_board import PUBLISH_INTERVAL_US, WaitingBoard, sum_backlogs
from treadle.log.joined import list_present_backlogs, list_readers
from treadle.log.protocol import LogReader, ReadLimits, TableBacklog
from treadle.log.quota import LogQuota
from treadle.quotas import QuotaTable
from treadle.store.load_requests import REQUEST_US_MAX
from treadle.store.membership import LOADER_ROLE, ClusterMember
from treadle.store.model import ConfiguredDestination, LoadReport, Source, SourceMove
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

PREPARED_SECONDS_MAX = 5.0
"""A loader takes units after this time, whatever its destinations are not ready for."""

PREPARED_LOOK_SECONDS = 0.02

FOLD_INTERVAL_US = 600 * 1_000_000
"""The time between two looks for hours whose reports are to be folded."""

TRIMMER_SECONDS_MAX = 5.0
"""At the end the step of the trimmer may take this long; it is done again after the next start."""

REPORT_RETENTION_US = 60 * 86_400 * 1_000_000
"""Load reports stay this long, unless the setting `report_days` says otherwise: the longest of the
documented times (loading.md 11.2)."""

FOLDING_AGE_US = 86_400 * 1_000_000
"""Reports of loads that are older are folded, hour by hour (`treadle.store.load_folding`)."""

FOLDING_PAUSE_US = 2 * 1_000_000
"""The time between two hours that are folded while there are more, as after an upgrade."""

AUDIT_RETENTION_US = 400 * 86_400 * 1_000_000
"""Events of the trail stay this long, unless the setting `audit_days` says otherwise."""

STOP_SECONDS_MAX = 100.0
"""The loads that are under way at the end may take this long: less than the process supervisor
waits for the loader. What is not committed by then is loaded after the next start."""


@dataclass(slots=True)
class LoaderSupervisor:
    """Loads everything that waits into the destination of its source.

    Attributes:
        store: knows sources and destinations, and keeps reports.
        open_reader: opens a reader of the log, one for each thread.
        open_destination: makes the destination of a URL; raises OperatorError for a wrong one.
        open_checked: the same for a URL that an account named, whose addresses are checked; None
            to connect to any.
        flush_policy: when loads begin.
        retention_us: how long entries stay in the log after their load, microseconds.
        report_us: how long load reports stay, microseconds; longer where entries do.
        audit_us: how long events stay in the trail, microseconds.
        clock: microseconds since 1970.
        new_id: returns a fresh load id.
        place: where it runs (`ClusterMember.place`).
        name: of this process among those of its place.
        notes: what other members are to know of it besides.
        beats: other loaders may run, here or elsewhere (`UnitHolder`).
        on_refused: see `UnitHolder`.
        tells_local: this process tells what waits in the logs of its machine, for all of them.
        loads_files: returns whether this process may load a destination that one process at a time
            can open. One loader of a machine does.
        log_quota: bounds of each log. While one is reached, loaded entries are removed at once.
        priority: see `LoaderDependencies`.
        quotas: what holds for sources for which the operator set nothing.
        board: tells the workers what waits; None where there are none.
        sampler: keeps figures over time; None where nobody asks for them.
        show_url: returns a URL without its password, for the operator.
        note_entries: see `LoaderDependencies`.
        held_us: how long a reader may hold the file of a destination, microseconds; 0 for ever.
        release_file: takes a file from its readers; raises what keeps it from that.
        note_seconds: called with the type of a destination and how long a load into it took, by
            the thread of the destination.
        stop_timeout_seconds: for the loads that are under way at the end of `run`.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    open_destination: Callable[[str], Destination]
    flush_policy: FlushPolicy
    retention_us: int
    clock: Callable[[], int]
    new_id: Callable[[], str]
    place: str = "here"
    name: str = "loader"
    notes: Mapping[str, Any] = field(default_factory=dict)
    beats: bool = False
    on_refused: Callable[[], None] = lambda: None
    tells_local: bool = True
    loads_files: Callable[[ConfiguredDestination], bool] = lambda row: True
    log_quota: LogQuota = field(default_factory=LogQuota)
    audit_us: int = AUDIT_RETENTION_US
    report_us: int = REPORT_RETENTION_US
    priority: LoaderPriority | None = None
    quotas: QuotaTable = field(default_factory=QuotaTable)
    board: WaitingBoard | None = None
    sampler: SeriesSampler | None = None
    open_checked: Callable[[str], Destination] | None = None
    show_url: Callable[[str], str] = lambda url: ""
    note_entries: Callable[[str, str, EntryChunk, LoadReport], None] | None = None
    held_us: int = 0
    release_file: Callable[[Path], None] = lambda file: None
    note_seconds: Callable[[str, float], None] = lambda type_, seconds: None
    stop_timeout_seconds: float = STOP_SECONDS_MAX
    units: UnitHolder = field(init=False)
    _loaders: dict[int, tuple[str, DestinationLoader]] = field(default_factory=dict)
    """By the id of the destination: its URL, and its loader."""
    _sources: dict[int, Mapping[int, Source]] = field(default_factory=dict)
    """By the id of the destination: the sources that load into it."""
    _retiring: list[DestinationLoader] = field(default_factory=list)
    """Loaders that were asked to end and did not yet. Nobody waits for a destination that hangs."""
    _loaded: "queue.SimpleQueue[tuple[TableKey, int]]" = field(default_factory=queue.SimpleQueue)
    _unmarked: dict[TableKey, int] = field(default_factory=dict)
    """How far tables are loaded of which the log was not told, as it could not be reached."""
    _destination_of: dict[int, int] = field(default_factory=dict)
    _revision: int | None = None
    _fold_at: int = 0
    _published_at: int = 0
    _last_request: int = 0
    _sources_count: int = 0
    _is_waiting: bool = False
    _has_asked: bool = False
    """Destinations were asked about moves, and were not told yet that all are settled."""
    _is_busy: bool = True
    _moves: MoveSettlement = field(init=False)
    shares: LogShares = field(init=False)
    _agreement: MoveAgreement = field(init=False)

    def __post_init__(self) -> None:
        """Begin without moves and units."""
        self._moves = MoveSettlement(self.clock)
        member = ClusterMember(
            str(uuid.uuid4()),
            self.place,
            self.name,
            LOADER_ROLE,
            socket.gethostname(),
            __version__,
            self.clock(),
            self.notes,
        )
        self.units = UnitHolder(self.store, member, beats=self.beats, on_refused=self.on_refused)
        self.shares = LogShares(self.store, self.units, self.beats)
        self._agreement = MoveAgreement(self.shares, self._moves)

    def run(self, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Load until `stop` is set; then finish the loads that are under way."""
        # A collection while 100,000 records are held costs more than decoding them; what a load
        # makes is freed by reference counts, and cycles are collected after each round.
        gc.freeze()
        gc.disable()
        # Arrow's own allocator keeps what was freed, about 40 MB after a load of 100,000 records.
        pa.set_memory_pool(pa.system_memory_pool())
        reader, trimmer = self._open_logs(), self.make_trimmer()
        try:
            self._refresh(start=False)
            self._start_loaders(stop)
            self.units.start()
            ready()
            trimmer.start(self.open_reader)
            while not stop.is_set():
                self._poll(reader, trimmer)
                self._rest(reader, stop)
        finally:
            # Beats go on until the loads are done: nobody takes them for those of a lost loader.
            self.units.finish()
            is_done = self.close()
            trimmer.close(TRIMMER_SECONDS_MAX)
            try:
                self._mark_loaded(reader)
                reader.close()
            except RetriableError as error:
                logger.warning("the log was not told how far tables are loaded: %s", error)
            self.units.stop()
            if is_done:
                self.units.leave()

    def _open_logs(self) -> LogReader:
        """Open the logs, and tell the store which they are."""
        reader = self.open_reader()
        self.shares.begin(reader)
        return reader

    def _start_loaders(self, stop: threading.Event) -> None:
        """Start the loaders; where others may load, wait until they could load at once.

        A process that begins takes the units of the one before in its place. What it is not ready
        for by then waits for it, though others could load it.
        """
        loaders = [loader for _, loader in self._loaders.values()]
        for loader in loaders:
            loader.start()
        wanted = [loader for loader in loaders if self.beats and not loader.share.is_exclusive]
        until = time.monotonic() + PREPARED_SECONDS_MAX
        while not all(loader.is_prepared for loader in wanted) and time.monotonic() < until:
            if stop.wait(PREPARED_LOOK_SECONDS):
                return

    def _rest(self, reader: LogReader, stop: threading.Event) -> None:
        """Wait until the next look; while nothing waits, at most until something is appended.

        A burst that was seen a quarter of a second later was in its table that much later: 5 % of
        500,000 records (W2).
        """
        until = time.monotonic() + choose_pause(self.flush_policy.age_us, is_busy=self._is_busy)
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            stop.wait(min(SENSE_SECONDS, left))
            if reader.sense_append():
                break

    def _poll(self, reader: LogReader, trimmer: LogTrimmer) -> None:
        """Look once; what cannot be done now is tried again at the next look."""
        self._is_busy = True  # until nothing was found to wait
        try:
            self._refresh()
            self.shares.note_logs(reader)
            self.units.beat_if_asked()
            self.shares.follow(reader, self._list_shares().values())
            self._forget_ended()
            fences, leaving = self.units.fences, self.units.leaving
            # In this order: what a loader committed before it was seen to claim no table is marked,
            # so that another loader is not given those entries.
            claims = [(loader, loader.claimed_tables) for loader in self._list_loaders()]
            settled = self._ask_moves()
            untold = self._mark_loaded(reader)
            backlogs = list_present_backlogs(reader)
            self._publish(reader, backlogs)
            held = self._moves.held_sources | untold
            told = [move for move in settled if move.source_id not in untold]
            self._settle_moves(self._agreement.find_settled(told, fences, self._list_shares()))
            under_way = [(loader.share, keys) for loader, keys in claims]
            self.shares.release(leaving, under_way, is_told=not untold)
            waiting = self._group(backlogs, held)
            for destination_id, (_, loader) in self._loaders.items():
                claimed = {key for other, keys in claims if other is not loader for key in keys}
                offered = exclude_claimed(
                    waiting.get(destination_id, ()), claimed, self._sources.get(destination_id, ())
                )
                if offered is not None:
                    loader.set_backlog(offered)
                loader.report_silence()
            trimmer.note_sight(backlogs, self._moves.held_sources)
            self._is_busy = (
                (any(waiting.values()) if self.beats else any(one.entries for one in backlogs))
                or any(keys for _, keys in claims)
                or bool(self._moves.open_moves or self._retiring or leaving)
            )
            if self.shares.is_chief:
                self._fold_reports()
        except RetriableError as error:
            if not self._is_waiting:
                logger.warning("the loader waits: %s", error)
            self._is_waiting = True
        else:
            if self._is_waiting:
                logger.info("the loader goes on")
            self._is_waiting = False

    def _group(
        self, backlogs: Sequence[TableBacklog], held: frozenset[int]
    ) -> dict[int, list[TableBacklog]]:
        """Return destination id -> what waits for it of the units of this process.

        Args:
            backlogs: of all tables.
            held: sources of which nothing is loaded now.
        """
        groups = group_by_destination(
            (one for one in backlogs if one.source_id not in held), self._destination_of
        )
        return {
            destination_id: self.shares.select_ours(group, self._loaders[destination_id][1].share)
            for destination_id, group in groups.items()
        }

    def _list_shares(self) -> dict[int, DestinationShare]:
        return {number: loader.share for number, (_, loader) in self._loaders.items()}

    def _ask_moves(self) -> list[SourceMove]:
        """Have destinations asked about moves; return those that may be settled.

        That is once the log has the positions that the destinations told, so before `_mark_loaded`.
        """
        if not self._moves.open_moves and not self._has_asked:
            return []
        # Once more when all are settled: a destination that a source left would go on to tell where
        # it stood there, whenever it is asked anew.
        self._has_asked = bool(self._moves.open_moves)
        answered = {
            destination_id: loader.answered_moves
            for destination_id, (_, loader) in self._loaders.items()
        }
        for destination_id, keys in self._moves.choose_questions(answered).items():
            self._loaders[destination_id][1].ask_offsets(keys)
        return self._moves.find_settled(answered)

    def _settle_moves(self, settled: Sequence[SourceMove]) -> None:
        """Settle moves whose positions the log has; their sources are loaded from the next look."""
        if not settled:
            return
        failpoint.reach("loader.before-settle")
        self.store.moves.settle_moves(settled)
        failpoint.reach("loader.after-settle")
        self._moves.forget_moves(settled)
        for move in settled:
            logger.info(
                "%s is loaded into destination %d now",
                self._name_source(move.source_id),
                move.destination_id,
                extra={"fields": {"source": self._name_source(move.source_id)}},
            )

    def _publish(self, reader: LogReader, backlogs: Sequence[TableBacklog]) -> None:
        """Tell the workers and the sampler what waits, a few times a second."""
        now = self.clock()
        if self.board is None or 0 <= now - self._published_at < PUBLISH_INTERVAL_US:
            return
        self._published_at = now
        if not self.tells_local:
            # What waits in a log of this machine each of its loaders sees, and one of them tells.
            backlogs = self.shares.select_told(backlogs)
        waiting, space = sum_backlogs(backlogs), reader.statistics.measure_space()
        self.board.publish(waiting, space, self._sources_count)
        if self.sampler is not None:
            self.sampler.note_waiting(waiting, space)

    def load_once(self) -> None:
        """Load everything that waits now, each table once, in the calling thread.

        Failures are recorded as in `run`: in the store, and in the log lines.
        """
        reader = self._open_logs()
        try:
            self._refresh(start=False)
            self.units.start()
            self.units.beat_if_asked()
            self.shares.follow(reader, self._list_shares().values())
            if self._moves.open_moves:
                for _ in range(2):  # the former destinations, then the new ones
                    self._ask_moves()
                    for _, loader in self._loaders.values():
                        loader.load_once(())
            settled = self._ask_moves()
            self._mark_loaded(reader)
            backlogs = reader.list_backlogs()
            self._settle_moves(settled)
            waiting = self._group(backlogs, self._moves.held_sources)
            for destination_id, backlogs in waiting.items():
                _, loader = self._loaders[destination_id]
                loader.load_once(backlogs)
            self._mark_loaded(reader)
        finally:
            reader.close()

    def _refresh(self, *, start: bool = True) -> None:
        """Follow changes of sources and destinations, if there were any."""
        revision = self.store.get_revision()
        if revision == self._revision:
            return
        rows = {
            row.id: row
            for row in self.store.destinations.list_destinations()
            if row.deleted_at is None and row.usable_since is not None
        }
        sources = self.store.sources.list_sources()
        for source in sources:
            self.shares.numbers.note_number(source.id, source.log)
        table = replace(self.quotas, overrides=self.store.quotas.list_overrides())
        self._sources_count = sum(source.deleted_at is None for source in sources)
        by_source = self.store.destinations.list_ids_by_source()
        # Read last: of a move that is newer than what was read before, the next look knows all.
        moves = [
            move
            for move in self.store.moves.list_open_moves()
            if by_source.get(move.source_id) == move.destination_id
        ]
        # What is for a destination that was not checked yet waits, as if there were none.
        self._destination_of = {
            source_id: destination_id
            for source_id, destination_id in by_source.items()
            if destination_id in rows
        }
        for destination_id, (url, loader) in list(self._loaders.items()):
            if destination_id not in rows or rows[destination_id].url != url:
                del self._loaders[destination_id]
                self._sources.pop(destination_id, None)
                self._retiring.append(loader)
                logger.info("leaving %s after the load it is in", loader.identity)
                loader.retire()
        for destination_id, row in rows.items():
            if destination_id not in self._loaders:
                self._loaders[destination_id] = row.url, self._make_loader(row)
                if start:
                    self._loaders[destination_id][1].start()
        for destination_id, (_, loader) in self._loaders.items():
            assigned = {
                source.id: source
                for source in sources
                if self._destination_of.get(source.id) == destination_id
            }
            self._sources[destination_id] = assigned
            loader.assign_sources(
                assigned, {source_id: table.get_source_quota(source_id) for source_id in assigned}
            )
        self.shares.want_files(
            [
                destination_id
                for destination_id, row in rows.items()
                if is_exclusive(row.url) and self.loads_files(row)
            ]
        )
        self._pass_requests()
        self._moves.open_moves = moves
        self._revision = revision  # last, so that what failed half way is done again

    def _pass_requests(self) -> None:
        """Tell the loaders which tables somebody wants loaded."""
        asked = self.store.load_requests.list_requests(self._last_request)
        since = self.clock() - REQUEST_US_MAX
        for request in asked:
            self._last_request = request.id
            found = self._loaders.get(self._destination_of.get(request.source_id, 0))
            if found is not None and request.at >= since:
                _, loader = found
                loader.load_now((request.source_id, request.table_name))

    def _make_loader(self, row: ConfiguredDestination) -> DestinationLoader:
        policy = self.flush_policy
        share = DestinationShare(
            self.units, row.id if is_exclusive(row.url) else None, self.shares.names
        )
        make = self.open_destination
        if row.is_named_by_account and self.open_checked is not None:
            make = self.open_checked
        dependencies = LoaderDependencies(
            open_reader=self.open_reader,
            open_destination=partial(make, row.url),
            store=self.store,
            flush_policy=policy,
            read_limits=ReadLimits.within_memory(policy.records, policy.size),
            clock=self.clock,
            new_id=self.new_id,
            report_position=lambda key, position: self._loaded.put((key, position)),
            share=share,
            priority=self.priority,
            note_load=partial(self._note_load, row.type),
            place=self.show_url(row.url),
            note_entries=self.note_entries,
            hold=HoldWatch(self.held_us, self.release_file, self.clock),
        )
        return DestinationLoader(row.id, dependencies)

    def _note_load(self, type_: str, load: LoadReport) -> None:
        self.note_seconds(type_, (load.finished_at - load.started_at) / 1e6)
        if self.sampler is not None:
            self.sampler.note_load(load)

    def _name_source(self, source_id: int) -> str:
        for assigned in self._sources.values():
            if source_id in assigned:
                return assigned[source_id].name
        return describe_source(source_id)

    def _list_loaders(self) -> list[DestinationLoader]:
        return [*self._retiring, *(loader for _, loader in self._loaders.values())]

    def _forget_ended(self) -> None:
        """Forget retired loaders that have ended."""
        for loader in [loader for loader in self._retiring if not loader.is_alive()]:
            self._retiring.remove(loader)
            logger.info("no longer loading into %s", loader.identity)

    def close(self) -> bool:
        """Let every loader end after the load it is in, and wait for that, but not for ever.

        Returns:
            Whether all have ended.
        """
        is_done = True
        loaders = self._list_loaders()
        for loader in loaders:
            loader.stop()
        until = time.monotonic() + self.stop_timeout_seconds
        for loader in loaders:
            if not loader.is_alive():
                loader.close()
                continue
            loader.join(max(0.0, until - time.monotonic()))
            if loader.is_alive():
                is_done = False
                logger.error(
                    "%s does not answer, and is left in the middle of a load; unless that is "
                    "committed after all, it is done again after the next start",
                    loader.identity,
                )
        self._loaders.clear()
        self._retiring.clear()
        return is_done

    def _mark_loaded(self, reader: LogReader) -> set[int]:
        """Tell the log how far tables are loaded; what it does not take now is told later.

        Returns:
            The sources whose log did not take it, where there are others.

        Raises:
            RetriableError: the only log did not take it.
        """
        loaded = self._unmarked  # what came later takes the place of what was not told
        while True:
            try:
                key, position = self._loaded.get_nowait()
            except queue.Empty:
                break
            loaded[key] = position
        is_only = len(list_readers(reader)) == 1
        untold: set[int] = set()
        for key, position in list(loaded.items()):
            try:
                reader.mark_loaded(*key, position)
            except RetriableError:
                if is_only:
                    raise
                untold.add(key[0])
            else:
                del loaded[key]
        return untold

    def make_trimmer(self) -> LogTrimmer:
        """Make what trims the logs that this process keeps."""
        rules = TrimRules(self.retention_us, self.report_us, self.audit_us, self.log_quota)
        return LogTrimmer(self.store, self.shares, rules, self.clock)

    def _fold_reports(self) -> None:
        """Fold the load reports of one hour that is a day old; soon the next one, if there is."""
        now = self.clock()
        if now >= self._fold_at:
            more = self.store.loads.fold_loads(now - FOLDING_AGE_US)
            self._fold_at = now + (FOLDING_PAUSE_US if more else FOLD_INTERVAL_US)
