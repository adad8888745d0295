"""The loader process: loads accepted records into the destinations."""

import signal
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from treadle import clock
from treadle.config import LOADERS_MAX, Config, mask_password
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.registry import make_destination
from treadle.http.address_policy import AddressPolicy
from treadle.loader.schedule import FlushPolicy
from treadle.loader.series_sampler import SeriesSampler
from treadle.loader.spell_recorder import SpellRecorder
from treadle.loader.supervisor import LoaderSupervisor
from treadle.loader.waiting_board import WaitingBoard
from treadle.log.protocol import LogReader
from treadle.log.registry import make_quota, open_reader
from treadle.metrics.histograms import LOAD_SECONDS, DurationHistogram
from treadle.metrics.request_counter import COUNTER_NAMES
from treadle.quotas import WAITING_COLUMNS
from treadle.server.child_channel import call_when_orphaned, report_ready, wake_child
from treadle.server.errand_watch import wake_for_errands
from treadle.server.factories import (
    follow_store_clock,
    make_quota_table,
    name_place,
    open_store,
)
from treadle.server.loader_names import FIRST_LOADER, name_loader
from treadle.server.log_keeping import start_keeping
from treadle.server.publication import FileTask, make_file_releaser, make_publisher
from treadle.shared_counters import SharedCounters, sum_counters
from treadle.shared_rows import SharedRows, remove_rows
from treadle.store.store import Store
from treadle.traces.freshness import WaitedLoad
from treadle.traces.refusal_file import read_counts
from treadle.traces.refusals import merge_counts
from treadle.traces.series_file import SeriesWriter
from treadle.tracking.problem_finder import RejectionWatch, find_shown_problems, read_server
from treadle.tracking.problem_kinds import FoundProblem


def make_sampler(config: Config, store: Store) -> SeriesSampler:
    """Make what keeps figures over time."""
    return SeriesSampler(
        read_totals=lambda: {one.source_id: one for one in store.tables.list_source_totals()},
        read_requests=lambda: sum_counters(config.counters_path, COUNTER_NAMES),
        open_writer=lambda: SeriesWriter(config.series_path),
        clock=clock.read_clock,
        read_loads=make_wait_reader(store) if config.loaders > 1 else None,
    )


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


def _make_load_histogram(config: Config, name: str) -> Callable[[str, float], None]:
    """Make what counts how long loads take; the threads of all destinations call it."""
    board = SharedCounters(config.counters_path, name, LOAD_SECONDS.counter_names)
    durations = DurationHistogram(LOAD_SECONDS, board)
    lock = threading.Lock()

    def note(type_: str, seconds: float) -> None:
        with lock:
            durations.note(type_, seconds)

    return note


def make_loader(
    config: Config,
    store: Store,
    sampler: SeriesSampler | None = None,
    name: str = FIRST_LOADER,
    *,
    beats: bool = False,
) -> LoaderSupervisor:
    """Make the loader.

    Args:
        config: the settings.
        store: open; the caller closes it.
        sampler: keeps figures over time; None where nobody asks for them.
        name: of the process, among those of the server.
        beats: other loaders may run.
    """
    is_first = name == FIRST_LOADER
    return LoaderSupervisor(
        store=store,
        open_reader=lambda: open_reader(config, store.logs),
        open_destination=make_destination,
        open_checked=partial(
            make_destination, check_address=AddressPolicy(config.destinations_local).check
        ),
        flush_policy=FlushPolicy(
            age_us=int(config.load_age_seconds * 1_000_000),
            records=config.load_rows,
            size=config.load_bytes,
        ),
        retention_us=int(config.retention_days * 86_400_000_000),
        audit_us=int(config.audit_days * 86_400_000_000),
        report_us=int(config.report_days * 86_400_000_000),
        clock=clock.read_clock,
        new_id=lambda: str(uuid.uuid4()),
        log_quota=make_quota(config),
        priority=LoaderPriority(config.turns_path),
        quotas=make_quota_table(config),
        board=WaitingBoard(
            SharedRows(config.counters_path, name, WAITING_COLUMNS), make_quota(config)
        ),
        sampler=sampler,
        show_url=mask_password,
        note_seconds=_make_load_histogram(config, name),
        held_us=int(config.held_seconds * 1_000_000),
        release_file=make_file_releaser(config),
        place=name_place(config),
        name=name,
        beats=beats,
        tells_local=is_first,
        # They are of this machine, and one process at a time can open each.
        loads_files=lambda row: is_first,
    )


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
            int(config.load_age_seconds * 1_000_000),
            merge_counts(read_counts(config.refusals_path, now)),
            read_server(config.counters_path, config.examinations_path, now),
        )

    return SpellRecorder(find, config.problems_path, clock.read_clock)


class ServerDuties:
    """What a server does once, beside loading: threads of its first loader.

    Args:
        config: the settings.
        store: open.
        sampler: keeps figures over time.
        stop: set when they are to end.
    """

    def __init__(
        self, config: Config, store: Store, sampler: SeriesSampler, stop: threading.Event
    ) -> None:
        self._copying = FileTask()
        recorder = make_spell_recorder(config, store)
        publisher = make_publisher(config, self._copying)

        def wake() -> None:
            wake_for_errands(store.errands.list_open_kinds, wake_child, stop)

        tasks: dict[str, Callable[[], None]] = {
            "series": partial(sampler.run, stop),
            "errands": wake,
            "problems": partial(recorder.run, stop),
        }
        if publisher is not None:
            tasks["publish"] = partial(publisher.run, stop)
        self._threads = [
            threading.Thread(target=task, name=name, daemon=True) for name, task in tasks.items()
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for their end, but not for ever."""
        self._copying.close()
        for thread in self._threads:
            thread.join(5.0)


def run_loader(config: Config, name: str = FIRST_LOADER) -> None:
    """Load accepted records until SIGTERM, or until the supervisor is gone.

    Several such processes share the tables. The first one also does what a server does once.

    Args:
        config: the settings.
        name: of the process.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    call_when_orphaned(stop.set)

    store = open_store(config)
    follow_store_clock(store)
    duties = None
    sampler = None
    if name == FIRST_LOADER:
        for number in range(config.loaders + 1, LOADERS_MAX + 1):  # of an earlier start
            remove_rows(config.counters_path, name_loader(number), WAITING_COLUMNS)
        sampler = make_sampler(config, store)
        duties = ServerDuties(config, store, sampler, stop)
        duties.start()
    beats = config.loaders > 1 or config.store is not None
    loader = make_loader(config, store, sampler, name, beats=beats)
    keeping = start_keeping(
        config, store, stop, loader.shares.keeps_log, watches_servers=name == FIRST_LOADER
    )
    exporter = None
    if config.otel_endpoint is not None:
        from treadle.server.telemetry import make_load_teller, start_exporter

        exporter = start_exporter(config, "loader")
        loader.note_entries = make_load_teller(exporter, config.otel_percent / 100)
    loader.run(stop, report_ready)
    if exporter is not None:
        exporter.close()
    if duties is not None:
        duties.join()
    if keeping is not None:
        keeping.join(5.0)
    store.close()
