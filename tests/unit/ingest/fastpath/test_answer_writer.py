"""Answers as bytes."""

import asyncio
from typing import Any

import pytest
from starlette.responses import Response
from uvicorn.server import ServerState

from treadle.ingest.fastpath.answer_writer import AnswerWriter


class NotedTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: Any) -> None:
        self.sent.append(data)


@pytest.mark.parametrize("close", [False, True])
def test_an_answer_is_written_at_once_with_the_headers_of_the_server(*, close: bool) -> None:
    transport, state = NotedTransport(), ServerState()
    state.default_headers = [(b"date", b"now"), (b"server", b"treadle")]
    AnswerWriter(transport, state).write(Response(b"{}", 201, {"x": "y"}), close=close)
    end = b"connection: close\r\n" if close else b""
    assert transport.sent == [
        b"HTTP/1.1 201 Created\r\ndate: now\r\nserver: treadle\r\nx: y\r\ncontent-length: 2\r\n"
        + end
        + b"\r\n{}"
    ]
    assert state.total_requests == 1


def test_the_headers_of_the_server_change() -> None:
    transport, state = NotedTransport(), ServerState()
    writer = AnswerWriter(transport, state)
    for date in (b"now", b"later"):
        state.default_headers = [(b"date", date)]
        writer.write(Response(b"", 204), close=False)
    assert [b"date: now\r\n" in sent for sent in transport.sent] == [True, False]
    assert [b"date: later\r\n" in sent for sent in transport.sent] == [False, True]
