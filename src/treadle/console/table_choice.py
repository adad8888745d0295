"""The list of all tables of an account, page by page. Pure; made for 10,000 tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final, NamedTuple

from treadle.store.model import Source
from treadle.tracking.table_lists import ListedTable, LoadingState, TableOrder

PAGE_SIZE: Final = 100

KEPT_MAX: Final = 10 * PAGE_SIZE
"""Tables up to a page for which the first ones are kept while all are read. To sort all is quicker
for later pages, which hardly anybody asks for, and takes memory for all."""


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
    tables: Iterable[tuple[Source, Iterable[ListedTable]]],
    choice: TableChoice,
    source_id: int | None = None,
) -> NumberedPage:
    """Return the page that is asked for. Only the tables up to that page are in memory at once.

    Args:
        tables: by their source, ranked by the order of the choice.
        choice: which of them.
        source_id: only those of this source; None for all.
    """
    wanted = choice.search.casefold()
    chosen_states = tuple(choice.states)  # a tuple of few compares faster than a set hashes
    states = dict.fromkeys(LoadingState, 0)
    total = found = 0

    def select() -> Iterator[tuple[int, str, str, ListedTable, Source]]:
        nonlocal total, found
        for source, own in tables:
            if source_id not in (None, source.id):
                total += sum(1 for _ in own)
                continue
            prefix = f"{source.name.casefold()}."
            for table in own:
                total += 1
                if wanted and wanted not in prefix + table.name.casefold():
                    continue
                state = table.state
                states[state] += 1
                if not chosen_states or state in chosen_states:
                    found += 1
                    yield table.rank, source.name, table.name, table, source

    # No two tables have the same source and name, so nothing behind these is compared.
    wants = max(1, choice.number) * PAGE_SIZE
    first = nsmallest(wants, select()) if wants <= KEPT_MAX else sorted(select())
    pages = max(1, -(-found // PAGE_SIZE))
    number = min(max(1, choice.number), pages)
    shown = first[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return NumberedPage(
        [ChosenTable(source, table) for *_, table, source in shown],
        number,
        pages,
        found,
        total,
        states,
    )
