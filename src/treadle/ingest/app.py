"""The Import API as an ASGI application, or as routes for a larger one."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle import __version__
from treadle.ingest import plain, webhook
from treadle.ingest.accept import Acceptor
from treadle.ingest.batch import BatchEndpoint
from treadle.ingest.directory import Directory
from treadle.ingest.dry_run import DryRun
from treadle.ingest.endpoint import Endpoint, NotFound, route
from treadle.ingest.express import STATE, Express
from treadle.ingest.follow import Follow
from treadle.ingest.health import Health
from treadle.ingest.large import Large
from treadle.ingest.progress import Progress
from treadle.ingest.push import PushEndpoint
from treadle.ingest.receipt import Receipts
from treadle.ingest.room import Room
from treadle.log.protocol import Appender, Reader
from treadle.store.store import Store


def microseconds() -> int:
    """The time now, microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Ingest:
    """Everything one process needs to accept data.

    Attributes:
        directory: who may push; tell it with `forget` of changes made in the same process.
        routes: the paths, for Starlette; all of /v2 is among them, and some of /v1.
        endpoints: by path, as in its route.
        express: the short way of requests without anything unusual, for connections.
    """

    def __init__(
        self,
        store: Store,
        log: Appender,
        *,
        open_reader: Callable[[], Reader] | None = None,
        clock: Callable[[], int] = microseconds,
        version: str = __version__,
        revision: str = "release",
        count: Callable[[str, int], None] = lambda path, status: None,
    ) -> None:
        """Nothing runs before `start`. The store and the log stay the caller's to close.

        Args:
            store: who may push.
            log: where accepted data goes.
            open_reader: opens the same log for reading, in another thread; without it nobody can
                follow a receipt or wait for a load.
            clock: microseconds since 1970, UTC.
            version: what the status names.
            revision: what the status names.
            count: told path and status of each answer that `express` gives.
        """
        self.directory = Directory(store, clock)
        health = Health(store, version=version, revision=revision)
        receipts = Receipts(store.installation_id, log.log_id)
        self._progress = None if open_reader is None else Progress(store, open_reader)
        acceptor = Acceptor(log, health, clock, receipts, self._progress)
        self._large = Large()
        room = Room()
        self._dry_run = DryRun(store, clock)
        push = PushEndpoint(self.directory, acceptor, self._large, room, self._dry_run)
        batch = BatchEndpoint(self.directory, acceptor, self._large, room, self._dry_run)
        hooks = webhook.Webhook(self.directory, store, acceptor, self._large, room, clock)
        tables = plain.Plain(self.directory, acceptor, self._large, room, clock)
        self.routes: list[BaseRoute] = [
            route("/v2/import/push", {"POST": room.emptied(push.push)}),
            route("/v2/import/validate", {"POST": room.emptied(push.validate)}),
            route("/v2/import/batch", {"POST": room.emptied(batch.post)}),
            route("/v2/import/status", {"GET": health.status}),
            Route("/v2/{path:path}", NotFound()),
            route(webhook.PATH, {"POST": room.emptied(hooks.post)}, webhook.CORS),
            route(plain.PATH, {"POST": room.emptied(tables.post)}),
        ]
        if self._progress is not None:
            follow = Follow(self.directory, store, receipts, self._progress)
            self.routes.append(route("/v1/receipts/{id}", {"GET": follow.get}))
        self.endpoints = {
            found.path: found.app
            for found in self.routes
            if isinstance(found, Route) and isinstance(found.app, Endpoint)
        }
        self.express = Express(self.directory, acceptor, room, self.endpoints, count)

    async def start(self) -> None:
        """Read who may push, and follow changes."""
        await self.directory.start()

    async def aclose(self) -> None:
        """Stop following changes and write what is gathered in memory."""
        await self.directory.aclose()
        self._large.close()
        self._dry_run.close()
        if self._progress is not None:
            await self._progress.aclose()


class Front:
    """Sends the busiest paths straight to their endpoints and all others to an application.

    Finding a route among many and the layers around it cost as much as accepting a small push.
    """

    def __init__(self, ingest: Ingest, app: ASGIApp) -> None:
        """Stand before an application that has the routes of `ingest` among its own."""
        self._endpoints: dict[str, ASGIApp] = {
            path: endpoint for path, endpoint in ingest.endpoints.items() if "{" not in path
        }
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        await self._endpoints.get(scope.get("path", ""), self._app)(scope, receive, send)


def make_app(ingest: Ingest) -> ASGIApp:
    """An application of the Import API alone; starts and closes `ingest` with its lifespan."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Express]]:
        await ingest.start()
        try:
            yield {STATE: ingest.express}
        finally:
            await ingest.aclose()

    app = Starlette(routes=ingest.routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.router.default = NotFound()
    return Front(ingest, app)
