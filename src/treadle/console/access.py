"""Who may see and do what in the console: the one place where the role of a session is asked.

(console.md B.9)
"""

from typing import Final

from treadle.store.model import BrowserSession, ConsoleRole
from treadle.store.trail_event import ActorKind, StoreActor

RANKS: Final = {ConsoleRole.VIEWER: 0, ConsoleRole.OPERATOR: 1, ConsoleRole.ADMIN: 2}
"""A role may do whatever one of a lower rank may."""

TOKEN_ROLE: Final = ConsoleRole.ADMIN
"""The role of who signs in with an account token: it opens everything of its account anyway."""


def has_role(session: BrowserSession, wanted: ConsoleRole) -> bool:
    """Return whether a session may do what a role may."""
    return RANKS[session.role] >= RANKS[wanted]


def list_roles(session: BrowserSession | None) -> frozenset[str]:
    """Return the words of the roles that a session has, for templates: `"operator" in may`."""
    if session is None:
        return frozenset()
    return frozenset(role.value for role in ConsoleRole if has_role(session, role))


def name_actor(session: BrowserSession, address: str) -> StoreActor:
    """Return whom the trail names for what a session changes."""
    if session.user_id is not None:
        return StoreActor(ActorKind.PERSON, str(session.user_id), address)
    return StoreActor(ActorKind.ACCOUNT_TOKEN, str(session.token_id), address)
