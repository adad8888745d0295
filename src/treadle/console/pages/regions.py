"""Regions: the parts of pages that follow what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from treadle.console.figures import ServerFigures
from treadle.console.page_request import ConsoleServices
from treadle.store.model import Account, ConsoleRole

RegionValues = Callable[[ConsoleServices, Account, ServerFigures], Mapping[str, Any]]
ChosenValues = Callable[
    [ConsoleServices, Account, ServerFigures, Mapping[str, str]], Mapping[str, Any]
]
"""The last argument is the query: what the page shows of a list."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region.

    Attributes:
        template: of what is inside it; its page includes it, too.
        get_values: values of the template; called in a thread.
        role: who may see it.
        get_chosen: the same as `get_values` for a topic with a query, such as "requests?state=x";
            None where there is nothing to choose.
    """

    template: str
    get_values: RegionValues
    role: ConsoleRole = ConsoleRole.VIEWER
    get_chosen: ChosenValues | None = None


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
    account: Account,
    figures: ServerFigures,
    topic: str = "",
) -> Mapping[str, Any]:
    """Return all values of the template of a region.

    Args:
        region: of the topic.
        services: what pages are made with.
        account: whose numbers are shown.
        figures: the present ones.
        topic: as the page asks for it, with its query.
    """
    common = {"base": services.places.base, "now": services.clock()}
    if region.get_chosen is None:
        return common | dict(region.get_values(services, account, figures))
    query = dict(parse_qsl(topic.partition("?")[2], keep_blank_values=True))
    return common | dict(region.get_chosen(services, account, figures, query))
