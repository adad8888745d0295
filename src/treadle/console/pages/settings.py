"""The settings in force (P16); read only."""

from typing import Final

from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.store.model import ConsoleRole


def show_settings(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all settings, or those that somebody set."""
    only_set = request.query.get("set") == "1"
    return PageAnswer(
        "settings.html",
        {
            "title": "Settings",
            "section": "settings",
            "command": "treadle serve --help",
            "lines": [one for one in services.shown_settings if not (only_set and one.is_default)],
            "only_set": only_set,
        },
    )


ROUTES: Final = (PageRoute("/settings", show_settings, role=ConsoleRole.ADMIN),)
