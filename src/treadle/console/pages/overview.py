"""The overview: the numbers of the account, what needs somebody, the busiest tables (P2)."""

from collections.abc import Mapping
from dataclasses import dataclass
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
from treadle.console.pages.regions import RegionView
from treadle.console.pages.start import is_in_guide
from treadle.store.model import Account, ConsoleRole

TABLES_SHOWN: Final = 8
TROUBLES_SHOWN: Final = 5
OLD_US: Final = 15 * view.MINUTE_US
"""A record that waits longer than this is a trouble of its own."""


@dataclass(frozen=True, slots=True)
class TroubleLine:
    """Something that somebody has to look at.

    Attributes:
        what: it is with.
        why: a sentence.
        path: below the console, where it is shown.
        since: microseconds since 1970; None where that is not known.
    """

    state: view.StateWord
    what: str
    why: str
    path: str
    since: int | None


def show_overview(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the overview; an account without a row is led to the guide."""
    figures = services.sampler.read()
    may_start = has_role(request.session, ConsoleRole.OPERATOR)
    if may_start and is_in_guide(services, request.account, figures):
        return lead_on("/start")
    values = get_overview(services, request.account, figures)
    return PageAnswer(
        "overview.html",
        {
            "title": "Overview",
            "section": "overview",
            "topics": "overview",
            "command": f"treadle ledger{services.data_flag}",
            **values,
        },
    )


def get_overview(
    services: ConsoleServices, account: Account, figures: ServerFigures
) -> Mapping[str, Any]:
    """Return the values of the region."""
    seen = figures.get_account(account.id)
    troubles = list_troubles(seen, figures.at)
    busiest = sorted(seen.tables, key=lambda one: -one.accepted)[:TABLES_SHOWN]
    return {
        "seen": seen,
        "taken_at": figures.at,
        "space": figures.space,
        "troubles": troubles[:TROUBLES_SHOWN],
        "troubles_left": max(0, len(troubles) - TROUBLES_SHOWN),
        "destinations": [(row, view.describe_destination(row)) for row in seen.destinations],
        "tables": [
            (one, view.describe_table(one.status, one.waiting), make_table_path(one))
            for one in busiest
        ],
    }


def list_troubles(seen: AccountFigures, now: int) -> list[TroubleLine]:
    """Return what somebody has to look at, the worst first. Pure."""
    found = []
    for row in seen.destinations:
        state = view.describe_destination(row)
        if state.tone in ("bad", "warn"):
            path = f"/destinations/{row.id}"
            found.append(TroubleLine(state, row.name, state.detail, path, row.trouble_since))
    for one in seen.tables:
        state = view.describe_table(one.status, one.waiting)
        name = f"{one.source.name}.{one.table_name}"
        if one.status is not None and state.tone in ("bad", "warn"):
            since = one.status.error_since or one.status.trouble_since
            found.append(TroubleLine(state, name, state.detail, make_table_path(one), since))
        elif one.oldest is not None and now - one.oldest >= OLD_US:
            waits = view.StateWord("waits long", "warn")
            why = f"{view.count_words(one.waiting, 'record')} of it wait."
            found.append(TroubleLine(waits, name, why, make_table_path(one), one.oldest))
    return sorted(found, key=lambda line: (line.state.tone != "bad", line.since or now))


def make_table_path(one: TableFigures) -> str:
    """Return the path of the page of a table."""
    return f"/sources/{one.source.id}/tables/{name_table_part(one.table_name)}"


ROUTES: Final = (PageRoute("/", show_overview),)
REGIONS: Final = {"overview": RegionView("regions/overview.html", get_overview)}
