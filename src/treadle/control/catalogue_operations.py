"""Operations on the tables of a source: lists, one table, its history, and loads at once.

None of them opens a destination: what is said of columns is what the last load left, and what waits
is read from the log.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle.clock import read_clock
from treadle.control import errors
from treadle.control.load_operations import invalid_parameter, parse_limit
from treadle.control.lookups import find_source, parse_id
from treadle.control.times import show_time
from treadle.control.waiting_view import WaitingView
from treadle.log.protocol import TableBacklog
from treadle.store.column_history import TableCatalogue
from treadle.store.model import Account, ConfiguredDestination, KeptRelation, Source, TableEntry
from treadle.store.recent_loads import RecentLoads
from treadle.store.store import Store
from treadle.store.trail_event import TrailAction
from treadle.tracking.schema_history import render_event
from treadle.tracking.table_lists import (
    ListedTable,
    LoadingState,
    TableOrder,
    TableQuestion,
    can_load_into,
    choose_page,
    decide_state,
    list_tables,
)

TABLES_MAX: Final = 100
EVENTS_DEFAULT: Final = 100
DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class CatalogueOperations:
    """The operations; every look-up is inside the account.

    Attributes:
        store: sources, tables and loads.
        waiting: what waits in the log.
        clock: microseconds since 1970.
    """

    store: Store
    waiting: WaitingView
    clock: Callable[[], int] = read_clock

    def summarize_source(self, account: Account, source_id: str) -> dict[str, Any]:
        """Serve `GET /v1/sources/{source_id}/summary`.

        Raises:
            RequestRefusedError: 404, the account has no such source.
        """
        source = self._require_source(account, source_id)
        backlogs = self.waiting.list_backlogs(source.id)
        destination = self.store.destinations.find_destination_of_source(source.id)
        overviews = self.store.tables.list_overviews(source.id)
        found = list_tables(overviews, backlogs, can_load=can_load_into(destination))
        page = choose_page(found, TableQuestion(limit=1))
        loaded = [one.loaded_at for one in overviews if one.loaded_at is not None]
        tokens = self.store.tokens.list_tokens(source.id)
        used = [token.last_used_at for token in tokens if token.last_used_at is not None]
        recent = self.store.loads.sum_recent(source_id=source.id, since=self.clock() - DAY_US)
        return {
            "source_id": source.id,
            "name": source.name,
            "display_name": source.display_name,
            "schema": source.schema,
            "state": _name_source_state(source),
            "tables": page.total,
            "states": {state.value: count for state, count in page.states.items()},
            "waiting_records": sum(table.waiting for table in found),
            "waiting_bytes": sum(table.waiting_bytes for table in found),
            "oldest_waiting_at": show_time(
                min((table.oldest for table in found if table.oldest is not None), default=None)
            ),
            "last_load_at": show_time(max(loaded, default=None)),
            "last_used_at": show_time(max(used, default=None)),
            "active_tokens": len(tokens),
            "totals": self.store.tables.sum_totals(source.id),
            "recent": render_recent(recent),
            "destination": _render_destination(destination),
        }

    def list_source_tables(
        self, account: Account, source_id: str, question: TableQuestion
    ) -> dict[str, Any]:
        """Serve `GET /v1/sources/{source_id}/tables`.

        Raises:
            RequestRefusedError: 404, the account has no such source.
        """
        source = self._require_source(account, source_id)
        # The log before the store, which says more of what was loaded in between.
        backlogs = self.waiting.list_backlogs(source.id)
        destination = self.store.destinations.find_destination_of_source(source.id)
        found = list_tables(
            self.store.tables.list_overviews(source.id),
            backlogs,
            can_load=can_load_into(destination),
            order=question.order,
        )
        page = choose_page(found, question)
        ids = [table.table_id for table in page.tables if table.table_id is not None]
        entries = {entry.id: entry for entry in self.store.tables.list_entries(ids)}
        return {
            "tables": [
                render_listed_table(table, entries.get(table.table_id or 0))
                for table in page.tables
            ],
            "next": None if page.next is None else f"{page.next[0]}/{page.next[1]}",
            "total": page.total,
            "states": {state.value: count for state, count in page.states.items()},
        }

    def get_source_table(self, account: Account, source_id: str, name: str) -> dict[str, Any]:
        """Serve `GET /v1/sources/{source_id}/tables/{table}`.

        Raises:
            RequestRefusedError: 404, the account has no such source, or that no such table.
        """
        source = self._require_source(account, source_id)
        table, entry = self._require_table(source, name)
        recent = self.store.loads.sum_recent(
            source_id=source.id, table_name=name, since=self.clock() - DAY_US
        )
        catalogue = self.store.tables.get_catalogue(0 if entry is None else entry.id)
        return {
            "source_id": source.id,
            "schema": source.schema,
            **render_listed_table(table, entry),
            "rebuilt_at": show_time(None if entry is None else entry.rebuilt_at),
            "recent": render_recent(recent),
            **render_catalogue(catalogue, recent.rows),
        }

    def list_history(
        self, account: Account, source_id: str, name: str, before: str | None, limit: str | None
    ) -> dict[str, Any]:
        """Serve `GET /v1/sources/{source_id}/tables/{table}/history`.

        Raises:
            RequestRefusedError: 404, no such source or table; 400, a parameter is wrong.
        """
        source = self._require_source(account, source_id)
        last = None if before is None else parse_id(before)
        if before is not None and last is None:
            raise invalid_parameter("before", "the id of an event")
        count = parse_limit(limit, default=EVENTS_DEFAULT, most=EVENTS_DEFAULT)
        self._require_table(source, name)
        found = self.store.schema_events.list_events(
            source_id=source.id, table_name=name, before=last, limit=count + 1
        )
        shown = found[:count]
        return {
            "events": [render_event(event) for event in shown],
            "next": str(shown[-1].id) if len(found) > count else None,
        }

    def load_table(self, account: Account, source_id: str, name: str) -> dict[str, Any]:
        """Serve `POST /v1/sources/{source_id}/tables/{table}/load`.

        Raises:
            RequestRefusedError: 404, no such source or table.
        """
        source = self._require_source(account, source_id)
        table, _ = self._require_table(source, name)
        made = self.store.load_requests.add_request(source, name, TrailAction.LOAD_TABLE)
        return _render_request(table, made.at)

    def retry_table(self, account: Account, source_id: str, name: str) -> dict[str, Any]:
        """Serve `POST /v1/sources/{source_id}/tables/{table}/retry`.

        Raises:
            RequestRefusedError: 404, no such source or table; 409, its last try did not fail.
        """
        source = self._require_source(account, source_id)
        table, _ = self._require_table(source, name)
        if table.state not in (LoadingState.STOPPED, LoadingState.FAILING):
            raise errors.table_not_failing(name, table.state)
        made = self.store.load_requests.add_request(source, name, TrailAction.RETRY_TABLE)
        return _render_request(table, made.at)

    def _require_source(self, account: Account, source_id: str) -> Source:
        row = find_source(self.store, account, source_id)
        if row is None:
            raise errors.source_not_found(source_id, status=404)
        return row

    def _require_table(self, source: Source, name: str) -> tuple[ListedTable, TableEntry | None]:
        backlog = self.waiting.list_backlogs(source.id).get(name)
        entry = self.store.tables.find_entry(source.id, name)
        if entry is None and backlog is None:
            raise errors.table_not_found(name)
        destination = self.store.destinations.find_destination_of_source(source.id)
        return self._describe_table(name, entry, backlog, destination), entry

    def _describe_table(
        self,
        name: str,
        entry: TableEntry | None,
        backlog: TableBacklog | None,
        destination: ConfiguredDestination | None,
    ) -> ListedTable:
        position = 0 if entry is None else entry.position
        waits = backlog if backlog is not None and backlog.last > position else None
        records = 0 if waits is None else waits.records
        if waits is not None and waits.loaded < position:
            records = self.waiting.count_records_above(waits.source_id, name, position)
        state = decide_state(
            stopped=entry is not None and entry.stopped,
            failing=entry is not None and entry.error is not None,
            waits=waits is not None,
            can_load=can_load_into(destination),
        )
        return ListedTable(
            0,
            name,
            state,
            records,
            0 if waits is None else waits.size,
            None if waits is None else waits.oldest,
            None if entry is None else entry.id,
        )


def parse_table_question(
    state: str | None, search: str | None, sort: str | None, after: str | None, limit: str | None
) -> TableQuestion:
    """Return which tables are asked for.

    Args:
        state: words of `LoadingState`, with commas.
        search: a part of the name.
        sort: a word of `TableOrder`.
        after: `next` of the page before.
        limit: how many at most.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    states = frozenset(part.strip() for part in state.split(",")) if state else frozenset()
    if not states <= frozenset(LoadingState):
        raise invalid_parameter("state", "some of " + ", ".join(LoadingState))
    order = sort or TableOrder.NAME.value
    if order not in list(TableOrder):
        raise invalid_parameter("sort", "one of " + ", ".join(TableOrder))
    return TableQuestion(
        search or "",
        frozenset(map(LoadingState, states)),
        TableOrder(order),
        None if after is None else _parse_place(after),
        parse_limit(limit, default=TABLES_MAX, most=TABLES_MAX),
    )


