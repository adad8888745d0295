"""Tables: the list of all tables of an account, with search, filters and orders (P6).

It opens no destination: what is said of a table is what the store has, and what waits in the log.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.console import view
from treadle.console.figures import TableFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    name_table_part,
)
from treadle.console.pages.lookups import describe_trouble, sees_records
from treadle.console.table_choice import (
    PAGE_SIZE,
    ChosenTable,
    TableChoice,
    choose_tables,
)
from treadle.control.lookups import parse_id
from treadle.store.model import Account, ConfiguredDestination, Source, TableEntry
from treadle.tracking.table_lists import (
    ListedTable,
    LoadingState,
    TableOrder,
    can_load_into,
    list_tables,
)

SORT_LABELS: Final = {
    TableOrder.WAITING: "most waiting",
    TableOrder.OLDEST: "longest waiting",
    TableOrder.LAST_LOAD: "last load",
    TableOrder.REJECTED: "most rejected",
}

_FAULTY: Final = (LoadingState.FAILING, LoadingState.STOPPED)
FAULTY: Final = ",".join(_FAULTY)

_STATE_TONES: Final[Mapping[LoadingState, view.Tone]] = {
    LoadingState.IDLE: "good",
    LoadingState.LOADING: "busy",
    LoadingState.WAITING: "warn",
    LoadingState.FAILING: "bad",
    LoadingState.STOPPED: "bad",
}


def show_tables(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show tables, 100 a page."""
    query = request.query
    every = sorted(
        (
            one
            for one in services.store.sources.list_sources(request.account.id)
            if one.deleted_at is None
        ),
        key=lambda one: one.name,
    )
    source_id = parse_id(query.get("source", ""))
    asked = [one for one in every if source_id in (None, one.id)]
    choice = parse_choice(query)
    found = _list_tables(services, request.account, every, choice.order)
    page = choose_tables(found, asked, choice)
    may_see = sees_records(services, request)
    ids = [one.table.table_id for one in page.tables if one.table.table_id is not None]
    entries = {entry.id: entry for entry in services.store.tables.list_entries(ids)}
    chosen = {
        "q": choice.search,
        "state": ",".join(sorted(choice.states)),
        "sort": "" if choice.order is TableOrder.NAME else choice.order.value,
        "source": "" if source_id is None else str(source_id),
    }
    return PageAnswer(
        "tables.html",
        {
            "title": "Tables",
            "section": "tables",
            "command": _name_command(asked, choice, services.data_flag)
            if source_id is not None and asked
            else f"treadle ledger{services.data_flag}",
            "lines": [
                _make_line(one, entries.get(one.table.table_id or 0), may_see=may_see)
                for one in page.tables
            ],
            "page": page,
            "total": sum(map(len, found.values())),
            "choice": choice,
            "state_choices": [
                *((one.value, f"{one.value} ({page.states[one]:,})") for one in LoadingState),
                (FAULTY, f"failing or stopped ({sum(page.states[one] for one in _FAULTY):,})"),
            ],
            "sort_choices": [(order.value, label) for order, label in SORT_LABELS.items()],
            "sources_choices": [(one.id, one.name) for one in every],
            "filter": chosen,
            "kept": keep_chosen(chosen),
            "page_size": PAGE_SIZE,
        },
    )


def parse_choice(query: Mapping[str, str]) -> TableChoice:
    """Return the choice that a URL names; what it does not know is left out. Pure."""
    words = {part.strip() for part in query.get("state", "").split(",")}
    order = query.get("sort", "")
    return TableChoice(
        query.get("q", "").strip(),
        frozenset(state for state in LoadingState if state.value in words),
        TableOrder(order) if order in list(TableOrder) else TableOrder.NAME,
        parse_id(query.get("page", "1")) or 1,
    )


def select_tables(
    tables: Sequence[TableFigures], search: str, state: str, source_id: int | None
) -> list[TableFigures]:
    """Return the tables of a filter, by their present numbers. Pure.

    Args:
        tables: all of them.
        search: a part of the name of the source or the table, in upper or lower case.
        state: a word of `view.describe_table`; empty for all.
        source_id: None for all.
    """
    part = search.casefold()
    return [
        one
        for one in tables
        if (source_id is None or one.source.id == source_id)
        and (not part or part in f"{one.source.name}.{one.table_name}".casefold())
        and (not state or view.describe_table(one.status, one.waiting).word == state)
    ]


def keep_chosen(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a filter that are given, for the URL that restores it. Pure."""
    return {name: value for name, value in chosen.items() if value}


def describe_state(
    state: LoadingState, entry: TableEntry | None, *, may_see: bool = True
) -> view.StateWord:
    """Return the state of a table as it is shown. Pure.

    Args:
        state: of the table.
        entry: what the store has of it; None for nothing.
        may_see: the session sees the values of records.
    """
    error = "" if entry is None else entry.error or ""
    if not error and entry is not None and entry.trouble is not None:
        error = describe_trouble(entry.trouble, may_see=may_see)
        if state in (LoadingState.IDLE, LoadingState.LOADING):
            return view.StateWord(state.value, "warn", error)
    return view.StateWord(state.value, _STATE_TONES[state], error)


def make_path(source_id: int, table_name: str) -> str:
    """Return the path of the page of a table, below the console."""
    return f"/sources/{source_id}/tables/{name_table_part(table_name)}"


def _list_tables(
    services: ConsoleServices, account: Account, sources: Sequence[Source], order: TableOrder
) -> dict[int, list[ListedTable]]:
    # The log before the store, which says more of what was loaded in between.
    backlogs = {one.id: services.reach.waiting.list_backlogs(one.id) for one in sources}
    overviews = services.store.tables.list_account_overviews(account.id)
    destinations = services.store.destinations.list_destinations(account.id)
    usable = find_usable(destinations)
    return {
        one.id: list_tables(
            overviews.get(one.id, ()),
            backlogs[one.id],
            can_load=(one.destination_id or account.destination_id) in usable,
            order=order,
        )
        for one in sources
    }


def find_usable(destinations: Sequence[ConfiguredDestination]) -> set[int | None]:
    """Return the ids of destinations that can be loaded into. Pure."""
    return {one.id for one in destinations if can_load_into(one)}


def _make_line(one: ChosenTable, entry: TableEntry | None, *, may_see: bool) -> dict[str, Any]:
    return {
        "source": one.source,
        "table": one.table,
        "entry": entry,
        "name": view.show_text(f"{one.source.name}.{one.table.name}", 120),
        "state": describe_state(one.table.state, entry, may_see=may_see),
        "path": make_path(one.source.id, one.table.name),
    }


def _name_command(asked: Sequence[Source], choice: TableChoice, data_flag: str) -> str:
    words = [f"treadle table list {asked[0].name}"]
    if choice.search:
        words.append(f"--search {shlex.quote(view.show_text(choice.search, 200))}")
    if choice.states:
        words.append(f"--state {','.join(sorted(choice.states))}")
    if choice.order is not TableOrder.NAME:
        words.append(f"--sort {choice.order.value}")
    return " ".join(words) + data_flag


ROUTES: Final = (PageRoute("/tables", show_tables),)
