"""Keeps requests from a member that does not have the role to answer them."""

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.config.roles import MemberRole
from treadle.ingest.away_endpoint import AwayEndpoint
from treadle.metrics.request_counter import name_endpoint

ROLE_OF_ENDPOINT: Final[Mapping[str, MemberRole]] = {
    **dict.fromkeys(
        ("push", "batch", "validate", "status", "webhook", "records", "receipts"),
        MemberRole.INGEST,
    ),
    "control": MemberRole.CONTROL,
    "console": MemberRole.CONTROL,
}
"""Endpoint as `request_counter` names it -> the role that answers it. Every member has the others:
probes and metrics, and 404 for what does not exist."""


class RoleRouter:
    """An ASGI application before another one, which has the endpoints of some roles."""

    def __init__(self, app: ASGIApp, roles: frozenset[MemberRole], console_path: str) -> None:
        """Stand before an application.

        Args:
            app: answers the endpoints of `roles`, and those of none.
            roles: of this member.
            console_path: path of the console.
        """
        self._app = app
        self._console_path = console_path
        self._away = {role: AwayEndpoint(role.value) for role in MemberRole if role not in roles}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        app = self._app
        if scope["type"] == "http":
            role = ROLE_OF_ENDPOINT.get(name_endpoint(scope["path"], self._console_path))
            if role is not None:
                app = self._away.get(role, app)
        await app(scope, receive, send)
