"""A receiver of post-load hooks, in a thread of the test."""

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Handler = http.server.BaseHTTPRequestHandler


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def key(self) -> str:
        """The id of the delivery, where the hook has a secret."""
        return self.headers["Idempotency-Key"]


def answer_with(status: int, body: bytes = b"ok", **headers: str) -> Callable[[Handler], None]:
    """An answer with a status."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        # Who has read enough, closes.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            handler.wfile.write(body)

    return answer


@dataclass
class Receiver:
    """A receiver on a free port of the loopback address.

    Attributes:
        answers: what is answered to the next requests; after that `usual`.
        seen: what came, in the order in which it came.
    """

    port: int = 0
    answers: list[Callable[[Handler], None]] = field(default_factory=list)
    usual: Callable[[Handler], None] = field(default_factory=lambda: answer_with(200))
    seen: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end, for answers that wait."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=x"

    def stay_silent(self, handler: Handler) -> None:
        """Answer nothing until the end."""
        self.released.wait(60)

    def take(self, handler: Handler) -> None:
        """Note a request, and answer it."""
        raw = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            self.seen.append(Received(handler.path, dict(handler.headers.items()), raw))
            answer = self.answers.pop(0) if self.answers else self.usual
        answer(handler)


@contextlib.contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that listens; with a context, by TLS."""
    receiver = Receiver()

    class Taking(Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name that the base class calls
            receiver.take(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: object) -> None:
            """Say nothing of connections that a test cut."""

    with Server(("127.0.0.1", 0), Taking) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
            thread.join()
