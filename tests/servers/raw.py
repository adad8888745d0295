"""Requests as bytes on sockets, for what no client library would send."""

import json
import socket
import time

from tests.servers.treadle import Client, TreadleServer

PROMPT_SECONDS_MAX = 25.0
"""A small push takes 50 ms, and some seconds where the machine does much else. One that others keep
out waits until they are given up, after 30 s (`connection_state.HEAD_SECONDS`)."""

HEAD = b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
GET = b"GET /v2/import/nothing HTTP/1.1\r\nHost: a\r\n\r\n"
HALF = {
    "nothing": b"",
    "a half head": b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\n",
    "a long half head": b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 16_000,
    "a half body": HEAD + b"Content-Length: 60000\r\n\r\n" + b" " * 50_000,
    "a half body with an unknown token": (
        HEAD + b"Authorization: Bearer x\r\nContent-Length: 60000\r\n\r\n[" + b" " * 50_000
    ),
}
"""What a sender begins and does not end."""


def connect(server: TreadleServer, seconds: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), seconds)


def read_all(wire: socket.socket) -> bytes:
    """What comes until the server closes."""
    said = b""
    while received := wire.recv(65_536):
        said += received
    return said


class Tenant(Client):
    """Somebody who has a token."""

    def __init__(self, server: TreadleServer) -> None:
        super().__init__(server, *server.account())
        _, self.token = self.create_source(f"tenant {time.monotonic_ns()}")

    def encode_push(self, *headers: str) -> bytes:
        """A request that pushes a small record."""
        body = [
            {"client_id": self.client_id, "table_name": "t", "sequence": 1, "action": "upsert",
             "key_names": ["id"], "data": {"id": 1}}
        ]  # fmt: skip
        raw = json.dumps(body).encode()
        further = [f"Authorization: Bearer {self.token}", f"Content-Length: {len(raw)}", *headers]
        return HEAD + "".join(f"{line}\r\n" for line in further).encode() + b"\r\n" + raw

    def push_anew(self) -> float:
        """How many seconds a small push takes on a new connection."""
        began = time.monotonic()
        with connect(self.server) as wire:
            wire.sendall(self.encode_push("Connection: close"))
            assert read_all(wire).startswith(b"HTTP/1.1 201 ")
        return time.monotonic() - began
