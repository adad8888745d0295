"""Regions: the parts of pages that follow what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from treadle.console.access import has_role
from treadle.console.figures import ServerFigures
from treadle.console.page_request import ConsoleServices
from treadle.store.model import Account, BrowserSession, ConsoleRole

RegionValues = Callable[[ConsoleServices, Account, ServerFigures], Mapping[str, Any]]

NO_FIGURES: Final = ServerFigures(0, {})
"""For regions that need none."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region.

    Attributes:
        template: of what is inside it; its page includes it, too.
        get_values: values of the template; called in a thread.
        role: who may see it.
        seconds: at least so long a region that was made is sent to all that ask for it.
        needs_figures: its values are made of the figures of all tables; others get `NO_FIGURES`.
    """

    template: str
    get_values: RegionValues
    role: ConsoleRole = ConsoleRole.VIEWER
    seconds: float = 1.0
    needs_figures: bool = True


class MadeRegion(NamedTuple):
    """A region as it was made.

    Attributes:
        at: seconds of a monotonic clock.
        text: of the region.
    """

    at: float
    text: str


def make_region_values(
    region: RegionView,
    services: ConsoleServices,
    session: BrowserSession,
    figures: ServerFigures | None,
) -> Mapping[str, Any]:
    """Return all values of the template of a region."""
    common = {
        "base": services.places.base,
        "now": services.clock(),
        "may_operate": has_role(session, ConsoleRole.OPERATOR),
    }
    return common | dict(region.get_values(services, session.account, figures or NO_FIGURES))
