"""The settings in force (P16); read only."""

from typing import Final

from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.control.traces import ONE_OF_SEVERAL, ShownSetting, sees_installation
from treadle.store.model import ConsoleRole


def show_settings(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all settings, or those that somebody set, to who sees the whole server."""
    if not request.session.sees_all and not sees_installation(services.store, request.account):
        return PageAnswer(
            "settings.html",
            {"title": "Settings", "section": "settings", "refused": ONE_OF_SEVERAL},
            403,
        )
    only_set = request.query.get("set") == "1"
    return PageAnswer(
        "settings.html",
        {
            "title": "Settings",
            "section": "settings",
            "refused": None,
            "command": "treadle serve --help",
            "lines": [
                (one, write_value(one))
                for one in services.traces.settings
                if not (only_set and one.origin == "default")
            ],
            "only_set": only_set,
            "machine": services.traces.machine,
        },
    )


def write_value(one: ShownSetting) -> str:
    """Return the value of a setting as it is written in a file of settings; "none" for none."""
    if one.value is None:
        return "none"
    if isinstance(one.value, float):
        return f"{one.value:g}"
    return str(one.value).lower() if isinstance(one.value, bool) else str(one.value)


ROUTES: Final = (PageRoute("/settings", show_settings, role=ConsoleRole.ADMIN),)
