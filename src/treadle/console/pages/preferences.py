"""What a browser wants of every page: theme, live numbers, shortcuts. Kept in cookies."""

from typing import Final

from treadle.console.page_head import KEYS_COOKIE, LIVE_COOKIE, THEME_COOKIE
from treadle.console.page_request import (
    THEMES,
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
)
from treadle.console.sign_in import is_console_path
from treadle.http.session_cookie import format_cookie

YEAR_SECONDS: Final = 365 * 86_400

CHOICES: Final = {
    "theme": (THEME_COOKIE, THEMES),
    "live": (LIVE_COOKIE, ("on", "off")),
    "keys": (KEYS_COOKIE, ("on", "off")),
}


def set_preferences(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Keep what was chosen, and lead back to the page that it was chosen on."""
    cookies = tuple(
        format_cookie(
            cookie,
            request.get_text(name),
            path=services.places.base,
            seconds=YEAR_SECONDS,
            secure=False,  # without the prefix: nothing of it is a secret
        )
        for name, (cookie, words) in CHOICES.items()
        if request.get_text(name) in words
    )
    back = request.get_text("back")
    location = back if is_console_path(back) else "/"
    return PageAnswer(status=303, location=location, cookies=cookies)


ROUTES: Final = (PageRoute("/preferences", act=set_preferences),)
