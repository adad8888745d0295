"""The list of all tables of an account, page by page. Pure; made for 10,000 tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from treadle.store.model import Source
from treadle.tracking.table_lists import ListedTable, LoadingState, TableOrder

PAGE_SIZE: Final = 100


class ChosenTable(NamedTuple):
    """A table in the list of an account.

    Attributes:
        source: of the table.
        table: what the list of its source says of it.
    """

    source: Source
    table: ListedTable


@dataclass(frozen=True, slots=True)
class TableChoice:
    """Which tables somebody wants to see, and in which order.

    Attributes:
        search: a part of `source.table`, in upper or lower case; "" for all.
        states: only those in one of these; empty for all.
        order: of the list; equal ones are by source and name.
        number: of the page, from 1. One behind the last page is the last page.
    """

    search: str = ""
    states: frozenset[LoadingState] = frozenset()
    order: TableOrder = TableOrder.NAME
    number: int = 1


@dataclass(frozen=True, slots=True)
class NumberedPage:
    """A page of the list.

    Attributes:
        tables: of this page.
        number: of the page that is shown, from 1; `pages`: how many there are, at least 1.
        found: tables that fit the choice, on all pages.
        total: tables of the account.
        states: how many fit the search, by state, whatever state is asked for.
    """

    tables: Sequence[ChosenTable]
    number: int
    pages: int
    found: int
    total: int
    states: Mapping[LoadingState, int] = field(default_factory=dict)


def choose_tables(
    tables: Mapping[int, Sequence[ListedTable]], sources: Iterable[Source], choice: TableChoice
) -> NumberedPage:
    """Return the page that is asked for.

    Args:
        tables: by the id of their source, ranked by the order of the choice.
        sources: whose tables are listed.
        choice: which of them.
    """
    wanted = choice.search.casefold()
    chosen_states = tuple(choice.states)  # a tuple of few compares faster than a set hashes
    total = 0
    every: list[LoadingState] = []
    found: list[tuple[int, str, str, ListedTable, Source]] = []
    for source in sources:
        own = tables.get(source.id, ())
        total += len(own)
        if wanted:
            prefix = f"{source.name.casefold()}."
            own = [table for table in own if wanted in prefix + table.name.casefold()]
        every += [table.state for table in own]
        if chosen_states:
            own = [table for table in own if table.state in chosen_states]
        found += [(table.rank, source.name, table.name, table, source) for table in own]
    # No two tables have the same source and name, so nothing behind these is compared.
    found.sort(key=lambda one: one[:3])
    pages = max(1, -(-len(found) // PAGE_SIZE))
    number = min(max(1, choice.number), pages)
    shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return NumberedPage(
        [ChosenTable(source, table) for *_, table, source in shown],
        number,
        pages,
        len(found),
        total,
        {state: every.count(state) for state in LoadingState},
    )
