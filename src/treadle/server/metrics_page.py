"""The figures of a member, as its roles have them."""

from collections.abc import Callable

from treadle import __version__, clock
from treadle.config import Config
from treadle.config.roles import MemberRole, format_roles
from treadle.http.hosts import AllowedHosts
from treadle.log.registry import open_glance
from treadle.metrics.endpoint import MetricsEndpoint, QuotaUsage
from treadle.metrics.families import MemberLabels, ProcessSnapshot
from treadle.metrics.histograms import LOAD_SECONDS, REQUEST_SECONDS
from treadle.metrics.request_counter import COUNTER_NAMES
from treadle.quotas import USAGE_COLUMNS, QuotaTable
from treadle.server.factories import name_place
from treadle.shared_counters import sum_counters
from treadle.shared_rows import sum_rows
from treadle.store.store import Store
from treadle.traces.process_board import list_process_uses
from treadle.traces.publication_note import read_publication
from treadle.tracking.member_list import shorten_place
from treadle.waiting_rows import read_waiting


def make_metrics_endpoint(
    config: Config,
    store: Store,
    hosts: AllowedHosts,
    count_use: Callable[[int, str | None], None],
    get_quotas: Callable[[], QuotaTable],
    token_age: Callable[[], float] | None = None,
) -> MetricsEndpoint:
    """Make what answers `GET /metrics`.

    Args:
        config: the settings.
        store: open; the caller closes it.
        hosts: the names under which it is asked.
        count_use: see `MetricsEndpoint`.
        get_quotas: returns all quotas.
        token_age: see `MetricsEndpoint`.
    """
    member = None
    if config.in_cluster:
        member = MemberLabels(shorten_place(name_place(config)), format_roles(config.roles))
    return MetricsEndpoint(
        store,
        lambda: open_glance(config, store.logs),
        lambda: sum_counters(config.counters_path, COUNTER_NAMES),
        usage=QuotaUsage(
            get_quotas,
            lambda: sum_rows(config.counters_path, USAGE_COLUMNS),
            lambda: read_waiting(config.counters_path),
        ),
        durations=lambda: {
            **sum_counters(config.counters_path, REQUEST_SECONDS.counter_names),
            **sum_counters(config.counters_path, LOAD_SECONDS.counter_names),
        },
        list_processes=lambda: [
            ProcessSnapshot(
                one.name, one.memory_bytes, one.cpu_seconds, one.open_files, one.started
            )
            for one in list_process_uses(config.processes_path)
        ],
        read_publication=lambda: _read_publication(config),
        token_age=token_age,
        token=config.metrics_token,
        count_use=count_use,
        hosts=hosts,
        version=__version__,
        clock=clock.read_clock,
        member=member,
        shows_tables=MemberRole.CONTROL in config.roles,
    )


def _read_publication(config: Config) -> tuple[float | None, bool] | None:
    if config.publish is None:
        return None
    note = read_publication(config.publication_path)
    if note is None:
        return None, False
    return None if note.at is None else note.at / 1e6, note.error is not None
