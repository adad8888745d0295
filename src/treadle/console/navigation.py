"""The pages that the navigation leads to."""

from dataclasses import dataclass
from typing import Final

from treadle.console.access import has_role
from treadle.store.model import BrowserSession, ConsoleRole


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """A link of the navigation.

    Attributes:
        section: that its pages name as theirs.
        path: below the console.
        key: the shortcut after `g`; empty for none.
        role: who sees it.
        has_badge: it has a number beside it.
    """

    section: str
    label: str
    path: str
    key: str = ""
    role: ConsoleRole = ConsoleRole.VIEWER
    has_badge: bool = False


GROUPS: Final = (
    (
        NavigationLink("overview", "Overview", "/", "o"),
        NavigationLink("problems", "Problems", "/problems", "p", has_badge=True),
        NavigationLink("sources", "Sources", "/sources", "s"),
        NavigationLink("tables", "Tables", "/tables", "t"),
        NavigationLink("loads", "Loads", "/loads", "l"),
        NavigationLink("rejects", "Rejected", "/rejects", "r", has_badge=True),
        NavigationLink("requests", "Requests", "/requests", "u"),
        NavigationLink("query", "Query", "/query", "q", ConsoleRole.OPERATOR),
        NavigationLink("try", "Try", "/try", "y", ConsoleRole.OPERATOR),
    ),
    (
        NavigationLink("destinations", "Destinations", "/destinations", "d"),
        NavigationLink("hooks", "Hooks", "/hooks", "h"),
        NavigationLink("tokens", "Tokens", "/tokens", "k"),
        NavigationLink("health", "Health", "/health", "e"),
    ),
    (
        NavigationLink("recipients", "Recipients", "/recipients", "", ConsoleRole.ADMIN),
        NavigationLink("settings", "Settings", "/settings", "", ConsoleRole.ADMIN),
        NavigationLink("people", "People", "/people", "", ConsoleRole.ADMIN),
        NavigationLink("audit", "Audit", "/audit", "a", ConsoleRole.ADMIN),
        NavigationLink("help", "Help", "/help", ""),
    ),
)


def list_links(session: BrowserSession) -> list[list[NavigationLink]]:
    """Return the groups of links that a session sees."""
    return [[link for link in group if has_role(session, link.role)] for group in GROUPS]
