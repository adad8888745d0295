"""Tables: the list with search and filters, and one with its columns and loads (P6)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from treadle.console import view
from treadle.console.figures import TableFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    is_named_by,
)
from treadle.console.pages.lookups import require_source
from treadle.console.pages.overview import make_table_path
from treadle.control.lookups import parse_id
from treadle.store.model import KeptRelation

PAGE_SIZE: Final = 100
LOADS_SHOWN: Final = 20

SORTS: Final[dict[str, Callable[[TableFigures], Any]]] = {
    "name": lambda one: (one.source.name, one.table_name),
    "accepted": lambda one: -one.accepted,
    "waiting": lambda one: -one.waiting,
    "oldest": lambda one: one.oldest if one.oldest is not None else 1 << 62,
    "rejected": lambda one: -one.rejected,
    "loaded": lambda one: -((one.status.loaded_at or 0) if one.status else 0),
}
SORT_LABELS: Final = {
    "accepted": "most accepted",
    "waiting": "most waiting",
    "oldest": "longest waiting",
    "rejected": "most rejected",
    "loaded": "last load",
}
STATES: Final = ("idle", "waiting", "trouble", "failing", "stopped")


def list_tables(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show tables, 100 a page."""
    seen = services.sampler.read().get_account(request.account.id)
    query = request.query
    search = query.get("q", "").strip()
    state = query.get("state", "")
    sort = query.get("sort", "name") if query.get("sort") in SORTS else "name"
    source_id = parse_id(query.get("source", ""))
    found = select_tables(seen.tables, search, state, source_id)
    found.sort(key=SORTS[sort])
    number = parse_id(query.get("page", "1")) or 1
    pages = max(1, -(-len(found) // PAGE_SIZE))
    number = min(number, pages)
    shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return PageAnswer(
        "tables.html",
        {
            "title": "Tables",
            "section": "tables",
            "command": f"treadle ledger{services.data_flag}",
            "lines": [
                (one, view.describe_table(one.status, one.waiting), make_table_path(one))
                for one in shown
            ],
            "total": len(seen.tables),
            "found": len(found),
            "search": search,
            "state": state,
            "state_choices": [(word, word) for word in STATES],
            "sort": sort,
            "sort_choices": [(name, SORT_LABELS[name]) for name in SORTS if name != "name"],
            "sources_choices": [
                (one.id, one.name)
                for one in sorted(seen.sources.values(), key=lambda one: one.name)
            ],
            "number": number,
            "pages": pages,
            "filter": {
                "q": search,
                "state": state,
                "sort": sort,
                "source": "" if source_id is None else str(source_id),
            },
        },
    )


def select_tables(
    tables: Sequence[TableFigures], search: str, state: str, source_id: int | None
) -> list[TableFigures]:
    """Return the tables of a filter. Pure.

    Args:
        tables: all of them.
        search: a part of the name of the source or the table, in upper or lower case.
        state: a word of STATES; any other for all.
        source_id: None for all.
    """
    part = search.casefold()
    return [
        one
        for one in tables
        if (source_id is None or one.source.id == source_id)
        and (not part or part in f"{one.source.name}.{one.table_name}".casefold())
        and (state not in STATES or view.describe_table(one.status, one.waiting).word == state)
    ]


def show_table(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one table."""
    row = require_source(services, request)
    wanted = request.parts["table"]
    seen = services.sampler.read().get_account(request.account.id)
    found = next(
        (
            one
            for one in seen.tables
            if one.source.id == row.id and is_named_by(wanted, one.table_name)
        ),
        None,
    )
    if found is None:
        raise PageNotFoundError(
            f"The source {row.name} has no table {wanted!r}. A table is there after its first push."
        )
    name = found.table_name
    pushed = next(
        (one for one in services.store.tables.list_pushed_tables(row.id) if one.name == name), None
    )
    kept = None if pushed is None else services.store.tables.get_kept_columns(pushed.id)
    loads = services.store.loads.list_loads(
        account_id=request.account.id, source_id=row.id, table_name=name, limit=LOADS_SHOWN
    )
    return PageAnswer(
        "table.html",
        {
            "title": f"{row.name}.{name}",
            "section": "tables",
            "command": f"treadle loads --source {row.name} --table {_quote(name)}"
            f"{services.data_flag}",
            "source": row,
            "table": found,
            "state": view.describe_table(found.status, found.waiting),
            "key_fields": () if kept is None else kept.key_fields,
            "relations": ()
            if kept is None
            else [_describe_relation(one) for one in kept.relations],
            "loads": loads,
        },
    )


def _describe_relation(one: KeptRelation) -> dict[str, Any]:
    """Return a relation with its columns; several columns of one field are a split."""
    counts: dict[str, int] = {}
    for column in one.columns:
        if not column.system:
            counts[column.field] = counts.get(column.field, 0) + 1
    return {
        "name": one.name,
        "path": ".".join(one.path),
        "columns": [
            (column, not column.system and counts[column.field] > 1) for column in one.columns
        ],
    }


def _quote(name: str) -> str:
    return "'" + view.show_text(name, 200).replace("'", "'\\''") + "'"


ROUTES: Final = (
    PageRoute("/tables", list_tables),
    PageRoute("/sources/{source}/tables/{table}", show_table),
)
