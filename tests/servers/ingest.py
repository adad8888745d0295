"""The Import API over a real socket, with a real store and log, in a thread of the test."""

import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.servers.document import Document
from tests.servers.log import open_test_appender, open_test_reader

from treadle.ingest.app import FrontRouter, IngestService
from treadle.ingest.endpoint import NotFoundEndpoint
from treadle.ingest.fastpath.connection import FastPathProtocol
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, FastPathHandler
from treadle.ingest.openapi_document import load_document
from treadle.log.protocol import LogAppender
from treadle.records.message_batch import MessageBatch, decode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

CLIENT = 4321
OTHER_CLIENT = 9999
UNKNOWN_TOKEN = "at_" + "0" * 64
DOCUMENT = Document(load_document())


@dataclass(frozen=True)
class Answer:
    """What came back; `headers` in lower case, in order."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name), None)


class ImportServer:
    """Client 4321 with sources that are active, paused and deleted, client 9999 with one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(f"sqlite:///{folder / 'store.sqlite'}", SecretCipher(bytes(32)))
        self.store.accounts.create_account("ours", client_id=CLIENT)
        self.store.accounts.create_account("theirs", client_id=OTHER_CLIENT)
        self.source_id, self.token = self.make_source("active")
        self.paused_id, self.paused_token = self.make_source("paused")
        self.store.sources.update_source(CLIENT, self.paused_id, paused_at=1)
        deleted_id, self.deleted_token = self.make_source("deleted")
        self.store.sources.delete_source(CLIENT, deleted_id)
        self.revoked_token = self.make_revoked()
        _, self.other_token = self.make_source("foreign", OTHER_CLIENT)
        self.ingest: IngestService
        self.port = 0

    def make_source(self, name: str, client: int = CLIENT) -> tuple[int, str]:
        source = self.store.sources.create_source(
            client, type="import_api", display_name=name, name=name, bootstrap_token=False
        )
        secret = self.store.tokens.create_token(client, source.id).secret
        assert secret is not None
        return source.id, secret

    def make_revoked(self) -> str:
        token = self.store.tokens.create_token(CLIENT, self.source_id)
        self.store.tokens.revoke_token(CLIENT, self.source_id, token.id)
        assert token.secret is not None
        return token.secret

    @contextmanager
    def running(
        self, log: LogAppender | None = None, *, fast_path: bool = True
    ) -> Iterator["ImportServer"]:
        """Serve on a free port; `log` takes the place of the local log, and stays open."""
        app = _App(self, log, fast_path=fast_path)
        with serving(app) as self.port:
            self.ingest = app.ingest
            yield self

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            return exchange(connection, method, path, body, headers or {})
        finally:
            connection.close()

    def post(
        self,
        path: str,
        body: Any,
        *,
        token: str | None = None,
        content_type: str | None = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A POST with the active source's token; a body that is no bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"}
        if content_type is not None:
            sent["Content-Type"] = content_type
        return self.send("POST", path, raw, sent | dict(headers or {}))

    def batches(self, source_id: int | None = None) -> list[MessageBatch]:
        """Everything the log holds for a source, in order."""
        wanted = self.source_id if source_id is None else source_id
        reader = open_test_reader(self.folder)
        try:
            last = max((found.last for found in reader.list_backlogs()), default=0)
            entries = reader.find_entries(1, last)
        finally:
            reader.close()
        return [
            decode_batch(entry.payload)
            for entry in entries
            if entry.source_id == wanted and not hasattr(entry, "why")
        ]

    def accepted(self) -> int:
        """How many entries the log holds, of all sources."""
        reader = open_test_reader(self.folder)
        try:
            return sum(found.entries for found in reader.list_backlogs())
        finally:
            reader.close()


def create_ingest_app(ingest: IngestService, *, fast_path: bool = True) -> ASGIApp:
    """An application of the Import API alone; its lifespan starts and closes `ingest`."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, FastPathHandler]]:
        await ingest.start()
        try:
            yield {FAST_PATH_STATE: ingest.fast_path} if fast_path else {}
        finally:
            await ingest.aclose()

    app = Starlette(routes=ingest.routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.router.default = NotFoundEndpoint()
    return FrontRouter(ingest, app)


class _App:
    """The application, with a log that is opened and closed on the event loop that uses it."""

    ingest: IngestService
    app: ASGIApp

    def __init__(
        self, server: ImportServer, log: LogAppender | None, *, fast_path: bool = True
    ) -> None:
        self._server = server
        self._log = log
        self._fast_path = fast_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        log = self._log or open_test_appender(self._server.folder)
        try:
            folder = self._server.folder
            self.ingest = IngestService(
                self._server.store, log, open_reader=lambda: open_test_reader(folder)
            )
            self.app = create_ingest_app(self.ingest, fast_path=self._fast_path)
            await self.app(scope, receive, send)
        finally:
            if log is not self._log:
                await log.aclose()


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> Answer:
    """Send on an open connection and read the whole answer, which must be a documented one."""
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None and "Content-Length" not in headers:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    fields = [(name.lower(), value) for name, value in response.getheaders()]
    answer = Answer(response.status, fields, response.read())
    DOCUMENT.check_import(method, path, answer.status, answer.headers, answer.body)
    return answer


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """Run an application in a thread; gives its port."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            loop="uvloop",
            http=FastPathProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
        )
    )
    started = threading.Event()
    startup = server.startup

    async def announced(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = announced  # type: ignore[method-assign]  # the server has no hook for this
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(120), "the server did not start"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive(), "the server did not stop"
