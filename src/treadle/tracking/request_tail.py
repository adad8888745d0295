"""The latest accepted requests, as the log has them.

The log keeps entries and not requests: entries of one request have one source, one time of
acceptance in microseconds, and positions without a gap.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from treadle.log.protocol import EntryNote, LogStatistics
from treadle.store.model import TableLoadStatus
from treadle.store.store import Store

PAGE_ENTRIES: Final = 500
"""Entries that are read at once."""

SCAN_ENTRIES_MAX: Final = 20_000
"""Entries that one look reads, whether or not they are among those asked for. A request has no
more."""

SCAN_SECONDS_MAX: Final = 0.2

REQUEST_TABLES_MAX: Final = 20
"""Tables of a request that are named."""

RequestState = Literal["waiting", "loaded", "rejected", "stopped"]


@dataclass(frozen=True, slots=True)
class AcceptedRequest:
    """A request that was accepted.

    Attributes:
        first: position of its first entry.
        entries: how many it has.
        tables: the first tables of it, as sent, each with its greatest position.
        size: payload bytes, uncompressed.
        state: what became of its records; "rejected" where all were.
        rejected: records that were.
        log: the number of the log that has it.
    """

    first: int
    entries: int
    source_id: int
    received_at: int
    tables: Mapping[str, int]
    records: int
    size: int
    state: RequestState = "waiting"
    rejected: int = 0
    log: int = 0

    @property
    def positions(self) -> range:
        """Return the positions of its entries."""
        return range(self.first, self.first + self.entries)


@dataclass(frozen=True, slots=True)
class RequestTail:
    """The requests of one look.

    Attributes:
        requests: the newest first.
        end: only requests below this position are left; None when there are none.
        end_at: the time of the oldest entry that was looked at, microseconds since 1970.
    """

    requests: Sequence[AcceptedRequest]
    end: int | None
    end_at: int | None


def group_entries(entries: Iterable[EntryNote], log: int = 0) -> Iterator[AcceptedRequest]:
    """Yield the requests of entries.

    Args:
        entries: the newest first.
        log: the number of their log.
    """
    group: list[EntryNote] = []
    for entry in entries:
        if group and not _belongs(entry, group[-1]):
            yield _join(group, log)
            group = []
        group.append(entry)
    if group:
        yield _join(group, log)


def _belongs(entry: EntryNote, later: EntryNote) -> bool:
    return (
        entry.position == later.position - 1
        and entry.source_id == later.source_id
        and entry.received_at == later.received_at
    )


def _join(group: Sequence[EntryNote], log: int) -> AcceptedRequest:
    oldest = group[-1]
    tables: dict[str, int] = {}
    for entry in reversed(group):
        if entry.table_name in tables or len(tables) < REQUEST_TABLES_MAX:
            tables[entry.table_name] = entry.position
    return AcceptedRequest(
        oldest.position,
        len(group),
        oldest.source_id,
        oldest.received_at,
        tables,
        sum(entry.records for entry in group),
        sum(entry.size for entry in group),
        log=log,
    )


def read_tail(
    log: LogStatistics,
    below: int | None,
    limit: int,
    matches: Callable[[EntryNote], bool],
    monotonic: Callable[[], float],
    since: int = 0,
    number: int = 0,
) -> RequestTail:
    """Return the latest requests that have an entry which matches; each with all of its entries.

    It stops after a number of entries and after a time, so that a filter which matches nothing
    costs little; `end` then says where to go on.

    Args:
        log: of the reader.
        below: only requests below this position; None for the end of the log.
        limit: only so many.
        matches: whether an entry is among those asked for.
        monotonic: seconds.
        since: entries that were accepted before this time are not looked at, microseconds.
        number: of the log.
    """
    until = monotonic() + SCAN_SECONDS_MAX
    found: list[AcceptedRequest] = []
    group: list[EntryNote] = []
    seen = 0

    def close_group() -> None:
        if group and any(map(matches, group)):
            found.append(_join(group, number))
        group.clear()

    while True:
        page = log.list_entries_below(below, PAGE_ENTRIES)
        for entry in page:
            if entry.received_at < since:
                reached = group[-1].received_at if group else None
                close_group()
                return RequestTail(found, None, reached)
            # No request is as large; entries with one time would be read to the last one.
            whole = len(group) >= SCAN_ENTRIES_MAX
            if group and (whole or not _belongs(entry, group[-1])):
                end, end_at = group[-1].position, group[-1].received_at
                close_group()
                late = seen >= SCAN_ENTRIES_MAX or monotonic() >= until
                if len(found) >= limit or late:
                    return RequestTail(found, end, end_at)
            group.append(entry)
            below = entry.position
            seen += 1
        if len(page) < PAGE_ENTRIES:
            oldest = group[-1].received_at if group else None
            close_group()
            return RequestTail(found, None, oldest)


def judge_requests(store: Store, requests: Sequence[AcceptedRequest]) -> list[AcceptedRequest]:
    """Return the requests with what became of their records.

    A request with more tables than are named counts as loaded when the named ones are, and so do
    rejected records.

    Args:
        store: knows how far tables are loaded.
        requests: as `read_tail` returns them.
    """
    names: dict[int, set[str]] = {}
    for one in requests:
        names.setdefault(one.source_id, set()).update(one.tables)
    statuses = {
        source_id: list_table_statuses(store, source_id, wanted)
        for source_id, wanted in names.items()
    }
    judged = [
        replace(one, state=judge_state(one, statuses.get(one.source_id, {}))) for one in requests
    ]
    positions: dict[int, list[int]] = {}
    for one in judged:
        if one.state == "loaded":
            positions.setdefault(one.log, []).extend(one.positions[:REQUEST_TABLES_MAX])
    rejected = {
        log: {
            outcome.position: len(outcome.rejected)
            for begin in range(0, len(some), PAGE_ENTRIES)
            for outcome in store.outcomes.list_outcomes(log, some[begin : begin + PAGE_ENTRIES])
        }
        for log, some in positions.items()
    }
    return [_count_rejected(one, rejected.get(one.log, {})) for one in judged]


def list_table_statuses(
    store: Store, source_id: int, names: Collection[str]
) -> dict[str, TableLoadStatus]:
    """Return name -> how far it is loaded, of those tables of a source that are known."""
    ordered = sorted(names)
    return {
        status.table_name: status
        for begin in range(0, len(ordered), PAGE_ENTRIES)
        for status in store.tables.list_statuses(source_id, ordered[begin : begin + PAGE_ENTRIES])
    }


def judge_state(request: AcceptedRequest, statuses: Mapping[str, TableLoadStatus]) -> RequestState:
    """Return what became of a request, by how far its tables are loaded.

    Args:
        request: the request.
        statuses: of the tables of its source, by name.
    """
    waiting = [
        status
        for name, position in request.tables.items()
        if (status := statuses.get(name)) is None or status.loaded < position
    ]
    if not waiting:
        return "loaded"
    return "stopped" if all(status and status.stopped for status in waiting) else "waiting"


def _count_rejected(request: AcceptedRequest, rejected: Mapping[int, int]) -> AcceptedRequest:
    if request.state != "loaded":
        return request
    count = sum(rejected.get(position, 0) for position in request.positions)
    state: RequestState = "rejected" if count and count >= request.records else "loaded"
    return replace(request, state=state, rejected=count)
