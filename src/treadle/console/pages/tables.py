"""Tables: the list of all tables of an account, with search, filters and orders (P6).

It opens no destination: what is said of a table is what the store has, and what waits in the log.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import nsmallest
from typing import Any, Final

from treadle.console import view
from treadle.console.figures import AccountFigures
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
from treadle.store.model import Account, ConfiguredDestination, Source, TableEntry, TableOverview
from treadle.tracking.table_lists import (
    ListedTable,
    LoadingState,
    TableOrder,
    can_load_into,
    read_tables,
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
    read = partial(_read_tables, services, request.account, every, choice.order)
    page = choose_tables(read, choice, source_id)
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
            "total": page.total,
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


def read_names(
    services: ConsoleServices, account: Account, figures: AccountFigures
) -> Iterator[tuple[Source, str]]:
    """Yield all tables of an account, each as its source and its name, in any order."""
    for source_id, overviews in services.store.tables.read_account_overviews(account.id):
        source = figures.sources.get(source_id)
        if source is not None:
            for one in overviews:
                yield source, one.name
    for its in figures.by_source.values():
        for name in its.untried:
            yield its.source, name


def select_tables(
    tables: Iterable[tuple[Source, str]], search: str, most: int
) -> tuple[list[tuple[Source, str]], int]:
    """Return the first tables of a search, by source and name, and how many fit. Pure.

    Args:
        tables: all of them, each as its source and its name.
        search: a part of the name of the source or the table, in upper or lower case.
        most: so many at most.
    """
    part = search.casefold()
    found = 0

    def select() -> Iterator[tuple[str, str, int, Source]]:
        nonlocal found
        for source, name in tables:
            if not part or part in f"{source.name}.{name}".casefold():
                found += 1
                yield source.name, name, source.id, source

    first = nsmallest(most, select())
    return [(source, name) for _, name, _, source in first], found


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


def _read_tables(
    services: ConsoleServices, account: Account, sources: Sequence[Source], order: TableOrder
) -> Iterator[tuple[Source, Iterator[ListedTable]]]:
    """Yield the sources with their tables; those of one source are taken before the next one."""
    # The log before the store, which says more of what was loaded in between.
    backlogs = {one.id: services.reach.waiting.list_backlogs(one.id) for one in sources}
    destinations = services.store.destinations.list_destinations(account.id)
    usable = find_usable(destinations)
    left = {one.id: one for one in sources}

    def read(
        source: Source, overviews: Iterable[TableOverview]
    ) -> tuple[Source, Iterator[ListedTable]]:
        can_load = (source.destination_id or account.destination_id) in usable
        return source, read_tables(overviews, backlogs[source.id], can_load=can_load, order=order)

    for source_id, overviews in services.store.tables.read_account_overviews(account.id):
        source = left.pop(source_id, None)
        if source is not None:
            yield read(source, overviews)
    for source in left.values():  # no load has tried a table of it yet
        yield read(source, ())


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
    words = [f"treadle table list {shlex.quote(asked[0].name)}"]
    if choice.search:
        words.append(f"--search {shlex.quote(view.show_text(choice.search, 200))}")
    if choice.states:
        words.append(f"--state {','.join(sorted(choice.states))}")
    if choice.order is not TableOrder.NAME:
        words.append(f"--sort {choice.order.value}")
    return " ".join(words) + data_flag


ROUTES: Final = (PageRoute("/tables", show_tables),)
