"""The metrics of a snapshot, in the text form of Prometheus."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from treadle.metrics.histograms import LOAD_SECONDS, REQUEST_SECONDS, sum_histogram
from treadle.metrics.request_counter import APPEND_FAILURES, ENDPOINTS, STATUSES
from treadle.store.membership import UnitCounts

TABLES_MAX: Final = 10_000
"""Most tables with series of their own. Clients name tables; further ones are summed up."""
SOURCE_TABLES_MAX: Final = 1_000
"""Most tables of one source with series of their own."""
OTHER_TABLES: Final = "(others)"

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """The figures of one table.

    Attributes:
        accepted: records acknowledged since the store was made; of them `waiting` are not loaded.
        oldest: acceptance of the oldest that waits, microseconds since 1970; None for none.
        error: its last try failed. `stopped`: somebody has to act.
        account_id: the account of its source.
    """

    source: str
    source_id: int
    table: str
    accepted: int = 0
    loaded: int = 0
    superseded: int = 0
    rejected: int = 0
    waiting: int = 0
    entries: int = 0
    oldest: int | None = None
    damaged: int = 0
    loads: int = 0
    failures: int = 0
    error: bool = False
    stopped: bool = False
    account_id: int = 0


@dataclass(frozen=True, slots=True)
class QuotaSnapshot:
    """The quotas of one source, and what it used.

    Attributes:
        limits: quota -> the most; those without a bound are left out.
        used: rate -> all that was ever used.
        refused: quota -> how many requests were refused for it.
        tables: that ever had a record; None where another member tells.
        waiting_bytes: of records that are not loaded yet; None as above.
        above_part: its records take up more of the log than its part.
        account_id: the account of the source.
    """

    source: str
    source_id: int
    limits: Mapping[str, int]
    used: Mapping[str, int]
    refused: Mapping[str, int]
    tables: int | None
    waiting_bytes: int | None
    above_part: bool
    account_id: int = 0


@dataclass(frozen=True, slots=True)
class DestinationSnapshot:
    """The state of one destination; its URL may hold a password and is left out."""

    id: int
    type: str
    name: str
    up: bool
    account_id: int = 0


@dataclass(frozen=True, slots=True)
class HookSnapshot:
    """The deliveries of one post-load hook; its URL may be a secret and is left out.

    Attributes:
        waiting: deliveries that wait.
        oldest: when the oldest of them was made, microseconds since 1970; None for none.
        delivered, failed, tries: since the hook was made.
    """

    id: int
    destination_id: int
    waiting: int
    oldest: int | None
    delivered: int
    failed: int
    tries: int
    account_id: int = 0


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """What a process of the server uses.

    Attributes:
        name: "worker 1".
        open_files: descriptors; None where that is not known.
        started: seconds since 1970; None where that is not known.
    """

    name: str
    memory_bytes: int
    cpu_seconds: float
    open_files: int | None = None
    started: float | None = None


@dataclass(frozen=True, slots=True)
class MemberLabels:
    """What tells a member from others.

    Attributes:
        name: of the member.
        roles: as the setting names them.
    """

    name: str
    roles: str


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """All figures at one time.

    Attributes:
        now: microseconds since 1970.
        log_used, log_free: bytes; None where nobody here knows.
        counts: of all workers together, `requests.NAMES`.
        durations: of all processes together, the counters of histograms.
        published_at: when the copy for readers was begun, seconds since 1970; None without one.
        publish_failing: no newer one can be made; None where none is to be made.
        account_id: the only account that it is about; None for the whole server.
        member: that gives the figures; None where it is alone.
        token_age: seconds since the store told the worker that answers which tokens are valid; None
            where the store is a file.
        share: how loaders share the tables; None where that is not told.
        is_partial: the store or the log is away: it has what the server counts by itself alone.
    """

    now: int
    version: str
    tables: Sequence[TableSnapshot] = ()
    destinations: Sequence[DestinationSnapshot] = ()
    quotas: Sequence[QuotaSnapshot] = ()
    hooks: Sequence[HookSnapshot] = ()
    log_used: int | None = 0
    log_free: int | None = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    durations: Mapping[str, int] = field(default_factory=dict)
    processes: Sequence[ProcessSnapshot] = ()
    published_at: float | None = None
    publish_failing: bool | None = None
    account_id: int | None = None
    member: MemberLabels | None = None
    token_age: float | None = None
    share: UnitCounts | None = None
    is_partial: bool = False


def select_account(seen: MetricsSnapshot, account_id: int) -> MetricsSnapshot:
    """Return what an account may see: its tables and its destinations, nothing of the server."""
    return MetricsSnapshot(
        now=seen.now,
        version=seen.version,
        tables=[table for table in seen.tables if table.account_id == account_id],
        destinations=[one for one in seen.destinations if one.account_id == account_id],
        quotas=[one for one in seen.quotas if one.account_id == account_id],
        hooks=[one for one in seen.hooks if one.account_id == account_id],
        account_id=account_id,
    )


def render_metrics(seen: MetricsSnapshot) -> bytes:
    """Return the answer to `GET /metrics`."""

    class SnapshotCollector(Collector):
        def collect(self) -> Iterator[Metric]:
            return build_families(seen)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector())
    return generate_latest(registry)


_SOURCE: Final = ("source", "source_id")
_TABLE: Final = (*_SOURCE, "table")

_COUNTERS: Final = (
    ("records_accepted", "accepted", "Records that were acknowledged."),
    ("records_loaded", "loaded", "Records that became rows."),
    (
        "records_superseded",
        "superseded",
        "Records that lost against a higher sequence or a newer table version.",
    ),
    ("records_rejected", "rejected", "Records in _sdc_rejected, and those of damaged entries."),
    ("entries_damaged", "damaged", "Entries of the log that were left out because of damage."),
)
_GAUGES: Final = (
    ("records_waiting", "waiting", "Records that were acknowledged and are not loaded yet."),
    ("entries_waiting", "entries", "Requests of these records."),
    ("table_failing", "error", "1 while the last load of the table failed."),
    ("table_stopped", "stopped", "1 while the table waits for somebody to act."),
)


def build_families(seen: MetricsSnapshot) -> Iterator[Metric]:
    """Return all metrics; docs/reference/metrics.md says what they mean.

    For one account, those of its tables and destinations.
    """
    build = GaugeMetricFamily("treadle_build_info", "1, with the version.", labels=("version",))
    build.add_metric((seen.version,), 1)
    yield build
    if seen.member is not None:
        member = GaugeMetricFamily(
            "treadle_member_info", "1, with the member and its roles.", labels=("member", "roles")
        )
        member.add_metric((seen.member.name, seen.member.roles), 1)
        yield member
    if seen.is_partial:
        yield from _build_server_families(seen)
        return
    tables = _limit_tables(seen.tables)
    for name, attribute, help_ in _COUNTERS:
        counter = CounterMetricFamily(f"treadle_{name}", help_, labels=_TABLE)
        for table in tables:
            counter.add_metric(_get_labels(table), getattr(table, attribute))
        yield counter
    for name, attribute, help_ in _GAUGES:
        gauge = GaugeMetricFamily(f"treadle_{name}", help_, labels=_TABLE)
        for table in tables:
            gauge.add_metric(_get_labels(table), getattr(table, attribute))
        yield gauge
    ages = GaugeMetricFamily(
        "treadle_oldest_waiting_seconds",
        "Age of the oldest record that waits; 0 when none does.",
        labels=_TABLE,
    )
    for table in tables:
        age = 0 if table.oldest is None else max(0, seen.now - table.oldest)
        ages.add_metric(_get_labels(table), age / 1e6)
    yield ages
    loads = CounterMetricFamily(
        "treadle_loads", "Loads, and tries that failed.", labels=(*_TABLE, "result")
    )
    for table in tables:
        loads.add_metric((*_get_labels(table), "committed"), table.loads)
        loads.add_metric((*_get_labels(table), "failed"), table.failures)
    yield loads
    yield _build_destination_family(seen)
    yield from _build_quota_families(seen.quotas)
    yield from _build_hook_families(seen)
    if seen.account_id is None:
        yield from _build_server_families(seen)


def _build_quota_families(quotas: Sequence[QuotaSnapshot]) -> Iterator[Metric]:
    limits = GaugeMetricFamily(
        "treadle_quota_limit", "The most that a source may use.", labels=(*_SOURCE, "quota")
    )
    used = CounterMetricFamily(
        "treadle_quota_used",
        "Requests, bytes and records that count for the rates of a source.",
        labels=(*_SOURCE, "quota"),
    )
    refusals = CounterMetricFamily(
        "treadle_quota_refusals",
        "Requests that were refused because of a quota, or of the log's part of their source.",
        labels=(*_SOURCE, "quota"),
    )
    tables = GaugeMetricFamily(
        "treadle_source_tables", "Tables that ever had a record.", labels=_SOURCE
    )
    waiting = GaugeMetricFamily(
        "treadle_source_waiting_bytes",
        "Bytes of records that wait, before compression.",
        labels=_SOURCE,
    )
    above = GaugeMetricFamily(
        "treadle_source_above_part",
        "1 while a source has more of the log than its part, and is refused.",
        labels=_SOURCE,
    )
    for one in quotas:
        labels = one.source, str(one.source_id)
        for family, values in ((limits, one.limits), (used, one.used), (refusals, one.refused)):
            for quota, value in values.items():
                family.add_metric((*labels, quota), value)
        if one.tables is not None:
            tables.add_metric(labels, one.tables)
        if one.waiting_bytes is not None:
            waiting.add_metric(labels, one.waiting_bytes)
            above.add_metric(labels, one.above_part)
    yield from (limits, used, refusals, tables, waiting, above)


def _build_destination_family(seen: MetricsSnapshot) -> Metric:
    up = GaugeMetricFamily(
        "treadle_destination_up",
        "0 while the loader cannot use the destination.",
        labels=("destination_id", "type", "name"),
    )
    for one in seen.destinations:
        up.add_metric((str(one.id), one.type, one.name), one.up)
    return up


def _build_hook_families(seen: MetricsSnapshot) -> Iterator[Metric]:
    labels = ("hook_id", "destination_id")
    waiting = GaugeMetricFamily(
        "treadle_hook_deliveries_waiting", "Deliveries of the hook that wait.", labels=labels
    )
    ages = GaugeMetricFamily(
        "treadle_hook_oldest_waiting_seconds",
        "Age of the oldest delivery that waits; 0 when none does.",
        labels=labels,
    )
    ended = CounterMetricFamily(
        "treadle_hook_deliveries",
        "Deliveries that were taken, and that were given up.",
        labels=(*labels, "result"),
    )
    tries = CounterMetricFamily(
        "treadle_hook_tries", "Tries to send deliveries of the hook.", labels=labels
    )
    for one in seen.hooks:
        its = (str(one.id), str(one.destination_id))
        waiting.add_metric(its, one.waiting)
        age = 0 if one.oldest is None else max(0, seen.now - one.oldest)
        ages.add_metric(its, age / 1e6)
        ended.add_metric((*its, "delivered"), one.delivered)
        ended.add_metric((*its, "failed"), one.failed)
        tries.add_metric(its, one.tries)
    yield from (waiting, ages, ended, tries)


def _build_server_families(seen: MetricsSnapshot) -> Iterator[Metric]:
    if seen.log_used is not None and not seen.is_partial:
        yield GaugeMetricFamily(
            "treadle_log_bytes", "Bytes that the log holds.", value=seen.log_used
        )
        if seen.log_free is not None:
            yield GaugeMetricFamily(
                "treadle_log_free_bytes", "Bytes by which the log can grow.", value=seen.log_free
            )
    if seen.token_age is not None:
        yield GaugeMetricFamily(
            "treadle_token_age_seconds",
            "Seconds since the store told which tokens are valid.",
            value=seen.token_age,
        )
    if seen.share is not None:
        yield GaugeMetricFamily(
            "treadle_loaders", "Processes that load and are live.", value=seen.share.loaders
        )
        yield GaugeMetricFamily(
            "treadle_units_unheld",
            "Parts of the tables that no live loader has.",
            value=seen.share.unheld,
        )
    yield CounterMetricFamily(
        "treadle_log_append_failures",
        "Groups of requests that the log's disk did not take (a failed write or fsync).",
        value=seen.counts.get(APPEND_FAILURES, 0),
    )
    requests = CounterMetricFamily(
        "treadle_http_requests",
        "Answers, of all workers together.",
        labels=("endpoint", "status"),
    )
    for endpoint in ENDPOINTS:
        for status in STATUSES:
            count = seen.counts.get(f"{endpoint} {status}", 0)
            if count:
                requests.add_metric((endpoint, status), count)
    yield requests
    yield from _build_duration_families(seen)
    yield from _build_publication_families(seen)
    yield from _build_process_families(seen.processes)


def _build_duration_families(seen: MetricsSnapshot) -> Iterator[Metric]:
    for name, help_, label, form in (
        (
            "treadle_http_request_duration_seconds",
            "From the body of a request to the beginning of its answer.",
            "endpoint",
            REQUEST_SECONDS,
        ),
        (
            "treadle_load_duration_seconds",
            "Duration of loads that were committed, by the type of their destination.",
            "type",
            LOAD_SECONDS,
        ),
    ):
        family = HistogramMetricFamily(name, help_, labels=(label,))
        for one in sum_histogram(form, seen.durations):
            family.add_metric((one.label,), [*one.buckets], one.sum_seconds)
        yield family


def _build_publication_families(seen: MetricsSnapshot) -> Iterator[Metric]:
    published = GaugeMetricFamily(
        "treadle_published_timestamp_seconds", "When the copy for readers was begun."
    )
    failing = GaugeMetricFamily(
        "treadle_publish_failing", "1 while no newer copy for readers can be made."
    )
    if seen.published_at is not None:
        published.add_metric((), seen.published_at)
    if seen.publish_failing is not None:
        failing.add_metric((), seen.publish_failing)
    yield from (published, failing)


def _build_process_families(processes: Sequence[ProcessSnapshot]) -> Iterator[Metric]:
    labels = ("process",)
    memory = GaugeMetricFamily(
        "treadle_process_resident_memory_bytes", "Memory that a process has.", labels=labels
    )
    files = GaugeMetricFamily(
        "treadle_process_open_fds", "Descriptors that a process has open.", labels=labels
    )
    cpu = CounterMetricFamily(
        "treadle_process_cpu_seconds", "Processor time that a process has used.", labels=labels
    )
    started = GaugeMetricFamily(
        "treadle_process_start_time_seconds", "When a process started.", labels=labels
    )
    for one in processes:
        memory.add_metric((one.name,), one.memory_bytes)
        cpu.add_metric((one.name,), one.cpu_seconds)
        if one.open_files is not None:
            files.add_metric((one.name,), one.open_files)
        if one.started is not None:
            started.add_metric((one.name,), one.started)
    yield from (memory, files, cpu, started)


def _get_labels(table: TableSnapshot) -> tuple[str, str, str]:
    return table.source, str(table.source_id), table.table


def _limit_tables(tables: Sequence[TableSnapshot]) -> list[TableSnapshot]:
    """Return at most TABLES_MAX tables, and at most SOURCE_TABLES_MAX of a source.

    The sums of the others of a source are one table more, and so are those of other sources. The
    first ones are kept, so that no later table pushes one into a sum: a count that jumps there
    looks like records that were rejected now. A table with the name of the sums is among them.
    """
    kept: list[TableSnapshot] = []
    beyond: list[TableSnapshot] = []
    others: dict[int, list[TableSnapshot]] = {}
    counts: Counter[int] = Counter()
    for one in tables:
        counts[one.source_id] += one.table != OTHER_TABLES
        if one.table == OTHER_TABLES or counts[one.source_id] > SOURCE_TABLES_MAX:
            others.setdefault(one.source_id, []).append(one)
        elif len(kept) < TABLES_MAX:
            kept.append(one)
        else:
            beyond.append(one)
    for source_id, its in others.items():
        kept.append(_sum_tables(TableSnapshot(its[0].source, source_id, OTHER_TABLES), its))
    if beyond:
        kept.append(_sum_tables(TableSnapshot(OTHER_TABLES, 0, OTHER_TABLES), beyond))
    return kept


def _sum_tables(sums: TableSnapshot, tables: Sequence[TableSnapshot]) -> TableSnapshot:
    for one in tables:
        sums = replace(
            sums,
            **{
                name: getattr(sums, name) + getattr(one, name)
                for name in ("accepted", "loaded", "superseded", "rejected", "waiting", "entries")
            },
            damaged=sums.damaged + one.damaged,
            loads=sums.loads + one.loads,
            failures=sums.failures + one.failures,
            oldest=min((at for at in (sums.oldest, one.oldest) if at is not None), default=None),
            error=sums.error or one.error,
            stopped=sums.stopped or one.stopped,
        )
    return sums
