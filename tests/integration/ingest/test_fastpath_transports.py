"""Requests take the fast path over TLS and over a UNIX socket, too."""

import json
import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from tests.servers.certificates import make_certificate
from tests.servers.ingest import CLIENT, ImportServer, _App

from treadle.certificate import ServedCertificate
from treadle.config import Config
from treadle.http.refusal_log import RefusalLog
from treadle.ingest.fastpath.connection import FastPathProtocol
from treadle.ingest.fastpath.connection_table import (
    CONNECTIONS_STATE,
    ConnectionLimits,
    ConnectionTable,
)
from treadle.server.listener import open_listener
from treadle.server.worker_process import WorkerServer

PUSHES = 8


class CountedApp:
    """The application, which counts the requests that did not take the fast path."""

    def __init__(self, app: _App) -> None:
        self._app = app
        self.requests = 0
        limits = ConnectionLimits.from_open_files(1024, 64)
        log = RefusalLog(logging.getLogger(__name__), lambda: 0.0)
        self._table = ConnectionTable(limits, log, lambda status, address, why: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"][CONNECTIONS_STATE] = self._table
        else:
            self.requests += 1
        await self._app(scope, receive, send)


@contextmanager
def serving(
    app: CountedApp, config: Config, certificate: ServedCertificate | None
) -> Iterator[str]:
    """Serve as a worker does, in a thread; gives the URL of the server."""
    listener = open_listener(config)
    settings = uvicorn.Config(
        app, loop="uvloop", http=FastPathProtocol, log_config=None, access_log=False
    )
    server = WorkerServer(settings, certificate, end_process=lambda: None)
    thread = threading.Thread(target=server.run, args=([listener.socket],))
    thread.start()
    try:
        yield listener.url
    finally:
        server.stop()
        thread.join(120)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


@pytest.mark.parametrize("way", ["tls", "socket"])
def test_all_but_the_first_requests_of_a_connection_take_the_fast_path(
    tmp_path: Path, way: str
) -> None:
    store = ImportServer(tmp_path)
    app = CountedApp(_App(store, None))
    path = tmp_path / "t.sock"
    files = make_certificate(tmp_path)
    if way == "tls":
        certificate = ServedCertificate(files.cert, files.key)
        config = Config(port=0, tls_cert=files.cert, tls_key=files.key)
        transport = httpx.HTTPTransport(verify=ssl.create_default_context(cafile=str(files.cert)))
    else:
        certificate = None
        config = Config(host=f"unix:{path}")
        transport = httpx.HTTPTransport(uds=str(path), retries=3)
    record = {"client_id": CLIENT, "table_name": "t", "sequence": 1, "action": "upsert"}
    body = json.dumps([{**record, "key_names": ["id"], "data": {"id": 1}}]).encode()
    headers = {"Authorization": f"Bearer {store.token}", "Content-Type": "application/json"}
    with (
        serving(app, config, certificate) as url,
        httpx.Client(base_url=url, transport=transport, headers=headers, timeout=60) as client,
    ):
        answers = [client.post("/v2/import/push", content=body) for _ in range(PUSHES)]
    assert [answer.status_code for answer in answers] == [201] * PUSHES
    assert 1 <= app.requests <= 2
    assert store.accepted() == PUSHES
