"""An Iceberg REST server whose answers a test chooses, and that writes down what it is asked."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.types import LongType, NestedField

TABLE_SCHEMA = Schema(NestedField(1, "id", LongType(), required=False))


@dataclass
class Request:
    """A request as it came in; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class QuietServer(ThreadingHTTPServer):
    """A server that does not mind clients that leave."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Write nothing to the output of the tests."""


@dataclass
class AnswerServer:
    """A server on this machine.

    Attributes:
        answers: "METHOD path" -> status, and the body as JSON or bytes. What is not there is 404.
        asked: what came in.
    """

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.released = threading.Event()
        self._server = QuietServer(("127.0.0.1", 0), self._make_handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, **parameters: str) -> str:
        """The server as a destination."""
        given = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"iceberg+rest://127.0.0.1:{self.port}/?tls=false{given}"

    def count(self, method: str, path: str = "") -> int:
        return sum(each.method == method and path in each.path for each in self.asked)

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                server.asked.append(request)
                place = f"{self.command} {urlsplit(self.path).path}"
                status, found = server.answers.get(place, (404, make_error(404)))
                if callable(found):
                    found = found(request)
                content = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Write nothing to the output of the tests."""

        for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.answer)
        return Handler


def make_error(code: int, text: str = "refused") -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": text, "type": "SomeException", "code": code}}


def make_table(
    location: str, properties: dict[str, str] | None = None, config: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The answer of a server that is asked for a table."""
    metadata = new_table_metadata(
        TABLE_SCHEMA,
        UNPARTITIONED_PARTITION_SPEC,
        UNSORTED_SORT_ORDER,
        location,
        {"format-version": "2", **(properties or {})},
    )
    return {
        "metadata-location": f"{location}/metadata/00000-x.metadata.json",
        "metadata": json.loads(metadata.model_dump_json()),
        "config": config or {},
    }
