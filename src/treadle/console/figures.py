"""The present numbers of all accounts, taken once for all pages and streams of a worker.

They come from what the loader keeps for `/metrics`: the totals of each table in the store, and the
backlogs of the log. Nothing here asks a destination, and nothing reads the ledger. Whatever is not
about single tables the pages take from the operations of the API (`control.status_operations`).
The records they count here: those count what waits up to a quarter of a second later than what was
loaded, and a page would show a load twice for that time.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from treadle.log.protocol import LogReader, TableBacklog
from treadle.store.model import ConfiguredDestination, Source, TableLoadStatus, TableTotals
from treadle.store.store import Store

FRESH_SECONDS: Final = 1.0
"""Least time for which figures are kept, however many people look."""

FRESH_FACTOR: Final = 10
"""They are kept this many times as long as taking them took, so that it takes at most a tenth of a
processor with any number of tables."""


@dataclass(frozen=True, slots=True)
class TableFigures:
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
    status: TableLoadStatus | None


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """The numbers of an account.

    Attributes:
        sources: those that are not deleted, by id.
        tables: of these sources, by source and name.
        destinations: those that are not deleted, by id.
    """

    sources: Mapping[int, Source] = field(default_factory=dict)
    tables: Sequence[TableFigures] = ()
    destinations: Sequence[ConfiguredDestination] = ()
    accepted: int = 0
    loaded: int = 0
    superseded: int = 0
    rejected: int = 0
    waiting: int = 0
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The numbers of a server.

    Attributes:
        at: when they were taken, microseconds since 1970.
        accounts: by id; one without anything is missing.
    """

    at: int
    accounts: Mapping[int, AccountFigures]

    def get_account(self, account_id: int) -> AccountFigures:
        """Return the numbers of an account."""
        return self.accounts.get(account_id, AccountFigures())


def take_figures(store: Store, reader: LogReader, now: int) -> ServerFigures:
    """Take the numbers of all accounts.

    The log is asked before the store, so that what a load takes between the two questions is
    counted once.
    """
    backlogs = {(one.source_id, one.table_name): one for one in reader.list_backlogs()}
    known = {(one[0].source_id, one[0].table_name): one for one in store.tables.list_conditions()}
    sources = {one.id: one for one in store.sources.list_sources() if one.deleted_at is None}
    tables: dict[int, list[TableFigures]] = defaultdict(list)
    for key in sorted(backlogs.keys() | known.keys()):
        source = sources.get(key[0])
        if source is not None:
            total, status = known.get(key, (None, None))
            made = _join(source, key[1], total, backlogs.get(key), status, reader)
            tables[source.account_id].append(made)
    destinations: dict[int, list[ConfiguredDestination]] = defaultdict(list)
    for row in store.destinations.list_destinations():
        if row.deleted_at is None:
            destinations[row.account_id].append(row)
    of_account: dict[int, dict[int, Source]] = defaultdict(dict)
    for source in sources.values():
        of_account[source.account_id][source.id] = source
    return ServerFigures(
        now,
        {
            account_id: _sum(of_account[account_id], tables[account_id], destinations[account_id])
            for account_id in {*of_account, *destinations}
        },
    )


def _join(
    source: Source,
    name: str,
    total: TableTotals | None,
    backlog: TableBacklog | None,
    status: TableLoadStatus | None,
    reader: LogReader,
) -> TableFigures:
    waiting, oldest = 0, None
    position = 0 if total is None else total.position
    if backlog is not None and position < backlog.last:
        waiting, oldest = backlog.records, backlog.oldest
        if backlog.loaded < position:
            waiting = reader.statistics.count_records_above(source.id, name, position)
    if total is None:
        return TableFigures(source, name, waiting, 0, 0, 0, waiting, oldest, status)
    return TableFigures(
        source,
        name,
        total.received + waiting,
        total.loaded,
        total.superseded,
        total.rejected,
        waiting,
        oldest,
        status,
    )


def _sum(
    sources: Mapping[int, Source],
    tables: Sequence[TableFigures],
    destinations: Sequence[ConfiguredDestination],
) -> AccountFigures:
    return AccountFigures(
        sources=sources,
        tables=tables,
        destinations=destinations,
        accepted=sum(one.accepted for one in tables),
        loaded=sum(one.loaded for one in tables),
        superseded=sum(one.superseded for one in tables),
        rejected=sum(one.rejected for one in tables),
        waiting=sum(one.waiting for one in tables),
        oldest=min((one.oldest for one in tables if one.oldest is not None), default=None),
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
            self._taken = None  # not beside the next ones: they take some megabytes
            self._taken = take_figures(self._store, self._reader, self._clock())
            ended = self._monotonic()
            self._fresh_until = ended + max(FRESH_SECONDS * 0.9, FRESH_FACTOR * (ended - began))
        return self._taken