def _parse_place(text: str) -> tuple[int, str]:
    rank, slash, name = text.partition("/")
    digits = rank.removeprefix("-")
    if not slash or not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        raise invalid_parameter("after", "`next` of the page before")
    return int(rank), name


def render_listed_table(table: ListedTable, entry: TableEntry | None) -> dict[str, Any]:
    """Return a table as lists show it; what is not known before its first try is 0 or null."""
    return {
        "table": table.name,
        "state": table.state.value,
        "waiting_records": table.waiting,
        "waiting_bytes": table.waiting_bytes,
        "oldest_waiting_at": show_time(table.oldest),
        "last_load_at": show_time(None if entry is None else entry.loaded_at),
        "received": 0 if entry is None else entry.received,
        "loaded": 0 if entry is None else entry.loaded,
        "superseded": 0 if entry is None else entry.superseded,
        "rejected": 0 if entry is None else entry.rejected,
        "loads": 0 if entry is None else entry.loads,
        "failures": 0 if entry is None else entry.failures,
        "error": None if entry is None else entry.error,
        "error_since": show_time(None if entry is None else entry.error_since),
        "trouble": None if entry is None else entry.trouble,
        "trouble_since": show_time(None if entry is None else entry.trouble_since),
        "version": None if entry is None else entry.version,
        "mode": None if entry is None else entry.mode,
    }


