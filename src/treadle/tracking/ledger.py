"""The ledger: the count of every accepted record by source, table and hour.

accepted = loaded + superseded + rejected + waiting. It reaches back as far as the log is kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from treadle.log.joined import choose_reader
from treadle.log.protocol import HourlyRecords, LogReader
from treadle.store.model import EntryOutcome
from treadle.store.store import Store

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """The records of one table that were accepted in one hour.

    Attributes:
        hour: its beginning, microseconds since 1970, UTC.
        accepted: all of them.
        loaded: those that are rows, or were rows until a greater sequence came.
        superseded: those that lost against a greater sequence or a newer table version.
        rejected: those in `_sdc_rejected`, and those of damaged entries.
        waiting: those that are not loaded yet.
    """

    source_id: int
    table_name: str
    hour: int
    accepted: int
    loaded: int
    superseded: int
    rejected: int
    waiting: int


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """The lines of some tables.

    Attributes:
        last: the last of these tables, where there are further ones; else None.
    """

    lines: list[LedgerLine]
    last: tuple[int, str] | None


def compute_page(
    store: Store,
    log: LogReader,
    source_ids: Iterable[int],
    after: tuple[int, str] | None,
    tables_max: int,
) -> LedgerPage:
    """Return the lines of the next tables, by source, table and hour.

    Args:
        store: see `compute_ledger`.
        log: see there.
        source_ids: only these sources.
        after: the table before the first one; None to begin.
        tables_max: how many tables at most: each takes several questions.
    """
    wanted = set(source_ids)
    rest = sorted(
        key
        for key in log.statistics.list_tables()
        if key[0] in wanted and (after is None or key > after)
    )
    chosen = rest[:tables_max]
    lines = _compute_lines(store, log, chosen)
    return LedgerPage(lines, chosen[-1] if len(rest) > tables_max else None)


def count_waiting_records(
    store: Store, log: LogReader, source_ids: Iterable[int]
) -> dict[tuple[int, str], int]:
    """Return (source, table) -> records that wait, of the tables of which an entry waits.

    An entry may hold no record: what a client says of a table version waits, too.

    Args:
        store: see `compute_ledger`.
        log: see there.
        source_ids: only these sources.
    """
    wanted = set(source_ids)
    loaded = {(one.source_id, one.table_name): one.loaded for one in store.tables.list_statuses()}
    waiting = [
        key
        for one in log.list_backlogs()
        if one.source_id in wanted
        and one.last > loaded.get(key := (one.source_id, one.table_name), 0)
    ]
    return {
        (source_id, name): sum(
            hour.waiting
            for hour in log.statistics.count_by_hour(
                source_id, name, loaded.get((source_id, name), 0)
            )
        )
        for source_id, name in sorted(waiting)
    }


def compute_ledger(
    store: Store, log: LogReader, source_ids: Iterable[int] | None = None
) -> list[LedgerLine]:
    """Return the lines of the ledger, by source, table and hour.

    Args:
        store: has load status and outcomes. It is asked before the log: a load between the two
            questions then shows as waiting, and never as more loaded than accepted.
        log: has the accepted records.
        source_ids: only these sources; None for all.
    """
    wanted = None if source_ids is None else set(source_ids)
    tables = [key for key in log.statistics.list_tables() if wanted is None or key[0] in wanted]
    return _compute_lines(store, log, sorted(tables))


def _compute_lines(
    store: Store, log: LogReader, tables: Iterable[tuple[int, str]]
) -> list[LedgerLine]:
    statuses = {(s.source_id, s.table_name): s.loaded for s in store.tables.list_statuses()}
    lines: list[LedgerLine] = []
    for source_id, name in tables:
        loaded = statuses.get((source_id, name), 0)
        outcomes = store.outcomes.list_outcomes_of_table(source_id, name)
        its = choose_reader(log, source_id).statistics
        hours = its.count_by_hour(source_id, name, loaded)
        times = its.get_received_times([outcome.position for outcome in outcomes])
        lines += _make_lines(source_id, name, hours, outcomes, times)
    return lines


def _make_lines(
    source_id: int,
    name: str,
    hours: Sequence[HourlyRecords],
    outcomes: Sequence[EntryOutcome],
    times: Mapping[int, int],
) -> list[LedgerLine]:
    superseded: dict[int, int] = defaultdict(int)
    rejected: dict[int, int] = defaultdict(int)
    for outcome in outcomes:
        if outcome.position in times:  # the log no longer keeps the others
            hour = times[outcome.position] // HOUR_US
            superseded[hour] += outcome.superseded
            rejected[hour] += len(outcome.rejected)
    return [
        LedgerLine(
            source_id,
            name,
            one.hour * HOUR_US,
            one.records,
            one.records - one.waiting - superseded[one.hour] - rejected[one.hour],
            superseded[one.hour],
            rejected[one.hour],
            one.waiting,
        )
        for one in hours
    ]


def sum_lines(lines: Iterable[LedgerLine]) -> LedgerLine:
    """Return one line with the sums of all lines, without a table."""
    sums = LedgerLine(0, "", 0, 0, 0, 0, 0, 0)
    for line in lines:
        sums = replace(
            sums,
            accepted=sums.accepted + line.accepted,
            loaded=sums.loaded + line.loaded,
            superseded=sums.superseded + line.superseded,
            rejected=sums.rejected + line.rejected,
            waiting=sums.waiting + line.waiting,
        )
    return sums
