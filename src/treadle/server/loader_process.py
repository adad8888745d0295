"""The loader process: loads accepted records into the destinations."""

import signal
import threading
import uuid
from collections.abc import Callable
from functools import partial

from treadle import clock
from treadle.config import LOADERS_MAX, Config, mask_password
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.registry import make_destination
from treadle.http.address_policy import AddressPolicy
from treadle.loader.schedule import FlushPolicy
from treadle.loader.series_sampler import SeriesSampler
from treadle.loader.supervisor import LoaderSupervisor
from treadle.loader.waiting_board import WaitingBoard
from treadle.log.registry import make_quota, open_reader
from treadle.metrics.histograms import LOAD_SECONDS, DurationHistogram, label_destination
from treadle.server.child_channel import call_when_orphaned, end_server, report_ready
from treadle.server.cluster_rules import make_file_rule
from treadle.server.factories import (
    follow_store_clock,
    make_quota_table,
    name_home,
    name_place,
    open_store,
)
from treadle.server.loader_names import FIRST_LOADER, name_loader
from treadle.server.log_keeping import start_keeping
from treadle.server.publication import FileTask, make_file_releaser, make_publisher
from treadle.server.watches import make_sampler, start_loader_watches
from treadle.shared_counters import SharedCounters
from treadle.store.membership import HOME_NOTE
from treadle.store.store import Store
from treadle.waiting_rows import open_part_rows, remove_part_rows


def _make_load_histogram(config: Config, name: str) -> Callable[[str, float], None]:
    """Make what counts how long loads take; the threads of all destinations call it."""
    board = SharedCounters(config.counters_path, name, LOAD_SECONDS.counter_names)
    durations = DurationHistogram(LOAD_SECONDS, board)
    lock = threading.Lock()

    def note(type_: str, seconds: float) -> None:
        with lock:
            durations.note(label_destination(type_), seconds)

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
            age_us=int(config.load_age * 1_000_000),
            records=config.load_rows,
            size=config.load_bytes,
            is_age_given=config.load_age_seconds is not None,
        ),
        retention_us=int(config.retention_days * 86_400_000_000),
        audit_us=int(config.audit_days * 86_400_000_000),
        report_us=int(config.report_days * 86_400_000_000),
        clock=clock.read_clock,
        new_id=lambda: str(uuid.uuid4()),
        log_quota=make_quota(config),
        priority=LoaderPriority(config.turns_path),
        quotas=make_quota_table(config),
        board=WaitingBoard(open_part_rows(config.counters_path, name), make_quota(config)),
        sampler=sampler,
        show_url=mask_password,
        note_seconds=_make_load_histogram(config, name),
        held_us=int(config.held_seconds * 1_000_000),
        release_file=make_file_releaser(config),
        place=name_place(config),
        name=name,
        notes={HOME_NOTE: name_home(config)},
        beats=beats,
        on_refused=end_server,
        tells_local=is_first,
        # One process at a time can open each.
        loads_files=make_file_rule(config) if is_first else lambda row: False,
    )


class ServerDuties:
    """What a server does once, beside loading: threads of its first loader.

    In a cluster a member with the role control does it, whose console and errands it is for.

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
        publisher = make_publisher(config, self._copying)
        self._threads = start_loader_watches(config, store, sampler, stop)
        if publisher is not None:
            publishing = threading.Thread(
                target=publisher.run, args=(stop,), name="publish", daemon=True
            )
            publishing.start()
            self._threads.append(publishing)

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
            remove_part_rows(config.counters_path, name_loader(number))
        if not config.in_cluster:
            sampler = make_sampler(config, store)
            duties = ServerDuties(config, store, sampler, stop)
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
    for thread in keeping:
        thread.join(5.0)
    store.close()
