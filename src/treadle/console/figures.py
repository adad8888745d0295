"""The present numbers of all accounts, taken once for all pages and streams of a worker.

They come from what the loader keeps for `/metrics`: the totals of each table in the store, and the
backlogs of the log. Nothing here asks a destination, and nothing reads the ledger. Whatever is not
about single tables the pages take from the operations of the API (`control.status_operations`).
The records they count here: those count what waits up to a quarter of a second later than what was
loaded, and a page would show a load twice for that time.
"""

import time
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from treadle.errors import RetriableError
from treadle.log.joined import LastBacklogs
from treadle.log.protocol import LogReader, TableBacklog
from treadle.store.model import ConfiguredDestination, Source, TableCondition
from treadle.store.store import Store

FRESH_SECONDS: Final = 1.0
"""Least time for which figures are kept, however many people look."""

FRESH_FACTOR: Final = 10
"""They are kept this many times as long as taking them took, so that it takes at most a tenth of a
processor with any number of tables."""

BUSIEST_MAX: Final = 20
"""Tables of a source that pages show with their numbers."""


class TableFigures(NamedTuple):
    """The numbers of one table since the store was made.

    Attributes:
        table_name: as sent.
        accepted: loaded + superseded + rejected + waiting.
        oldest: when the oldest record that waits was accepted; None when none waits.
        status: None for a table that no load has tried yet.
    """

    source: Source
    table_name: str
    accepted: int
    loaded: int
    superseded: int
    rejected: int
    waiting: int
    oldest: int | None
    status: TableCondition | None


@dataclass(slots=True)
class SourceFigures:
    """The numbers of a source: sums, and what pages show of single tables.

    The tables themselves are not kept: those of 10,000 take 5 MB, and their names 0.6.

    Attributes:
        tables: how many there are.
        untried: names of those that no load has tried yet.
        busiest: the tables that accepted most, BUSIEST_MAX at most, the first of them first.
        most_loaded: the table that has most rows loaded; None where none was loaded.
    """

    source: Source
    tables: int = 0
    untried: list[str] = field(default_factory=list)
    busiest: list[TableFigures] = field(default_factory=list)
    most_loaded: TableFigures | None = None
    accepted: int = 0
    loaded: int = 0
    superseded: int = 0
    rejected: int = 0
    waiting: int = 0
    oldest: int | None = None

    def add(self, one: TableFigures) -> None:
        """Add a table that was not added yet."""
        self.tables += 1
        if one.status is None:
            self.untried.append(one.table_name)
        self.accepted += one.accepted
        self.loaded += one.loaded
        self.superseded += one.superseded
        self.rejected += one.rejected
        self.waiting += one.waiting
        if one.oldest is not None:
            self.oldest = one.oldest if self.oldest is None else min(self.oldest, one.oldest)
        if len(self.busiest) < BUSIEST_MAX or _rank_busy(one) < _rank_busy(self.busiest[-1]):
            insort(self.busiest, one, key=_rank_busy)
            del self.busiest[BUSIEST_MAX:]
        if one.loaded and (
            self.most_loaded is None or _rank_loaded(one) < _rank_loaded(self.most_loaded)
        ):
            self.most_loaded = one


def _rank_busy(one: TableFigures) -> tuple[int, str, str]:
    return -one.accepted, one.source.name, one.table_name


