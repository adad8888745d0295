"""Help: shortcuts, words, commands, the version (P19)."""

from typing import Final

from treadle.console.navigation import list_links
from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute


def show_help(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show help."""
    links = [link for group in list_links(request.session) for link in group if link.key]
    return PageAnswer(
        "help.html",
        {
            "title": "Help",
            "section": "help",
            "command": "treadle --help",
            "shortcuts": links,
            "installation_id": services.store.installation_id,
            "prefix": services.places.prefix,
        },
    )


ROUTES: Final = (PageRoute("/help", show_help),)