def render_recent(recent: RecentLoads) -> dict[str, Any]:
    """Return the sums of recent loads, with the time since which they are complete."""
    return {
        "since": show_time(recent.since),
        "loads": recent.loads,
        "failures": recent.failures,
        "received": recent.received,
        "loaded": recent.loaded,
        "superseded": recent.superseded,
        "rejected": recent.rejected,
        "waited_max_us": recent.waited_max_us,
        "waited_p50_us": recent.waited_p50_us,
    }


def render_catalogue(catalogue: TableCatalogue, rows: Mapping[str, int]) -> dict[str, Any]:
    """Return the columns of a table and its subtables, and the fields that were left out.

    Relations are in the order of a tree: each comes after the one that it is inside of. The
    columns of one field are beside each other.

    Args:
        catalogue: of the table.
        rows: relation -> rows that recent loads wrote.
    """
    relations = catalogue.columns.relations
    names = {relation.path: relation.name for relation in relations}
    shown = sorted(
        zip(relations, catalogue.times, strict=False), key=lambda pair: (pair[0].path, pair[0].name)
    )
    return {
        "key": list(catalogue.columns.key_fields),
        "relations": [
            {
                "relation": relation.name,
                "parent": names.get(relation.path[:-1]) if relation.path else None,
                "path": list(relation.path),
                "recent_rows": rows.get(relation.name, 0),
                "columns": _render_columns(relation, times),
            }
            for relation, times in shown
        ],
        "left_out": [
            {
                "relation": one.relation,
                "field": one.field,
                "reason": one.reason,
                "since": show_time(one.at),
                "load_id": one.load_id,
            }
            for one in catalogue.left_out
        ],
    }


def _render_columns(relation: KeptRelation, times: Sequence[int | None]) -> list[dict[str, Any]]:
    first: dict[str, int] = {}
    for place, column in enumerate(relation.columns):
        first.setdefault(column.field, place)
    found = sorted(
        zip(relation.columns, times, strict=False), key=lambda pair: first[pair[0].field]
    )
    return [
        {
            "column": column.name,
            "field": None if column.system else column.field,
            "type": column.type,
            "nullable": column.nullable,
            "first_seen_at": show_time(time),
        }
        for column, time in found
    ]


def _render_destination(destination: ConfiguredDestination | None) -> dict[str, Any] | None:
    if destination is None:
        return None
    return {
        "destination_id": destination.id,
        "type": destination.type,
        "name": destination.name,
        "usable": can_load_into(destination),
        "trouble": destination.trouble,
    }


def _render_request(table: ListedTable, at: int) -> dict[str, Any]:
    return {
        "table": table.name,
        "state": table.state.value,
        "waiting_records": table.waiting,
        "requested_at": show_time(at),
    }


def _name_source_state(source: Source) -> str:
    if source.deleted_at is not None:
        return "deleted"
    return "active" if source.active else "paused"
