"""A door of HTTP to the engine of ClickHouse in this process, which is chDB.

The engine is the real one, tables are on disk, and errors are its own. What is ours is the way in:
who may come in, settings in the query of a URL, the format of an answer, and rows behind an INSERT.

    python -m tests.servers.clickhouse_door FOLDER PORT USER PASSWORD

It ends when its standard input does.
"""

import base64
import faulthandler
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import chdb

OURS: Final = frozenset(
    {
        *("buffer_size", "client_protocol_version", "compress", "database", "decompress"),
        *("enable_http_compression", "http_headers_progress_interval_ms", "query", "query_id"),
        *("quota_key", "role", "send_progress_in_http_headers", "session_check", "session_id"),
        *("session_timeout", "wait_end_of_query", "cancel_http_readonly_queries_on_client_close"),
    }
)
"""Parameters of a request that are no settings."""

STATUS: Final = {516: 403, 497: 403, 60: 404, 81: 404, 159: 408}

_ROWS: Final = re.compile(rb"\bFORMAT\s+(\w+)[ \t]*\n")
_CODE: Final = re.compile(r"\bCode: (\d+)")
_QUOTED: Final = re.compile(rb"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|--[^\n]*")


class RefusedError(Exception):
    """A request that the engine, or the door, refuses; `code` is the server's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Handle:
    """A connection to the engine, with the settings that it has now."""

    def __init__(self, folder: str) -> None:
        self._connection = chdb.connect(folder)
        self._settings: dict[str, str] = {}
        self._database = "default"

    def run(self, statement: str, format_: str) -> bytes:
        """Run a statement; returns its answer."""
        try:
            answer = self._connection.query(statement, format_)
        except Exception as error:  # whatever the engine raises
            text = str(error)
            found = _CODE.search(text)
            raise RefusedError(int(found[1]) if found else 1002, text) from error
        return bytes(answer.bytes())

    def prepare(self, settings: Mapping[str, str], database: str) -> None:
        """Have these settings, and no others, and this database."""
        changes = [
            f"{name} = '{escape(value)}'"
            for name, value in settings.items()
            if self._settings.get(name) != value
        ]
        changes += [f"{name} = DEFAULT" for name in self._settings.keys() - settings.keys()]
        if changes:
            self._settings = {}
            self.run("SET " + ", ".join(changes), "Null")
            self._settings = dict(settings)
        if database != self._database:
            self.run(f"USE `{escape(database)}`", "Null")
            self._database = database

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("`", "\\`")


class Door(ThreadingHTTPServer):
    """The server.

    Args:
        folder: of the engine's tables.
        port: to listen on at 127.0.0.1.
        user, password: who may come in.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, folder: str, port: int, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", port), Request)
        self.folder = folder
        self.login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._free: list[Handle] = []
        self._lock = threading.Lock()
        self._first = Handle(folder)  # the engine ends with its last connection

    @contextmanager
    def lend(self, *, once: bool) -> Iterator[Handle]:
        """Lend a connection to the engine; `once` for one that nobody else gets."""
        with self._lock:
            handle = self._free.pop() if self._free and not once else Handle(self.folder)
        try:
            yield handle
        except BaseException:
            handle.close()
            raise
        if once:
            handle.close()
            return
        with self._lock:
            self._free.append(handle)


class Request(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or small answers wait for an acknowledgement
    wbufsize = 1 << 16
    server: Door

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        if length is not None:
            self._answer(self.rfile.read(int(length)))
            return
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        self._answer(b"".join(pieces))

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as it is called
        """Write nothing."""

    def _answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/ping":
            self._send(200, b"Ok.\n")
            return
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            self._check_login()
            self._send(200, self._run(given, body))
        except RefusedError as error:
            self._send(STATUS.get(error.code, 500), f"{error}\n".encode(), error.code)

    def _check_login(self) -> None:
        if self.headers.get("Authorization") != f"Basic {self.server.login}":
            raise RefusedError(516, "Code: 516. DB::Exception: Authentication failed")

    def _run(self, given: Mapping[str, str], body: bytes) -> bytes:
        settings = {name: value for name, value in given.items() if name not in OURS}
        statement = given.get("query", "").encode()
        statement = statement + b"\n" + body if statement and body else statement or body
        format_ = self.headers.get("X-ClickHouse-Format", "TabSeparated")
        with self.server.lend(once="readonly" in settings) as handle:
            handle.prepare(settings, given.get("database", "default"))
            rows = _ROWS.search(statement)
            if rows is not None and statement.lstrip()[:6].upper() == b"INSERT":
                return self._insert(handle, statement[: rows.start()], rows, statement)
            check_single(statement)
            return handle.run(statement.decode(), format_)

    def _insert(self, handle: Handle, head: bytes, rows: re.Match[bytes], body: bytes) -> bytes:
        """Insert the rows behind a statement, by way of a file."""
        with tempfile.NamedTemporaryFile(dir=self.server.folder) as file:
            file.write(body[rows.end() :])
            file.flush()
            place = f"file('{file.name}', '{rows[1].decode()}', "
            return handle.run(head.decode().replace("input(", place, 1), "Null")

    def _send(self, status: int, body: bytes, code: int = 0) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-ClickHouse-Timezone", "UTC")
            if code:
                self.send_header("X-ClickHouse-Exception-Code", str(code))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()


def check_single(statement: bytes) -> None:
    """Refuse more than one statement, as the server does."""
    if b";" in _QUOTED.sub(b"", statement).rstrip(b"; \t\r\n"):
        raise RefusedError(62, "Code: 62. DB::Exception: Multi-statements are not allowed")


def main() -> None:
    folder, port, user, password = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1)  # what it does, into its log
    Path(folder).mkdir(parents=True, exist_ok=True)
    door = Door(folder, int(port), user, password)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)  # the engine takes its time, and nothing of it is lost


if __name__ == "__main__":
    main()
