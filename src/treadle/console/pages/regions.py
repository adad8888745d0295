"""Regions: the parts of pages that follow what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from treadle.console.access import list_roles
from treadle.console.figures import ServerFigures
from treadle.console.page_request import ConsoleServices
from treadle.store.model import Account, BrowserSession, ConsoleRole

RegionValues = Callable[[ConsoleServices, Account, ServerFigures], Mapping[str, Any]]
ChosenValues = Callable[
    [ConsoleServices, BrowserSession, ServerFigures, Mapping[str, str]], Mapping[str, Any]
]
"""The last argument is the query: what the page shows of a list. Of the session only account and
role may decide."""

NO_FIGURES: Final = ServerFigures(0, {})
"""For regions that need none."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region.

    Attributes:
        template: of what is inside it; its page includes it, too.
        get_values: values of the template; called in a thread. None where `get_chosen` is given.
        role: who may see it.
        seconds: at least so long a region that was made is sent to all that ask for it.
        needs_figures: its values are made of the figures of all tables; others get `NO_FIGURES`.
        get_chosen: in place of `get_values`, for a topic that may have a query, such as
            "requests?state=refused".
    """

    template: str
    get_values: RegionValues | None = None
    role: ConsoleRole = ConsoleRole.VIEWER
    seconds: float = 1.0
    needs_figures: bool = True
    get_chosen: ChosenValues | None = None


class MadeRegion(NamedTuple):
    """A region as it was made.

    Attributes:
        at: seconds of a monotonic clock.
        text: of the region.
    """

    at: float
    text: str


def find_region(regions: Mapping[str, RegionView], topic: str) -> RegionView | None:
    """Return the region of a topic; None where there is none."""
    name, mark, _ = topic.partition("?")
    found = regions.get(name)
    return None if found is None or (mark and found.get_chosen is None) else found


def name_topic(name: str, query: str) -> str:
    """Return the topic of a region with a query; without one the name alone."""
    return f"{name}?{query}" if query else name


def make_region_values(
    region: RegionView,
    services: ConsoleServices,
    session: BrowserSession,
    figures: ServerFigures | None,
    topic: str = "",
) -> Mapping[str, Any]:
    """Return all values of the template of a region.

    Args:
        region: of the topic.
        services: what pages are made with.
        session: of who asks.
        figures: the present ones; None where the region needs none.
        topic: as the page asks for it, with its query.
    """
    common = {
        "base": services.places.base,
        "now": services.clock(),
        "may": list_roles(session),
    }
    seen = figures or NO_FIGURES
    if region.get_chosen is not None:
        query = dict(parse_qsl(topic.partition("?")[2], keep_blank_values=True))
        return common | dict(region.get_chosen(services, session, seen, query))
    if region.get_values is None:
        return common
    return common | dict(region.get_values(services, session.account, seen))
