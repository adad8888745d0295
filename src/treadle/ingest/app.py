"""The Import API as an ASGI application, or as routes for a larger one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle import __version__
from treadle.clock import read_clock
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import Destination
from treadle.http.authentication import TokenAuthentication
from treadle.http.stop_notice import StopNotice
from treadle.ingest import records_endpoint, webhook_endpoint
from treadle.ingest.acknowledgement import BatchAcceptor
from treadle.ingest.admission import RequestAdmission
from treadle.ingest.batch_endpoint import BatchEndpoint
from treadle.ingest.body_executor import BodyExecutor
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.body_threads import BodyThreads
from treadle.ingest.dry_run import DryRunPlanner, open_anywhere
from treadle.ingest.endpoint import NotFoundEndpoint, PathEndpoint, RequestHandler, make_route
from treadle.ingest.fastpath.handler import FastPathHandler
from treadle.ingest.health_endpoint import IngestHealth
from treadle.ingest.member_readiness import SILENCE_SECONDS
from treadle.ingest.push_endpoint import PushEndpoint
from treadle.ingest.quotas import SourceQuotas
from treadle.ingest.readiness_endpoint import ALIVE_PATH, READY_PATH, ReadinessEndpoint
from treadle.ingest.receipts_endpoint import ReceiptsEndpoint
from treadle.ingest.store_watch import StoreWatch
from treadle.ingest.table_schema_check import TableSchemaCheck
from treadle.ingest.token_cache import TokenCache
from treadle.ingest.work_turns import WorkTurns
from treadle.log.joined import make_number_finder, make_open_lister, make_source_check
from treadle.log.protocol import LogAppender, LogReader
from treadle.store.model import ConfiguredDestination
from treadle.store.store import Store
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipts import make_receipt_codec


class IngestService:
    """Everything one process needs to accept data.

    Attributes:
        token_cache: who may push; call its `invalidate` after changes made in the same process.
        routes: the paths, for Starlette; all of /v2 is among them, and some of /v1.
        endpoints: by path, as in its route.
        fast_path: takes plain requests from connections.
    """

    def __init__(
        self,
        store: Store,
        log: LogAppender,
        *,
        open_reader: Callable[[], LogReader] | None = None,
        clock: Callable[[], int] = read_clock,
        version: str = __version__,
        revision: str = "release",
        count_answer: Callable[[str, int, float], None] = lambda *_: None,
        keep_refusal: Callable[[str, int, bytes, int], None] = lambda *_: None,
        quotas: SourceQuotas | None = None,
        priority: LoaderPriority | None = None,
        open_destination: Callable[[ConfiguredDestination], Destination] | None = None,
        find_shortage: Callable[[], str | None] = lambda: None,
        metrics_token: str | None = None,
        note_push: Callable[[int, int, int, float], None] | None = None,
        stale_seconds: float = 0.0,
        drain: StopNotice | None = None,
    ) -> None:
        """Build the endpoints; nothing runs before `start`. The caller closes store and log.

        Args:
            store: who may push.
            log: where accepted data goes.
            open_reader: opens the same log for reading, in another thread; without it nobody can
                follow a receipt or wait for a load.
            clock: microseconds since 1970, UTC.
            version: shown by the status.
            revision: shown by the status.
            count_answer: called with path, status and seconds of each answer that `fast_path`
                gives.
            keep_refusal: called with path, status, body and source of those that refuse.
            quotas: of sources and accounts; none where it is None. Started and closed with this.
            priority: of the loader over dry runs; None where no loader runs.
            open_destination: makes a destination for dry runs; None for one that connects to any
                address.
            find_shortage: returns why the log takes no data; None where it does. Called in a
                thread.
            metrics_token: who sends it to `/readyz` sees all names; None for none but those of
                the store.
            note_push: see `BatchAcceptor`.
            stale_seconds: see `TokenCache`.
            drain: announced when the server is told to stop.
        """
        self.token_cache = TokenCache(
            store, clock, stale_seconds=stale_seconds, is_open=make_source_check(log)
        )
        self._health = health = IngestHealth(
            store.destinations,
            store.tables,
            version=version,
            revision=revision,
            find_shortage=find_shortage,
            find_staleness=self.token_cache.find_staleness,
            find_log=make_number_finder(log),
            list_logs=make_open_lister(log),
        )
        self._readiness = readiness = ReadinessEndpoint(
            health, store, metrics_token, self.token_cache.add_use, drain or StopNotice()
        )
        receipts = make_receipt_codec(store.installation_id, log)
        self._progress = None if open_reader is None else LoadProgress(store, open_reader)
        self._quotas = quotas or SourceQuotas(store)
        self._watch = StoreWatch(store.get_revision)
        self._watch.add(self.token_cache)
        self._watch.add(self._quotas)
        acceptor = BatchAcceptor(
            log, health, clock, receipts, self._progress, self._quotas, note_push
        )
        turns = WorkTurns(self._quotas.is_alone)
        self._executor = BodyExecutor(turns)
        self._threads = BodyThreads(turns)
        budget = BodyMemoryBudget(self._threads)
        self.dry_run = DryRunPlanner(
            store, clock, open_destination or open_anywhere, turns, priority=priority
        )
        self._account_thread = ThreadPoolExecutor(1, thread_name_prefix="accounts")
        authentication = TokenAuthentication(
            lambda token: asyncio.get_running_loop().run_in_executor(
                self._account_thread, store.accounts.find_token_holder, token
            ),
            self.token_cache.find_owner,
        )
        admission = RequestAdmission(
            authentication,
            self.token_cache,
            self._executor,
            self._threads,
            budget,
            self._quotas,
        )

        def hold(handler: RequestHandler) -> RequestHandler:
            return budget.release_after(self._quotas.hold_bodies(handler))

        schemas = TableSchemaCheck(self.token_cache, store.table_schemas, self._executor)
        push = PushEndpoint(admission, acceptor, self.dry_run, schemas)
        batch = BatchEndpoint(admission, acceptor, self.dry_run)
        hooks = webhook_endpoint.WebhookEndpoint(
            admission, self.token_cache, store.sources, acceptor, clock, schemas
        )
        tables = records_endpoint.RecordsEndpoint(
            admission, acceptor, records_endpoint.SequenceCounter(clock), schemas
        )
        self.routes: list[BaseRoute] = [
            make_route("/v2/import/push", {"POST": hold(push.push)}),
            make_route("/v2/import/validate", {"POST": hold(push.validate)}),
            make_route("/v2/import/batch", {"POST": hold(batch.post)}),
            make_route("/v2/import/status", {"GET": health.get_status}),
            make_route(ALIVE_PATH, {"GET": readiness.get_alive}),
            make_route(READY_PATH, {"GET": readiness.get_ready}),
            Route("/v2/{path:path}", NotFoundEndpoint()),
            make_route(
                webhook_endpoint.WEBHOOK_PATH,
                {"POST": hold(hooks.post), "GET": hooks.get},
                webhook_endpoint.CORS_HEADERS,
            ),
            make_route(records_endpoint.RECORDS_PATH, {"POST": hold(tables.post)}),
        ]
        if self._progress is not None:
            receipt = ReceiptsEndpoint(
                authentication, store.sources, receipts, self._progress, self.token_cache.add_use
            )
            self.routes.append(make_route("/v1/receipts/{id}", {"GET": receipt.get}))
        self.endpoints = {
            found.path: found.app
            for found in self.routes
            if isinstance(found, Route) and isinstance(found.app, PathEndpoint)
        }
        self.fast_path = FastPathHandler(
            admission, acceptor, self.endpoints, count_answer, keep_refusal
        )

    async def find_obstacle(self) -> str | None:
        """Return why no data was taken a moment ago; None where it was, or nobody sent any."""
        return self.token_cache.find_staleness() or self._health.find_failure(SILENCE_SECONDS)

    async def start(self) -> None:
        """Read who may push, and follow changes."""
        await self.token_cache.start()
        await self._quotas.start()
        self._watch.start()

    async def aclose(self) -> None:
        """Stop following changes, and write the uses of tokens counted in memory."""
        await self._watch.aclose()
        await self.token_cache.aclose()
        await self._quotas.aclose()
        self._executor.close()
        self._threads.close()
        self.dry_run.close()
        self._health.close()
        self._readiness.close()
        self._account_thread.shutdown()
        if self._progress is not None:
            await self._progress.aclose()


class FrontRouter:
    """Sends the busiest paths straight to their endpoints and all others to an application.

    Finding a route among many and the layers around it cost as much as accepting a small push.
    """

    def __init__(self, ingest: IngestService, app: ASGIApp) -> None:
        """Stand before an application that has the routes of `ingest` among its own."""
        self._endpoints: dict[str, ASGIApp] = {
            path: endpoint for path, endpoint in ingest.endpoints.items() if "{" not in path
        }
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        await self._endpoints.get(scope.get("path", ""), self._app)(scope, receive, send)
