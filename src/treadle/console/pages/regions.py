"""Regions: the parts of pages that follow what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from treadle.console.figures import ServerFigures
from treadle.console.page_request import ConsoleServices
from treadle.store.model import Account, ConsoleRole

RegionValues = Callable[[ConsoleServices, Account, ServerFigures], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region.

    Attributes:
        template: of what is inside it; its page includes it, too.
        get_values: values of the template; called in a thread.
        role: who may see it.
    """

    template: str
    get_values: RegionValues
    role: ConsoleRole = ConsoleRole.VIEWER


def make_region_values(
    region: RegionView, services: ConsoleServices, account: Account, figures: ServerFigures
) -> Mapping[str, Any]:
    """Return all values of the template of a region."""
    common = {"base": services.places.base, "now": services.clock()}
    return common | dict(region.get_values(services, account, figures))