def _rank_loaded(one: TableFigures) -> tuple[int, str]:
    return -one.loaded, one.table_name


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """The numbers of an account.

    Attributes:
        sources: those that are not deleted, by id.
        by_source: the numbers of each of them, by id.
        destinations: those that are not deleted, by id.
    """

    sources: Mapping[int, Source] = field(default_factory=dict)
    by_source: Mapping[int, SourceFigures] = field(default_factory=dict)
    destinations: Sequence[ConfiguredDestination] = ()
    accepted: int = 0
    loaded: int = 0
    superseded: int = 0
    rejected: int = 0
    waiting: int = 0
    oldest: int | None = None

    @property
    def busiest(self) -> list[TableFigures]:
        """Return the tables that accepted most, BUSIEST_MAX at most, the first of them first."""
        found = [one for source in self.by_source.values() for one in source.busiest]
        return sorted(found, key=_rank_busy)[:BUSIEST_MAX]


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The numbers of a server.

    Attributes:
        at: when they were taken, microseconds since 1970.
        accounts: by id; one without anything is missing.
        logs_away: numbers of logs that could not be read: what waits there is as it was before.
    """

    at: int
    accounts: Mapping[int, AccountFigures]
    logs_away: tuple[int, ...] = ()

    def get_account(self, account_id: int) -> AccountFigures:
        """Return the numbers of an account."""
        return self.accounts.get(account_id, AccountFigures())


def take_figures(
    store: Store, reader: LogReader, now: int, last: LastBacklogs | None = None
) -> ServerFigures:
    """Take the numbers of all accounts.

    The log is asked before the store, so that what a load takes between the two questions is
    counted once.

    Args:
        store: knows what became of records.
        reader: of all logs.
        now: microseconds since 1970.
        last: knows what the logs said last; None where nothing was asked before.
    """
    last = last or LastBacklogs()
    backlogs = {(one.source_id, one.table_name): one for one in last.read(reader)}
    sources = {
        one.id: SourceFigures(one) for one in store.sources.list_sources() if one.deleted_at is None
    }
    # Their logs are asked when the store's transaction has ended: its server ends one that waits.
    loaded_since: list[tuple[SourceFigures, TableCondition, TableBacklog]] = []
    for status in store.tables.read_conditions():
        backlog = backlogs.pop((status.source_id, status.table_name), None)
        its = sources.get(status.source_id)
        if its is None:
            continue
        if backlog is not None and backlog.loaded < status.position < backlog.last:
            loaded_since.append((its, status, backlog))
        else:
            its.add(_join(its.source, status, backlog))
    for its, status, backlog in loaded_since:
        its.add(_join(its.source, status, _count_above(reader, status, backlog)))
    for backlog in backlogs.values():  # of tables that no load has tried yet
        its = sources.get(backlog.source_id)
        if its is not None:
            its.add(_count_waiting(its.source, backlog))
    destinations: dict[int, list[ConfiguredDestination]] = defaultdict(list)
    for row in store.destinations.list_destinations():
        if row.deleted_at is None:
            destinations[row.account_id].append(row)
    of_account: dict[int, dict[int, SourceFigures]] = defaultdict(dict)
    for source_id, its in sources.items():
        of_account[its.source.account_id][source_id] = its
    return ServerFigures(
        now,
        {
            account_id: _sum(of_account[account_id], destinations[account_id])
            for account_id in {*of_account, *destinations}
        },
        last.away,
    )


def _count_above(reader: LogReader, status: TableCondition, backlog: TableBacklog) -> TableBacklog:
    """Return a backlog with the records alone that the store does not know as loaded."""
    try:
        records = reader.statistics.count_records_above(
            status.source_id, status.table_name, status.position
        )
    except RetriableError:  # its log is away: as it was before
        return backlog
    return replace(backlog, records=records)


def _join(source: Source, status: TableCondition, backlog: TableBacklog | None) -> TableFigures:
    waiting, oldest = 0, None
    if backlog is not None and status.position < backlog.last:
        waiting, oldest = backlog.records, backlog.oldest
    return TableFigures(
        source,
        status.table_name,
        status.received + waiting,
        status.loaded,
        status.superseded,
        status.rejected,
        waiting,
        oldest,
        status,
    )


def _count_waiting(source: Source, backlog: TableBacklog) -> TableFigures:
    """Return the numbers of a table that no load has tried yet."""
    waiting = backlog.records
    return TableFigures(source, backlog.table_name, waiting, 0, 0, 0, waiting, backlog.oldest, None)


def _sum(
    sources: Mapping[int, SourceFigures], destinations: Sequence[ConfiguredDestination]
) -> AccountFigures:
    figures = sources.values()
    return AccountFigures(
        sources={source_id: one.source for source_id, one in sources.items()},
        by_source=sources,
        destinations=destinations,
        accepted=sum(one.accepted for one in figures),
        loaded=sum(one.loaded for one in figures),
        superseded=sum(one.superseded for one in figures),
        rejected=sum(one.rejected for one in figures),
        waiting=sum(one.waiting for one in figures),
        oldest=min((one.oldest for one in figures if one.oldest is not None), default=None),
    )


class FigureSampler:
    """Takes figures for whoever asks, in one thread, and keeps them for a while."""

    def __init__(
        self,
        store: Store,
        open_reader: Callable[[], LogReader],
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take nothing yet.

        Args:
            store: knows what became of records.
            open_reader: opens the log; called for the first figures.
            clock: microseconds since 1970.
            monotonic: seconds.
        """
        self._store = store
        self._open_reader = open_reader
        self._clock = clock
        self._monotonic = monotonic
        self._reader: LogReader | None = None
        self._last = LastBacklogs()
        self._taken: ServerFigures | None = None
        self._fresh_until = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="console figures")

    def begin(self) -> None:
        """Take the first figures beforehand: with 10,000 tables they take half a second.

        What goes wrong is told by `read`.
        """
        self._thread.submit(self._take)

    def read(self) -> ServerFigures:
        """Return figures that are about a second old at most; blocks.

        Raises:
            TreadleError: store or log cannot be read now.
        """
        return self._thread.submit(self._take).result()

    def close(self) -> None:
        """End the thread, and close the log."""
        self._thread.shutdown()
        if self._reader is not None:
            self._reader.close()

    def _take(self) -> ServerFigures:
        began = self._monotonic()
        if self._taken is None or began >= self._fresh_until:
            if self._reader is None:
                self._reader = self._open_reader()
            self._taken = take_figures(self._store, self._reader, self._clock(), self._last)
            ended = self._monotonic()
            self._fresh_until = ended + max(FRESH_SECONDS * 0.9, FRESH_FACTOR * (ended - began))
        return self._taken
