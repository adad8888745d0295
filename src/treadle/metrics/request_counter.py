"""Counts answers by endpoint and status, in every worker."""

import time
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.http.paths import collapse_slashes

ENDPOINTS: Final = (
    "push",
    "batch",
    "validate",
    "status",
    "webhook",
    "records",
    "receipts",
    "control",
    "console",
    "metrics",
    "health",
    "other",
)
STATUSES: Final = (
    *("200", "201", "202", "204", "303", "400", "401", "402", "403", "404", "405", "408", "409"),
    *("410", "413", "414", "415", "421", "422", "429", "431", "500", "501", "503", "504", "505"),
    "other",
)
"""Every status of treadle's answers; a test compares."""

APPEND_FAILURES: Final = "append_failures"

COUNTER_NAMES: Final = (
    *(f"{endpoint} {status}" for endpoint in ENDPOINTS for status in STATUSES),
    APPEND_FAILURES,
)
"""The names of a worker's counters."""

_PREFIXES: Final = (
    ("/v2/import/push", "push"),
    ("/v2/import/batch", "batch"),
    ("/v2/import/validate", "validate"),
    ("/v2/import/status", "status"),
    ("/v1/clients/", "webhook"),
    ("/v1/tables/", "records"),
    ("/v1/receipts/", "receipts"),
    ("/v4/", "control"),
    ("/v3/", "control"),
    ("/notifications/", "control"),
    ("/v1/ready", "health"),
    ("/v1/", "control"),
    ("/metrics", "metrics"),
    ("/healthz", "health"),
    ("/readyz", "health"),
)
_EXACT_PATHS: Final = dict(_PREFIXES[:4])

CONSOLE_PATH: Final = "/console"


def name_endpoint(path: str, console_path: str = CONSOLE_PATH) -> str:
    """Return the endpoint under which a path is counted; a path itself may hold a token.

    Args:
        path: of a request.
        console_path: below which the console is.
    """
    found = _EXACT_PATHS.get(path)
    if found is not None:
        return found
    if path == console_path or path.startswith(f"{console_path}/"):
        return "console"
    path = collapse_slashes(path)
    if path.startswith("/v1/tables/") and path.endswith("/schema"):
        return "control"
    return next((name for prefix, name in _PREFIXES if path.startswith(prefix)), "other")


def name_counter(path: str, status: int, console_path: str = CONSOLE_PATH) -> str:
    """Return the name of a count; for its arguments see `name_endpoint`."""
    return name_answer(name_endpoint(path, console_path), status)


def name_answer(endpoint: str, status: int) -> str:
    """Return the name of the count of an endpoint's answers with a status."""
    text = str(status)
    return f"{endpoint} {text if text in STATUSES else 'other'}"


class RequestCounter:
    """Counts the answers of an application."""

    def __init__(
        self,
        app: ASGIApp,
        add: Callable[[str], None],
        note_refused_token: Callable[[str], None] = lambda address: None,
        keep_refusal: Callable[[Scope, str, int, bytes], None] | None = None,
        console_path: str = CONSOLE_PATH,
        note_seconds: Callable[[str, float], None] = lambda endpoint, seconds: None,
    ) -> None:
        """Count the answers of an application.

        Args:
            app: answers.
            add: called with the name of a counter for each answer.
            note_refused_token: called with the address of a client whose token was refused; empty
                where there is no address.
            keep_refusal: called with each request that was refused, its endpoint, the status and
                the first piece of the answer's body; None for nobody. Pages of the console are
                left out, and probes.
            console_path: below which the console is.
            note_seconds: called with the endpoint and how long its answer took to begin.
        """
        self._note_seconds = note_seconds
        self._app = app
        self._console_path = console_path
        self._add = add
        self._note_refused_token = note_refused_token
        self._keep_refusal = keep_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        began = time.perf_counter()
        refused = 0  # the status, until the answer's body comes

        def counting(message: Message) -> object:
            nonlocal refused
            if message["type"] == "http.response.start":
                status = message["status"]
                endpoint = name_endpoint(scope["path"], self._console_path)
                self._add(name_answer(endpoint, status))
                self._note_seconds(endpoint, time.perf_counter() - began)
                if status >= 400:
                    refused = status
                    if status == 401:
                        client = scope.get("client")
                        self._note_refused_token(client[0] if client else "")
            elif refused:
                self._keep(scope, refused, message.get("body", b""))
                refused = 0
            return send(message)

        await self._app(scope, receive, counting)  # type: ignore[arg-type]  # awaitable as it is

    def _keep(self, scope: Scope, status: int, body: bytes) -> None:
        endpoint = name_endpoint(scope["path"], self._console_path)
        if self._keep_refusal is not None and endpoint not in ("console", "health"):
            self._keep_refusal(scope, endpoint, status, body)
