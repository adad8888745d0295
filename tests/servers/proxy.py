"""A proxy as the how-to page about the console has it: it speaks TLS, and serves under a path."""

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from tests.servers.certificates import make_certificate

HOP_HEADERS: Final = {"connection", "keep-alive", "transfer-encoding", "host", "forwarded"}
"""What belongs to one connection, or is the proxy's to say."""


@dataclass
class PathProxy:
    """A proxy that runs.

    Attributes:
        port: where it listens, at 127.0.0.1, with TLS.
        path: under which it serves, such as "/data/treadle".
        target: port of the server behind it; 0 until it is known.
        outside: requests for paths that are not below `path`.
    """

    port: int
    path: str
    target: int = 0
    outside: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}{self.path}"


@contextmanager
def proxying(path: str, folder: Path) -> Iterator[PathProxy]:
    """Run a proxy in threads of this process.

    Args:
        path: under which it serves.
        folder: for its certificate.
    """

    class Handler(BaseHTTPRequestHandler):
        """One connection with one request, whose answer is passed on while it comes."""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def pass_on(self) -> None:
            """Ask the server behind for what is below the path."""
            if not self.path.startswith(f"{path}/"):
                proxy.outside.append(self.path)
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {
                name: text
                for name, text in self.headers.items()
                if name.lower() not in HOP_HEADERS and not name.lower().startswith("x-forwarded")
            }
            sent |= {
                "Host": self.headers["Host"],
                "X-Forwarded-For": self.client_address[0],
                "X-Forwarded-Proto": "https",
            }
            behind = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=120)
            behind.request(self.command, self.path.removeprefix(path), body or None, sent)
            answer = behind.getresponse()
            self.send_response_only(answer.status)
            for name, text in answer.getheaders():
                if name.lower() not in HOP_HEADERS:
                    self.send_header(name, text)
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := answer.read1():
                self.wfile.write(piece)
                self.wfile.flush()
            behind.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815 - as the base names them

    class Server(ThreadingHTTPServer):
        """A browser may leave at any time."""

        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    files = make_certificate(folder, "proxy")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    proxy = PathProxy(server.server_port, path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
