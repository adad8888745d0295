"""Writes answers to the byte as uvicorn does."""

import asyncio
import http
from typing import ClassVar, Final

from starlette.responses import Response
from uvicorn.server import ServerState

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}


class AnswerWriter:
    """Writes the answers of a connection that the protocol behind does not write.

    Args:
        transport: of the connection.
        server_state: what the connections of the server share.
    """

    __slots__ = ("_server_state", "_transport")

    _default_head: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")
    """The headers of every answer that were made last, and their bytes."""

    def __init__(self, transport: asyncio.Transport, server_state: ServerState) -> None:
        self._transport = transport
        self._server_state = server_state

    def write(self, response: Response, *, close: bool) -> None:
        """Write an answer; with `close` it says that the connection ends."""
        defaults, head = AnswerWriter._default_head
        if defaults is not self._server_state.default_headers:
            head = self._make_default_head()
        content = [STATUS_LINES[response.status_code], head]
        for name, value in response.raw_headers:
            content += name, b": ", value, b"\r\n"
        if close:
            content.append(b"connection: close\r\n")
        content += b"\r\n", bytes(response.body)
        self._transport.write(b"".join(content))
        self._server_state.total_requests += 1

    def _make_default_head(self) -> bytes:
        """Make the headers of every answer, which the server changes once a second."""
        present = self._server_state.default_headers
        head = b"".join(b"%b: %b\r\n" % pair for pair in present)
        AnswerWriter._default_head = present, head
        return head
