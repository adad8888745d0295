"""Answers paths of a role that this member does not have."""

from typing import Final

from starlette.types import Receive, Scope, Send

from treadle.http.responses import JsonResponse
from treadle.ingest.endpoint import RETRY_AFTER_SECONDS

MESSAGE: Final = (
    "Service unavailable: this member does not have the role {role}. Send the request to one that "
    "has it."
)


class AwayEndpoint:
    """An ASGI application for what another member answers.

    The answer is 503 and not 404: the request is good, and its sender or a load balancer is to try
    another member. So a member in the wrong pool of a balancer loses nothing.
    """

    def __init__(self, role: str) -> None:
        """Name the role that is needed."""
        self._body = {"status": "ERROR", "message": MESSAGE.format(role=role)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503."""
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        await JsonResponse(self._body, 503, headers)(scope, receive, send)
