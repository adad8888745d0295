"""Keeps answers of the Connect API out of caches: any of them may hold a token."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PUBLIC_PATHS: Final = ("/docs", "/openapi.json")
"""The beginnings of the paths whose answers hold nothing of an account."""


class NoStoreMiddleware:
    """Adds `Cache-Control: no-store` to every answer but those of PUBLIC_PATHS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; an answer gets one more header."""
        if scope["type"] != "http" or scope["path"].startswith(PUBLIC_PATHS):
            await self._app(scope, receive, send)
            return

        async def send_unstored(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_unstored)
