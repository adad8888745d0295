"""What a member that answers the Connect API does beside it, where loaders run on other machines.

On one machine the loader does this, because it is always there and knows what waits: it keeps the
figures over time, notes when problems began and ended, and wakes who does errands.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle import clock
from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.errors import TreadleError
from treadle.loader.series_sampler import SeriesSampler
from treadle.loader.spell_recorder import SpellRecorder
from treadle.loader.waiting_board import SourceBacklog, WaitingBoard, sum_backlogs
from treadle.log.joined import LastBacklogs
from treadle.log.protocol import LogReader
from treadle.log.registry import make_quota, open_glance, open_reader
from treadle.metrics.request_counter import COUNTER_NAMES
from treadle.server.child_channel import wake_child
from treadle.server.errand_watch import wake_for_errands
from treadle.server.factories import name_place
from treadle.server.log_keeping import start_server_watch
from treadle.shared_counters import sum_counters
from treadle.store.store import Store
from treadle.traces.freshness import WaitedLoad
from treadle.traces.refusal_file import read_counts
from treadle.traces.refusals import merge_counts
from treadle.traces.series_file import SeriesWriter
from treadle.tracking.member_list import read_other_answers
from treadle.tracking.problem_finder import RejectionWatch, find_shown_problems, read_server
from treadle.tracking.problem_kinds import FoundProblem
from treadle.waiting_rows import open_whole_rows, read_waiting

logger = logging.getLogger("treadle.server")

FEED_SECONDS: Final = 1.0
"""Between two looks at what waits and what was loaded."""

LOADS_MAX: Final = 1_000
"""Most loads that are read in one look; what is more is read in the next."""


@dataclass(slots=True)
class FigureFeed:
    """Tells the sampler what waits in the log and what was loaded, by asking log and store.

    Attributes:
        store: knows the loads of all members.
        open_reader: opens the log.
        sampler: is told.
        board: is told what waits in all logs; None for nobody.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    sampler: SeriesSampler
    board: WaitingBoard | None = None
    _reader: LogReader | None = None
    _last: LastBacklogs = field(default_factory=LastBacklogs)
    _last_load: int | None = None
    _is_failing: bool = False

    def run(self, stop: threading.Event) -> None:
        """Look again and again, until `stop` is set."""
        while not stop.wait(FEED_SECONDS):
            try:
                self.look()
            except TreadleError as error:
                if not self._is_failing:
                    logger.warning("figures are not up to date: %s", error)
                self._is_failing = True
            else:
                self._is_failing = False
        if self._reader is not None:
            self._reader.close()

    def look(self) -> None:
        """Read once, and tell.

        Raises:
            TreadleError: the log or the store cannot be read now.
        """
        if self._reader is None:
            self._reader = self.open_reader()
        waiting = sum_backlogs(self._last.read(self._reader))
        space = self._reader.statistics.measure_space()
        self.sampler.note_waiting(waiting, space)
        if self.board is not None:
            sources = self.store.sources.list_sources()
            self.board.publish(waiting, space, sum(one.deleted_at is None for one in sources))
        if self._last_load is None:
            self._last_load = self.store.loads.get_last_number()
            return
        for number, load in self.store.loads.list_loads_after(self._last_load, LOADS_MAX):
            self._last_load = number
            if load.error is None:
                self.sampler.note_load(load)


def make_sampler(config: Config, store: Store) -> SeriesSampler:
    """Make what keeps figures over time."""
    # In a cluster, what tells the sampler reads the logs, and the loads of all loaders.
    has_others = config.loaders > 1 and not config.in_cluster
    return SeriesSampler(
        read_totals=lambda: {one.source_id: one for one in store.tables.list_source_totals()},
        read_requests=lambda: sum_counters(config.counters_path, COUNTER_NAMES),
        open_writer=lambda: SeriesWriter(config.series_path),
        clock=clock.read_clock,
        read_loads=make_wait_reader(store) if has_others else None,
        read_waiting=(lambda: read_source_backlogs(config)) if has_others else None,
        read_others=(lambda: read_other_answers(store, name_place(config)))
        if config.in_cluster
        else None,
    )


def read_source_backlogs(config: Config) -> dict[int, SourceBacklog]:
    """Return what waits by source, as the loaders of this machine tell it."""
    return {
        source_id: SourceBacklog(row.size, row.records, row.entries, row.oldest)
        for source_id, row in read_waiting(config.counters_path).items()
        if row.entries
    }


def make_wait_reader(store: Store) -> Callable[[], list[tuple[int, WaitedLoad]]]:
    """Make what returns the loads that were recorded since its last call, of all loaders."""
    last = store.loads.get_last_number()

    def read() -> list[tuple[int, WaitedLoad]]:
        nonlocal last
        found = store.loads.list_waits_after(last)
        last = max((one.number for one in found), default=last)
        return [
            (one.source_id, WaitedLoad(one.records, one.median_us, one.longest_us))
            for one in found
            if one.records
        ]

    return read


def make_spell_recorder(config: Config, store: Store) -> SpellRecorder:
    """Make what notes when problems began and ended."""
    watch = RejectionWatch()
    opened: list[LogReader] = []

    def find(now: int) -> Sequence[FoundProblem]:
        if not opened:
            opened.append(open_reader(config, store.logs))
        return find_shown_problems(
            store,
            opened[0],
            make_quota(config),
            watch,
            now,
            int(config.load_age * 1_000_000),
            merge_counts(read_counts(config.refusals_path, now)),
            read_server(config.counters_path, config.examinations_path, now),
        )

    return SpellRecorder(find, config.problems_path, clock.read_clock)


def start_watches(config: Config, store: Store, stop: threading.Event) -> list[threading.Thread]:
    """Start what runs until `stop` is set; return its threads."""
    sampler = make_sampler(config, store)
    # A loader of this machine tells of its own tables only.
    board = WaitingBoard(open_whole_rows(config.counters_path), make_quota(config))
    feed = FigureFeed(store, lambda: open_glance(config, store.logs), sampler, board)
    feeding = threading.Thread(target=feed.run, args=(stop,), name="figures", daemon=True)
    feeding.start()
    threads = [feeding, *start_loader_watches(config, store, sampler, stop)]
    if MemberRole.LOADER not in config.roles:  # a loader of this machine does it otherwise
        threads.append(start_server_watch(config, store, stop))
    return threads


def start_loader_watches(
    config: Config, store: Store, sampler: SeriesSampler, stop: threading.Event
) -> list[threading.Thread]:
    """Start what runs until `stop` is set where somebody tells the sampler; return its threads."""
    recorder = make_spell_recorder(config, store)
    threads = [
        threading.Thread(target=sampler.run, args=(stop,), name="series", daemon=True),
        threading.Thread(
            target=wake_for_errands,
            args=(store.errands.list_open_kinds, wake_child, stop),
            name="errands",
            daemon=True,
        ),
        threading.Thread(target=recorder.run, args=(stop,), name="problems", daemon=True),
    ]
    for thread in threads:
        thread.start()
    return threads
