"""The protection of the documentation page, into which people type account tokens.

The page loads nothing from other servers, runs no script but its own, cannot be shown inside of
another page, and is served under known host names only.
"""

import base64
import hashlib
import re
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.control import errors
from treadle.http.hosts import AllowedHosts
from treadle.http.responses import JsonResponse

DOCS_PATH: Final = "/docs"

_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def make_policy(page: bytes) -> str:
    """Return the content security policy of a page: its inline scripts are named by their digests.

    Args:
        page: in HTML.
    """
    digests = [
        base64.b64encode(hashlib.sha256(script).digest()).decode()
        for script in _INLINE_SCRIPT.findall(page)
    ]
    scripts = "".join(f" 'sha256-{digest}'" for digest in digests)
    return (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        f"script-src 'self'{scripts}; style-src 'self'; "
        # These three do not follow `default-src`, so each is forbidden by itself.
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


class DocsGuard:
    """Stands before the documentation page and its parts."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: AllowedHosts | None = None,
        serves: bool = True,
        public_path: str = "",
    ) -> None:
        """Guard the page of an application.

        Args:
            app: has the page.
            allowed_hosts: the names under which the page is served; None for any.
            serves: False answers 404, as if there were no page.
            public_path: what a proxy puts before every path, for the links of the page.
        """
        self._app = app
        self._allowed_hosts = allowed_hosts
        self._serves = serves
        self._public_path = public_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but requests for the page that are refused."""
        if scope["type"] != "http" or not is_docs_path(scope["path"]):
            await self._app(scope, receive, send)
            return
        refused = None
        if not self._serves:
            refused = errors.route_not_found()
        elif self._allowed_hosts is not None and not self._allowed_hosts.allows(scope):
            refused = errors.host_not_allowed()
        if refused is not None:
            await JsonResponse(refused.body, refused.status)(scope, receive, send)
            return
        if scope["path"] == DOCS_PATH:
            # The page puts it before its links. Files beside it are found by the path without it.
            scope = {**scope, "root_path": self._public_path}
        await self._app(scope, receive, _PageSender(send).send)


class _PageSender:
    """Holds back the beginning of an answer in HTML until the page is there, for its policy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._page = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = MutableHeaders(scope=message).get("content-type", "")
            if kind.startswith("text/html"):
                self._start = message
                return
        if self._start is None:
            await self._send(message)
            return
        self._page += message.get("body", b"")
        if message.get("more_body", False):
            return
        headers = MutableHeaders(scope=self._start)
        headers["content-security-policy"] = make_policy(bytes(self._page))
        headers["x-frame-options"] = "DENY"  # for browsers that do not know frame-ancestors
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": bytes(self._page)})


def is_docs_path(path: str) -> bool:
    """Return whether a path is that of the page or of one of its parts."""
    return path == DOCS_PATH or path.startswith(f"{DOCS_PATH}/")
