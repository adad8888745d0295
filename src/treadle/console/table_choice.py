"""The list of all tables of an account, page by page. Pure; made for 10,000 tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final, NamedTuple

from treadle.store.model import Source
from treadle.tracking.table_lists import ListedTable, LoadingState, TableOrder

PAGE_SIZE: Final = 100

KEPT_MAX: Final = 10 * PAGE_SIZE
"""Tables up to a page for which the first ones are kept while all are read. To sort the names of
all is quicker for later pages, which hardly anybody asks for."""

TablesBySource = Iterable[tuple[Source, Iterable[ListedTable]]]
"""Sources with their tables; those of one are taken before the next source."""


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


@dataclass(slots=True)
class TableSelection:
    """Goes through the tables of an account, and counts those that fit a choice.

    Attributes:
        choice: which tables fit.
        source_id: only those of this source; None for all.
        found, total, states: see `NumberedPage`.
    """

    choice: TableChoice
    source_id: int | None = None
    found: int = 0
    total: int = 0
    states: dict[LoadingState, int] = field(default_factory=lambda: dict.fromkeys(LoadingState, 0))

    def select(self, tables: TablesBySource) -> Iterator[ChosenTable]:
        """Yield the tables that fit, and count them all."""
        wanted = self.choice.search.casefold()
        chosen_states = tuple(self.choice.states)  # a tuple of few compares faster than a set
        for source, own in tables:
            if self.source_id not in (None, source.id):
                self.total += sum(1 for _ in own)
                continue
            prefix = f"{source.name.casefold()}."
            for table in own:
                self.total += 1
                if wanted and wanted not in prefix + table.name.casefold():
                    continue
                state = table.state
                self.states[state] += 1
                if not chosen_states or state in chosen_states:
                    self.found += 1
                    yield ChosenTable(source, table)


def choose_tables(
    read: Callable[[], TablesBySource], choice: TableChoice, source_id: int | None = None
) -> NumberedPage:
    """Return the page that is asked for. Only the first tables are in memory at once.

    Args:
        read: reads the tables, ranked by the order of the choice; again for a late page, whose
            tables are sorted by their names alone. All of 10,000 took 2 MB more, which a worker
            kept.
        choice: which of them.
        source_id: only those of this source; None for all.
    """
    selection = TableSelection(choice, source_id)
    selected = selection.select(read())
    wants = max(1, choice.number) * PAGE_SIZE
    # No two tables have the same source and name, so nothing behind these is compared.
    if wants <= KEPT_MAX:
        first = nsmallest(wants, ((one.table.rank, *_get_names(one), one) for one in selected))
        number, pages = _find_number(choice, selection.found)
        shown = [one for *_, one in first[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]]
    else:
        ranked = sorted((one.table.rank, *_get_names(one)) for one in selected)
        number, pages = _find_number(choice, selection.found)
        ranked = ranked[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        places = {(source, table): at for at, (_, source, table) in enumerate(ranked)}
        again = TableSelection(choice, source_id).select(read())
        found = (one for one in again if _get_names(one) in places)
        shown = sorted(found, key=lambda one: places[_get_names(one)])
    return NumberedPage(shown, number, pages, selection.found, selection.total, selection.states)


def _get_names(one: ChosenTable) -> tuple[str, str]:
    return one.source.name, one.table.name


def _find_number(choice: TableChoice, found: int) -> tuple[int, int]:
    """Return the number of the page that is shown, and how many there are."""
    pages = max(1, -(-found // PAGE_SIZE))
    return min(max(1, choice.number), pages), pages
