"""A small HTTP server that takes pushes as an Import API does and keeps what it took."""

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

ACCEPTED = b'{"status":"OK","message":"Batch Accepted!"}'
VALID = b'{"status":"OK","message":"Batch is valid!"}'
REFUSED = (
    b'{"status":"ERROR","error":"Request cannot be processed; see errors.",'
    b'"errors":[{"reason":{"data":["data must be an object"]}}]}'
)


@dataclass
class Answer:
    """What to answer instead of taking a request; status 0 cuts the connection."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


def _list_messages(sent: dict[str, Any]) -> list[dict[str, Any]]:
    head = {name: value for name, value in sent.items() if name != "messages"}
    return [{**head, **message} for message in sent["messages"]]


class ImportServer:
    """Attributes:
    requests: records of the pushes and batches that were taken, in order of arrival, in the form of
        a push; those of a batch with its schema.
    keys: the idempotency keys of these.
    asked: every request but for the status: path, bearer token, time.
    answers: given to the next pushes, one each.
    cuts: for the next pushes that are taken, whether the connection ends in place of an answer.
    bad: says of a record's data that it is refused.
    keep: whether to look at pushes and keep them.
    reason: why the server takes no data, as its status says it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.asked: list[tuple[str, str | None, float]] = []
        self.keys: list[str] = []
        self.answers: deque[Answer] = deque()
        self.cuts: deque[bool] = deque()
        self.bad: Callable[[dict[str, Any]], bool] = lambda _: False
        self.keep = True
        self.reason: str | None = None
        self.taken = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for request in self.requests for record in request]

    def answer(self, path: str, body: bytes, key: str) -> Answer:
        push = path in ("/v2/import/push", "/v2/import/batch")
        if push and self.answers:
            return self.answers.popleft()
        if not self.keep:
            return Answer(201, ACCEPTED)
        sent = json.loads(body)
        records = sent if isinstance(sent, list) else _list_messages(sent)
        if any(self.bad(record["data"]) for record in records):
            return Answer(422, REFUSED)
        if not push:
            return Answer(200, VALID)
        if key in self.keys:
            return Answer(201, ACCEPTED)
        self.keys += [key] if key else []
        self.requests.append(records)
        self.taken.set()
        if self.cuts and self.cuts.popleft():
            return Answer(0)
        return Answer(201, ACCEPTED)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                token = self.headers.get("Authorization")
                outer.asked.append((self.path, token, time.monotonic()))
                answer = outer.answer(self.path, body, self.headers.get("Idempotency-Key", ""))
                if answer.status == 0:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_GET(self) -> None:
                status = {"name": "pipeline.gate", "status": "OK", "reason": None}
                if outer.reason is not None:
                    status |= {"status": "ERROR", "reason": outer.reason}
                body = json.dumps(status).encode()
                self.send_response(200 if outer.reason is None else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - overrides
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
