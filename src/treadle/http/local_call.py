"""A request to an application of the same process, without a connection."""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message

from treadle.errors import InternalError


async def call_app(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    client: str | None = None,
) -> tuple[int, bytes]:
    """Send one request; return the status and the body of the answer.

    Args:
        app: answers it.
        method: of the request.
        path: without a query.
        headers: names in lower case.
        body: of the request.
        client: the address that it counts as sent from; None for none.

    Raises:
        InternalError: the application began no answer.
    """
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": [*raw, (b"content-length", str(len(body)).encode())],
        "client": None if client is None else (client, 0),
        "server": None,
        "state": {},
    }
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0
    pieces: list[bytes] = []

    async def receive() -> Message:
        return left.pop() if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    if not status:
        raise InternalError(f"every request has an answer, and {method} {path} had none")
    return status, b"".join(pieces)
