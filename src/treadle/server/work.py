"""The role of a worker: the Import API and the Connect API, answered on one socket."""

import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from treadle import __version__, clock
from treadle.board import Board, sums
from treadle.config import Config
from treadle.control.app import make_app as control_app
from treadle.control.settings import Settings
from treadle.ingest.app import Front, Ingest
from treadle.ingest.connection import Connection
from treadle.ingest.document import document as ingest_document
from treadle.ingest.express import STATE
from treadle.log.local import LocalAppender, LocalReader
from treadle.metrics.endpoint import Metrics
from treadle.metrics.requests import APPEND_FAILURES, NAMES, Counted, key
from treadle.openapi import merged
from treadle.server.parts import BACKLOG, open_store, room_of
from treadle.server.pipe import say_ready, when_the_supervisor_is_gone
from treadle.store.store import Store

COLLECTIONS = 10_000, 20, 20
"""When a worker looks for garbage in cycles, as `gc.set_threshold` takes it. Decoding a body makes
lists and dictionaries by the hundred thousand and no cycle, and at Python's own 700 the search took
a third of a Transit body's time. Much rarer would hold on to what a refusal leaves behind."""

KEEP_ALIVE_SECONDS = 75
"""Clients drop idle connections by themselves after 15 s or more, and do not retry a POST on one
that the server closed under them (import-api.md 4)."""


def work(config: Config, name: str, descriptor: int) -> None:
    """Answer requests until asked to stop: the Import API and the control API on one socket."""
    store = open_store(config)
    with socket.socket(fileno=descriptor) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                worker_app(config, store, _ready_for_long, name),
                loop="uvloop",
                http=Connection,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=BACKLOG,
            )
        )

        def stop() -> None:
            server.should_exit = True

        when_the_supervisor_is_gone(stop)
        server.run(sockets=[listening])
    store.close()


def worker_app(
    config: Config, store: Store, ready: Callable[[], None], name: str = "worker 1"
) -> ASGIApp:
    """Everything one worker answers; calls `ready` once it does.

    Args:
        config: of the server.
        store: opened.
        ready: called once.
        name: of this worker among the others.
    """
    # The listening socket is shared and its number says nothing: a worker is known by its name.
    board = Board(config.counters_path, name, NAMES)
    log = LocalAppender(
        config.log_path, room=room_of(config), failed=lambda: board.add(APPEND_FAILURES)
    )
    ingest = Ingest(
        store,
        log,
        open_reader=lambda: LocalReader(config.log_path),
        count=lambda path, status: board.add(key(path, status)),
    )
    control = control_app(
        store,
        Settings(config.connect_api_era, config.token_list),
        changed=ingest.directory.forget,
        open_reader=lambda: LocalReader(config.log_path),
    )
    metrics = Metrics(
        store,
        lambda: LocalReader(config.log_path),
        lambda: sums(config.counters_path, NAMES),
        token=config.metrics_token,
        host=config.host,
        version=__version__,
        clock=clock.read_clock,
    )
    control.openapi_schema = merged("treadle", __version__, [ingest_document(), control.openapi()])

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        await ingest.start()
        ready()
        try:
            yield {STATE: ingest.express}
        finally:
            await log.aclose()
            await ingest.aclose()
            metrics.close()

    app = Starlette(
        routes=[*ingest.routes, Route("/metrics", metrics.get, methods=["GET"])], lifespan=lifespan
    )
    app.router.redirect_slashes = False
    app.router.default = control  # mounted it would miss paths with a line break
    return Counted(Front(ingest, app), board.add)


def _ready_for_long() -> None:
    # What was made up to here, more than 100,000 objects, stays until the end. To look at it again
    # in collections took a seventh of a worker's time and kept requests waiting meanwhile.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    say_ready()
