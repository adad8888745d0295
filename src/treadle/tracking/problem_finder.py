"""Finds the problems that there are now, in what the store and the log know already.

The functions whose names begin with `judge_` ask nothing. `find_problems` asks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle.courier.notice_decisions import FoundProblem
from treadle.courier.notifications import (
    DATA_DELAYED,
    DESTINATION_DENIED,
    DESTINATION_UNAVAILABLE,
    ENTRIES_DAMAGED,
    HOOK_FAILED,
    LOG_NEARLY_FULL,
    RECORDS_REJECTED,
    TABLE_STOPPED,
)
from treadle.log.protocol import LogReader, TableBacklog
from treadle.log.quota import LogQuota, LogSpace
from treadle.store.deliveries import DELIVERED, FAILED
from treadle.store.model import (
    ConfiguredDestination,
    RejectionTimes,
    Source,
    TableLoadStatus,
)
from treadle.store.store import Store
from treadle.text import digest_text

REJECTION_US: Final = 86_400_000_000
"""How long after the last load that rejected records a table counts as one that rejects some. The
same holds for damaged entries."""

OVERLAP_US: Final = 600_000_000
"""How far a look at the loads reaches back before the last look: a load may be noted late."""


@dataclass(slots=True)
class RejectionWatch:
    """Remembers which tables rejected records, or left damaged entries out, in the last day.

    At first it looks at the loads of a day, later only at those since the last look.
    """

    _looked_at: int | None = None
    _times: dict[tuple[int, str, str], tuple[int, int]] = field(default_factory=dict)
    """(source id, table, kind) -> when it began, and when it happened last."""

    def get_start(self, now: int) -> int:
        """Return since when loads have to be looked at, microseconds since 1970."""
        if self._looked_at is None or self._looked_at > now:
            return now - REJECTION_US
        return max(self._looked_at - OVERLAP_US, now - REJECTION_US)

    def add_times(self, found: Iterable[RejectionTimes], now: int) -> None:
        """Take what a look at the loads found, and forget what is over."""
        for one in found:
            for kind, first, last in (
                (RECORDS_REJECTED.name, one.rejected_first, one.rejected_last),
                (ENTRIES_DAMAGED.name, one.damaged_first, one.damaged_last),
            ):
                if first is not None and last is not None:
                    key = one.source_id, one.table_name, kind
                    began, ended = self._times.get(key, (first, last))
                    self._times[key] = min(began, first), max(ended, last)
        self._times = {
            key: times for key, times in self._times.items() if times[1] > now - REJECTION_US
        }
        self._looked_at = now

    def list_problems(self, sources: Mapping[int, Source]) -> Iterator[FoundProblem]:
        """Return the problems of sources that there are; others are deleted."""
        for (source_id, table_name, kind), (began, _) in self._times.items():
            source = sources.get(source_id)
            if source is not None:
                yield _make_table_problem(kind, source, table_name, began)


def judge_destinations(rows: Iterable[ConfiguredDestination]) -> Iterator[FoundProblem]:
    """Return the problems of destinations."""
    for row in rows:
        if row.trouble is None or row.deleted_at is not None:
            continue
        denied = row.trouble_kind == "denied"
        yield FoundProblem(
            row.account_id,
            (DESTINATION_DENIED if denied else DESTINATION_UNAVAILABLE).name,
            f"destination {row.id}",
            f"destination {row.id} ({row.name})",
            row.trouble_since or 0,
            row.trouble,
        )


def judge_tables(
    statuses: Iterable[TableLoadStatus], sources: Mapping[int, Source]
) -> Iterator[FoundProblem]:
    """Return the problems of tables that are stopped, and of sources whose schema lacks a right.

    A right is missing for many tables at once as a rule, so it is told for the source.
    """
    for status in statuses:
        source = sources.get(status.source_id)
        if source is None:
            continue
        if status.denied and not status.stopped:
            yield FoundProblem(
                source.account_id,
                DESTINATION_DENIED.name,
                f"source {source.id}",
                f"tables of {source.name}",
                status.error_since or 0,
                status.error or "",
            )
        elif status.stopped:
            yield _make_table_problem(
                TABLE_STOPPED.name,
                source,
                status.table_name,
                status.error_since or 0,
                status.error or "",
            )


def judge_delays(
    backlogs: Iterable[TableBacklog],
    statuses: Iterable[TableLoadStatus],
    sources: Mapping[int, Source],
    troubled: frozenset[int],
    now: int,
    load_age_us: int,
) -> Iterator[FoundProblem]:
    """Return the problems of sources with records that wait too long, for no reason that is told.

    Args:
        backlogs: what waits, as the log sees it.
        statuses: how far tables are loaded, and which are stopped or lack a right.
        sources: by id, without deleted ones.
        troubled: ids of sources whose destination has a problem of its own.
        now: microseconds since 1970.
        load_age_us: how long records wait by the settings, microseconds.
    """
    known = {(one.source_id, one.table_name): one for one in statuses}
    oldest: dict[int, int] = {}
    for waits in backlogs:
        status = known.get((waits.source_id, waits.table_name))
        if waits.source_id not in sources or waits.source_id in troubled:
            continue
        if status is not None and (status.stopped or status.denied or status.loaded >= waits.last):
            continue
        oldest[waits.source_id] = min(waits.oldest, oldest.get(waits.source_id, waits.oldest))
    for source_id, accepted in oldest.items():
        late_since = accepted + load_age_us
        if now - late_since >= DATA_DELAYED.delay_us:
            source = sources[source_id]
            yield FoundProblem(
                source.account_id, DATA_DELAYED.name, f"source {source_id}", source.name, late_since
            )


def judge_log(
    quota: LogQuota, space: LogSpace, account_ids: Iterable[int], now: int
) -> Iterator[FoundProblem]:
    """Return the problem of the log, for each account: the requests of all are refused at last.

    It says nothing about figures, which are those of the whole server.
    """
    if quota.is_nearly_full(space):
        for account_id in account_ids:
            yield FoundProblem(account_id, LOG_NEARLY_FULL.name, "log", "the log", now)


def list_failed_deliveries(store: Store) -> Sequence[FoundProblem]:
    """Return the problems of hooks with a delivery that failed for good.

    A hook has this problem from the last try of a delivery on, until it takes a later one.
    """
    found: list[FoundProblem] = []
    for hook in store.hooks.list_hooks():
        if hook.disabled_at is not None or not hook.failed:
            continue
        failed = store.deliveries.list_deliveries(hook.id, state=FAILED, limit=1)
        taken = store.deliveries.list_deliveries(hook.id, state=DELIVERED, limit=1)
        if failed and not (taken and taken[0].number > failed[0].number):
            since = failed[0].finished_at or failed[0].created_at
            name = f"hook {hook.id}"
            found.append(FoundProblem(hook.account_id, HOOK_FAILED.name, name, name, since))
    return found


def find_problems(
    store: Store,
    reader: LogReader,
    quota: LogQuota,
    watch: RejectionWatch,
    now: int,
    load_age_us: int,
) -> list[FoundProblem]:
    """Return all problems that there are now.

    Args:
        store: knows destinations, tables and loads.
        reader: of the log.
        quota: the bounds of the log.
        watch: remembers what was seen before.
        now: microseconds since 1970.
        load_age_us: how long records wait by the settings, microseconds.

    Raises:
        RetriableError: the store or the log is not available now.
        OperatorError: one of them cannot be used.
    """
    # The log before the store, which knows of more loads then: nothing loaded counts as waiting.
    backlogs = reader.list_backlogs()
    space = reader.statistics.measure_space()
    statuses = store.tables.list_statuses()
    destinations = store.destinations.list_destinations()
    of_source = store.destinations.list_ids_by_source()
    sources = {one.id: one for one in store.sources.list_sources() if one.deleted_at is None}
    watch.add_times(store.loads.list_rejection_times(watch.get_start(now)), now)
    down = {row.id for row in destinations if row.trouble is not None}
    troubled = frozenset(source_id for source_id, id_ in of_source.items() if id_ in down)
    return [
        *judge_destinations(destinations),
        *judge_tables(statuses, sources),
        *watch.list_problems(sources),
        *judge_delays(backlogs, statuses, sources, troubled, now, load_age_us),
        *judge_log(quota, space, [one.id for one in store.accounts.list_accounts()], now),
        *list_failed_deliveries(store),
    ]


def _make_table_problem(
    kind: str, source: Source, table_name: str, since: int, said: str = ""
) -> FoundProblem:
    # A name may be longer than what an index of PostgreSQL takes.
    key = f"table {source.id} {digest_text(table_name).hex()}"
    return FoundProblem(source.account_id, kind, key, f"{table_name} of {source.name}", since, said)
