"""The numbers beside the links Problems and Rejected, on every page."""

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from treadle.console.figures import ServerFigures
from treadle.console.page_request import ConsoleServices
from treadle.console.pages.regions import RegionView
from treadle.errors import TreadleError
from treadle.store.model import Account

SECTIONS: Final = ("problems", "rejects")


def count_badges(services: ConsoleServices, account: Account) -> Mapping[str, int]:
    """Return the numbers of an account by section; it waits for no look for problems."""
    return services.badges.count(
        account.id,
        {
            "problems": services.problems.count,
            "rejects": services.store.rejects.count_open_records,
        },
    )


def get_badge(
    services: ConsoleServices, account: Account, _: ServerFigures, *, section: str
) -> Mapping[str, Any]:
    """Return the values of the region of a number."""
    if section == "problems":
        with contextlib.suppress(TreadleError):  # the page Problems says so
            services.problems.look()
    return {"number": count_badges(services, account).get(section, 0)}


REGIONS: Final = {
    f"{section}-badge": RegionView(
        "regions/badge.html", partial(get_badge, section=section), needs_figures=False
    )
    for section in SECTIONS
}
