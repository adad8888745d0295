"""The pages: each module has the routes of one, and says what is asked and what is shown."""

from typing import Final

from treadle.console.page_request import PageRoute
from treadle.console.pages import (
    audit,
    badges,
    destinations,
    health,
    help,  # noqa: A004 - the page
    hooks,
    loads,
    operations,
    overview,
    people,
    preferences,
    problems,
    query,
    recipients,
    refusals,
    reject_record,
    rejects,
    requests,
    settings,
    sources,
    start,
    table,
    tables,
    tokens,
    trial,
)
from treadle.console.pages.regions import RegionView

ROUTES: Final[tuple[PageRoute, ...]] = (
    *overview.ROUTES,
    *problems.ROUTES,
    *health.ROUTES,
    *start.ROUTES,
    *tokens.ROUTES,
    *sources.ROUTES,
    *tables.ROUTES,
    *table.ROUTES,
    *loads.ROUTES,
    *operations.ROUTES,
    *reject_record.ROUTES,
    *rejects.ROUTES,
    *refusals.ROUTES,
    *requests.ROUTES,
    *destinations.ROUTES,
    *hooks.ROUTES,
    *recipients.ROUTES,
    *people.ROUTES,
    *audit.ROUTES,
    *settings.ROUTES,
    *help.ROUTES,
    *preferences.ROUTES,
    *query.ROUTES,
    *trial.ROUTES,
)
"""All routes; of two that fit a path the first one counts."""

REGIONS: Final[dict[str, RegionView]] = {
    **badges.REGIONS,
    **overview.REGIONS,
    **problems.REGIONS,
    **health.REGIONS,
    **start.REGIONS,
    **tokens.REGIONS,
    **requests.REGIONS,
    **refusals.REGIONS,
}
"""Topic -> region."""
