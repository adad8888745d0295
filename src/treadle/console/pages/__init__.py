"""The pages: each module has the routes of one, and says what is asked and what is shown."""

from typing import Final

from treadle.console.page_request import PageRoute
from treadle.console.pages import (
    audit,
    destinations,
    help,  # noqa: A004 - the page
    hooks,
    loads,
    overview,
    preferences,
    query,
    recipients,
    rejects,
    settings,
    sources,
    start,
    tables,
    tokens,
    trial,
)
from treadle.console.pages.regions import RegionView

ROUTES: Final[tuple[PageRoute, ...]] = (
    *overview.ROUTES,
    *start.ROUTES,
    *tokens.ROUTES,
    *sources.ROUTES,
    *tables.ROUTES,
    *loads.ROUTES,
    *rejects.ROUTES,
    *destinations.ROUTES,
    *hooks.ROUTES,
    *recipients.ROUTES,
    *audit.ROUTES,
    *settings.ROUTES,
    *help.ROUTES,
    *preferences.ROUTES,
    *query.ROUTES,
    *trial.ROUTES,
)
"""All routes; of two that fit a path the first one counts."""

REGIONS: Final[dict[str, RegionView]] = {**overview.REGIONS, **start.REGIONS, **tokens.REGIONS}
"""Topic -> region."""
