"""Paths of the Connect API in which clients repeat slashes.

A client that joins `https://host/v4/` and `/sources` asks for `/v4//sources`, and at Stitch that
works (connect-rest.md A.3 row 1).
"""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_RUN: Final = re.compile("/{2,}")
_CONNECT_PATH: Final = re.compile("/+(?:v3|v4|notifications|oauth)(?:/|$)")


def collapse_slashes(path: str) -> str:
    """Return the path that is meant: with single slashes, if it is one of the Connect API.

    Only paths that begin with `/v3`, `/v4`, `/notifications` or `/oauth` change. Any other path is
    returned as it is: in those of the Import API a name may be empty, which is an error.
    """
    if "//" not in path or not _CONNECT_PATH.match(path):
        return path
    return _RUN.sub("/", path)


class SlashMiddleware:
    """Routes requests by their paths with single slashes.

    It stands before everything that looks at a path, so that one answer, one check and one count
    hold for all spellings of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the path that is meant."""
        if scope["type"] == "http":
            path = collapse_slashes(scope["path"])
            if path != scope["path"]:
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)
