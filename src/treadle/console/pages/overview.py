"""The overview: numbers, problems and plots of the account, busy tables, schema events (P2)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from treadle.console import view
from treadle.console.access import has_role
from treadle.console.figures import AccountFigures, ServerFigures, TableFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
    name_table_part,
)
from treadle.console.pages.problems import ProblemBoard, read_board
from treadle.console.pages.regions import NO_FIGURES, RegionView
from treadle.console.pages.start import is_in_guide
from treadle.console.part_keeper import KeptPart
from treadle.console.series_view import (
    RANGES,
    PlotRange,
    ShownPlot,
    find_range,
    show_plots,
    write_begin,
)
from treadle.control.series_operations import show_series
from treadle.control.status_operations import show_status
from treadle.control.times import instant
from treadle.store.model import Account, ConsoleRole
from treadle.store.schema_event import SchemaEvent
from treadle.tracking.schema_history import describe_event

TABLES_SHOWN: Final = 8
PROBLEMS_SHOWN: Final = 5
EVENTS_SHOWN: Final = 8


def show_overview(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the overview; an account without a row is led to the guide."""
    account = request.account
    figures = _read_figures(services).value
    may_start = has_role(request.session, ConsoleRole.OPERATOR)
    if may_start and figures is not None and is_in_guide(services, account, figures):
        return lead_on("/start")
    shown = find_range(request.query.get("range", ""))
    return PageAnswer(
        "overview.html",
        {
            "title": "Overview",
            "section": "overview",
            "topics": f"overview,overview-problems,overview-lists,plots-{shown.name}",
            "command": f"treadle status{services.data_flag}",
            "ranges": RANGES,
            "range": shown,
            **get_cards(services, account, NO_FIGURES),
            **get_first_problems(services, account, NO_FIGURES),
            **get_lists(services, account, NO_FIGURES),
            **get_plots(services, account, NO_FIGURES, shown),
        },
    )


def _read_figures(services: ConsoleServices) -> KeptPart[ServerFigures]:
    return services.parts.read("figures", services.sampler.read, services.clock())


def get_cards(services: ConsoleServices, account: Account, _: ServerFigures) -> Mapping[str, Any]:
    """Return the values of the region with the numbers."""
    counted = _read_figures(services)
    seen = (counted.value or NO_FIGURES).get_account(account.id)
    status = services.parts.read(
        ("status", account.id),
        lambda: show_status(services.store, services.traces, account),
        services.clock(),
    )
    told = status.value
    return {
        "counted": counted,
        "logs_away": describe_logs_away((counted.value or NO_FIGURES).logs_away),
        "seen": seen,
        "status": status,
        "rates": None if told is None else told["rates"][0],
        "freshness": None if told is None else _write_freshness(told["freshness"]),
        "log": None if told is None else told["server"],
        "has_others": services.traces.shares_store,
        "destinations": describe_destinations(seen),
    }


def _write_freshness(told: Mapping[str, float | None]) -> tuple[str, str] | None:
    """Return how long records of the last hour waited; None where none was loaded."""
    p50, p99 = told["p50_seconds"], told["p99_seconds"]
    if p50 is None or p99 is None:
        return None
    return (
        view.format_duration(int(p50 * view.SECOND_US)),
        view.format_duration(int(p99 * view.SECOND_US)),
    )


def describe_logs_away(numbers: Sequence[int]) -> str:
    """Return that some logs cannot be read, in a few words; empty where all can. Pure."""
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f"log {numbers[0]} cannot be read: as before"
    return f"{len(numbers)} logs cannot be read: as before"


def describe_destinations(seen: AccountFigures) -> tuple[view.StateWord, str, str]:
    """Return the state of the destinations together, a text, and the page that says more. Pure."""
    rows = [(row, view.describe_destination(row)) for row in seen.destinations]
    if not rows:
        return view.StateWord("none", "bad"), "records wait", "/destinations"
    if len(rows) == 1:
        row, state = rows[0]
        return state, row.name, f"/destinations/{row.id}"
    troubled = [state for _, state in rows if state.tone != "good"]
    if not troubled:
        return view.StateWord("usable", "good"), f"all {len(rows)}", "/destinations"
    return troubled[0], f"{len(troubled)} of {len(rows)}", "/destinations"


def get_first_problems(
    services: ConsoleServices, account: Account, _: ServerFigures
) -> Mapping[str, Any]:
    """Return the values of the region with the worst problems."""
    problems = read_board(services, account)
    board = problems.value or ProblemBoard()
    return {
        "problems": problems,
        "board": board,
        "problem_lines": board.lines[:PROBLEMS_SHOWN],
        "problems_left": max(0, len(board.lines) - PROBLEMS_SHOWN),
    }


def get_lists(services: ConsoleServices, account: Account, _: ServerFigures) -> Mapping[str, Any]:
    """Return the values of the region with busy tables and schema events."""
    counted = _read_figures(services)
    seen = (counted.value or NO_FIGURES).get_account(account.id)
    events = services.parts.read(
        ("events", account.id),
        lambda: services.store.schema_events.list_events(account_id=account.id, limit=EVENTS_SHOWN),
        services.clock(),
    )
    return {
        "counted": counted,
        "tables": [
            (one, view.describe_table(one.status, one.waiting), make_table_path(one))
            for one in seen.busiest[:TABLES_SHOWN]
        ],
        "events": events,
        "event_lines": [
            (event, seen.sources[event.source_id].name, describe_event(event), _find_path(event))
            for event in events.value or ()
            if event.source_id in seen.sources
        ],
    }


def _find_path(event: SchemaEvent) -> str:
    return f"/sources/{event.source_id}/tables/{name_table_part(event.table_name)}"


def get_plots(
    services: ConsoleServices, account: Account, _: ServerFigures, shown: PlotRange
) -> Mapping[str, Any]:
    """Return the values of the region with the plots of a range."""
    now = services.traces.clock() // view.SECOND_US

    def read() -> list[ShownPlot]:
        told = show_series(
            services.store,
            services.traces,
            account,
            since=write_begin(now, shown),
            step=str(shown.step),
        )
        begin = (instant(told["from_at"]) or 0) // view.SECOND_US
        return show_plots(told["series"], shown, begin, now)

    return {"plots": services.parts.read(("plots", account.id, shown.name), read, services.clock())}


def make_table_path(one: TableFigures) -> str:
    """Return the path of the page of a table."""
    return f"/sources/{one.source.id}/tables/{name_table_part(one.table_name)}"


ROUTES: Final = (PageRoute("/", show_overview),)
REGIONS: Final = {
    "overview": RegionView("regions/overview.html", get_cards, needs_figures=False),
    "overview-problems": RegionView(
        "regions/overview-problems.html", get_first_problems, needs_figures=False
    ),
    "overview-lists": RegionView(
        "regions/overview-lists.html", get_lists, seconds=2.0, needs_figures=False
    ),
    **{
        f"plots-{shown.name}": RegionView(
            "regions/plots.html",
            partial(get_plots, shown=shown),
            seconds=shown.refresh_seconds,
            needs_figures=False,
        )
        for shown in RANGES
    },
}
