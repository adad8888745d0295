"""One path of the Import API: its methods, and the answers to errors."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from treadle.errors import OperatorError, RequestRefusedError, RetriableError, TreadleError
from treadle.http.responses import JsonResponse, render_refusal
from treadle.log.protocol import AppendUnknownError
from treadle.quotas import LOG_PART, QuotaReachedError

RequestHandler = Callable[[Request], Awaitable[Response]]

RETRY_AFTER_SECONDS = 2
"""`Retry-After` while the log cannot take data: about one restart of treadle."""

OUTAGE_LOG_SECONDS = 1.0
"""Least time between two log lines about an outage."""

NOT_FOUND = {"message": "Not Found"}
METHOD_NOT_ALLOWED = "Method not allowed."
UNAVAILABLE = {"status": "ERROR", "message": "Service unavailable. Try again later."}
TIMEOUT = {"status": "ERROR", "message": "Gateway timeout. Try again later."}
NOT_AUTHORIZED = {"message": "Not Authorized"}
NOT_ACTIVE = {"error": "Forbidden", "errors": {"error": "Connection is not active."}}
INTERNAL_ERROR = {"status": "ERROR", "message": "Internal server error"}

logger = logging.getLogger(__name__)


class PathEndpoint:
    """An ASGI application for one path."""

    def __init__(
        self,
        path: str,
        methods: Mapping[str, RequestHandler],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Serve a path.

        Args:
            path: as in its route. Logs name it instead of the request's own path, which may hold a
                token.
            methods: handlers by method. OPTIONS needs none; HEAD is answered by the one of GET.
            headers: further headers of every answer.
        """
        self.path = path
        self._logged_at = -OUTAGE_LOG_SECONDS
        self._headers = dict(headers or {})
        self._methods = dict(methods)
        if "GET" in methods:
            self._methods.setdefault("HEAD", methods["GET"])
        self._allow = ", ".join([*self._methods, "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with the bodies of import-api.md 17.1 whatever happens."""
        request = Request(scope, receive)
        method = scope["method"]
        handler = self._methods.get(method)
        if handler is None:
            response = self._render_other_method(method)
        else:
            try:
                response = await handler(request)
            except ClientDisconnect:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, there is an answer to it
                response = self.render_failure(method, error)
        if response.status_code >= 400 and "expect" in request.headers:
            # The sender may now send its body or leave it out; only a new connection is clear.
            response.headers["connection"] = "close"
        for name, value in self._headers.items():
            response.headers[name] = value
        await response(scope, receive, send)

    def render_failure(self, method: str, error: BaseException) -> Response:
        """Return the answer to a failed request; log what is not the client's fault."""
        if isinstance(error, RequestRefusedError):
            return render_refusal(error)
        if isinstance(error, QuotaReachedError):
            return render_quota_refusal(error)
        if isinstance(error, AppendUnknownError):
            self._log_outage(error, 504)
            # Not 503, which says that nothing of the request is in the log.
            return JsonResponse(TIMEOUT, 504)
        if isinstance(error, RetriableError | OperatorError):
            self._log_outage(error, 503)
            return render_unavailable()
        logger.error("%s %s failed", method, self.path, exc_info=error)
        return JsonResponse(INTERNAL_ERROR, 500)

    def _log_outage(self, error: TreadleError, status: int) -> None:
        """Log why a request is answered with this status, at most once in OUTAGE_LOG_SECONDS."""
        now = time.monotonic()
        if now - self._logged_at >= OUTAGE_LOG_SECONDS:
            self._logged_at = now
            logger.warning("Requests to %s are answered %d: %s", self.path, status, error)

    def _render_other_method(self, method: str) -> Response:
        allow = {"Allow": self._allow}
        if method == "OPTIONS":
            return Response(status_code=200, headers=allow)
        return PlainTextResponse(METHOD_NOT_ALLOWED, 405, allow)


def render_unavailable() -> Response:
    """Return the answer while the log cannot take data; the sender may repeat."""
    return JsonResponse(UNAVAILABLE, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def render_quota_refusal(error: QuotaReachedError) -> Response:
    """Return the answer to a source that has used what it may (import-api.md 17.1).

    The log's part is answered as a log that is full: 503, after which every client tries again.
    """
    headers = {"Retry-After": str(error.retry_seconds)}
    if error.quota == LOG_PART:
        return JsonResponse(UNAVAILABLE, 503, headers)
    return JsonResponse({"status": "ERROR", "message": str(error)}, 429, headers)


class NotFoundEndpoint:
    """An ASGI application for every path that does not exist."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404."""
        await JsonResponse(NOT_FOUND, 404)(scope, receive, send)


def make_route(
    path: str, methods: Mapping[str, RequestHandler], headers: Mapping[str, str] | None = None
) -> Route:
    """Return an endpoint at its path."""
    return Route(path, PathEndpoint(path, methods, headers))
