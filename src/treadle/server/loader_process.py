"""The loader process: loads accepted records into the destinations."""

import signal
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from treadle import clock
from treadle.config import Config, mask_password
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
from treadle.server.factories import follow_store_clock, make_quota_table, open_store
from treadle.server.log_keeping import start_keeping
from treadle.server.publication import FileTask, make_file_releaser, make_publisher
from treadle.shared_counters import SharedCounters, sum_counters
from treadle.shared_rows import SharedRows
from treadle.store.store import Store
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
    )


def _make_load_histogram(config: Config) -> Callable[[str, float], None]:
    """Make what counts how long loads take; the threads of all destinations call it."""
    board = SharedCounters(config.counters_path, "loader", LOAD_SECONDS.counter_names)
    durations = DurationHistogram(LOAD_SECONDS, board)
    lock = threading.Lock()

    def note(type_: str, seconds: float) -> None:
        with lock:
            durations.note(type_, seconds)

    return note


def make_loader(
    config: Config, store: Store, sampler: SeriesSampler | None = None
) -> LoaderSupervisor:
    """Make the loader.

    Args:
        config: the settings.
        store: open; the caller closes it.
        sampler: keeps figures over time; None where nobody asks for them.
    """
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
            SharedRows(config.counters_path, "loader", WAITING_COLUMNS), make_quota(config)
        ),
        sampler=sampler,
        show_url=mask_password,
        note_seconds=_make_load_histogram(config),
        held_us=int(config.held_seconds * 1_000_000),
        release_file=make_file_releaser(config),
        # A loader of the same data folder takes over the lease of an earlier one at once. Two can
        # never run together, because the data folder is locked.
        place=f"{socket.gethostname()}:{config.data}",
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


def run_loader(config: Config) -> None:
    """Load accepted records until SIGTERM, or until the supervisor is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    call_when_orphaned(stop.set)

    store = open_store(config)
    follow_store_clock(store)
    sampler = make_sampler(config, store)
    sampling = threading.Thread(target=sampler.run, args=(stop,), name="series", daemon=True)
    sampling.start()
    waking = threading.Thread(
        target=wake_for_errands,
        args=(store.errands.list_open_kinds, wake_child, stop),
        name="errands",
        daemon=True,
    )
    waking.start()
    recorder = make_spell_recorder(config, store)
    recording = threading.Thread(target=recorder.run, args=(stop,), name="problems", daemon=True)
    recording.start()
    keeping = start_keeping(config, store, stop)
    loader = make_loader(config, store, sampler)
    exporter = None
    if config.otel_endpoint is not None:
        from treadle.server.telemetry import make_load_teller, start_exporter

        exporter = start_exporter(config, "loader")
        loader.note_entries = make_load_teller(exporter, config.otel_percent / 100)
    copying = FileTask()
    publisher = make_publisher(config, copying)
    publishing = None
    if publisher is not None:
        publishing = threading.Thread(
            target=publisher.run, args=(stop,), name="publish", daemon=True
        )
        publishing.start()
    loader.run(stop, report_ready)
    if exporter is not None:
        exporter.close()
    copying.close()
    if publishing is not None:
        publishing.join(5.0)
    sampling.join(5.0)
    waking.join(5.0)
    recording.join(5.0)
    for thread in keeping:
        thread.join(5.0)
    store.close()
