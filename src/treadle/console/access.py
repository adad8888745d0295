"""Who may see and do what in the console: the one place where the role of a session is asked."""

from typing import Final

from treadle.store.model import BrowserSession, ConsoleRole

RANKS: Final = {ConsoleRole.VIEWER: 0, ConsoleRole.OPERATOR: 1, ConsoleRole.ADMIN: 2}
"""A role may do whatever one of a lower rank may."""

TOKEN_ROLE: Final = ConsoleRole.ADMIN
"""The role of who signs in with an account token: it opens everything of its account anyway."""


def has_role(session: BrowserSession, wanted: ConsoleRole) -> bool:
    """Return whether a session may do what a role may."""
    return RANKS[session.role] >= RANKS[wanted]
