"""The content security policy of the documentation page: it loads nothing from other servers."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCS_PATH: Final = "/docs"

DOCS_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    # The page starts its script, and sets its colours, inside itself.
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)


class DocsPolicyMiddleware:
    """Adds the policy to the answer of the documentation page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; the page's answer gets one more header."""
        if scope["type"] != "http" or scope["path"] != DOCS_PATH:
            await self._app(scope, receive, send)
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["content-security-policy"] = DOCS_POLICY
            await send(message)

        await self._app(scope, receive, with_policy)
