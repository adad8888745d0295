"""What a member answers that only loads: probes and figures."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from treadle import __version__, clock
from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.http.hosts import AllowedHosts
from treadle.http.refusal_log import RefusalLog
from treadle.http.stop_notice import StopNotice
from treadle.ingest.endpoint import NotFoundEndpoint, make_route
from treadle.ingest.fastpath.connection import DRAIN_STATE
from treadle.ingest.fastpath.connection_table import (
    CONNECTIONS_STATE,
    ConnectionLimits,
    ConnectionTable,
)
from treadle.ingest.health_endpoint import IngestHealth
from treadle.ingest.member_readiness import MEMBER_READY_PATH
from treadle.ingest.readiness_endpoint import ALIVE_PATH, READY_PATH, ReadinessEndpoint
from treadle.ingest.store_watch import StoreWatch
from treadle.ingest.token_cache import TokenCache
from treadle.metrics.request_counter import COUNTER_NAMES, RequestCounter, name_counter
from treadle.quotas import QuotaTable
from treadle.server.factories import name_place
from treadle.server.file_limit import plan_backlog
from treadle.server.metrics_page import make_metrics_endpoint
from treadle.server.readiness import make_readiness, probe_loaders
from treadle.server.role_router import RoleRouter
from treadle.shared_counters import SharedCounters
from treadle.store.store import Store

logger = logging.getLogger(__name__)


def make_probe_app(
    config: Config, store: Store, ready: Callable[[], None], name: str, files: int
) -> ASGIApp:
    """Make the ASGI application of a worker that takes no records.

    Args:
        config: the settings.
        store: open; the caller closes it.
        ready: called once, when the application answers.
        name: of this worker.
        files: how many files the process may have open.
    """
    drain = StopNotice()
    board = SharedCounters(config.counters_path, name, COUNTER_NAMES)
    refusals = RefusalLog(logger, time.monotonic)
    hosts = AllowedHosts.parse(config.host, config.allowed_hosts, config.public_url)
    # Only uses of tokens that open figures are counted with it.
    tokens = TokenCache(store, clock.read_clock)
    watch = StoreWatch(store.get_revision)
    watch.add(tokens)
    health = IngestHealth(store.destinations, store.tables, version=__version__, revision="release")
    probes = ReadinessEndpoint(health, store, config.metrics_token, tokens.add_use, drain)
    metrics = make_metrics_endpoint(config, store, hosts, tokens.add_use, QuotaTable)
    loaders_probe = probe_loaders(store, name_place(config))
    needs = {MemberRole.LOADER: (loaders_probe.find_obstacle,)}
    readiness = make_readiness(config.roles, needs, drain)
    connections = ConnectionTable(
        ConnectionLimits.from_open_files(files, plan_backlog(files)),
        refusals,
        lambda status, address, why: board.add(name_counter("", status)),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        await tokens.start()
        watch.start()
        ready()
        try:
            yield {CONNECTIONS_STATE: connections, DRAIN_STATE: drain}
        finally:
            await watch.aclose()
            await tokens.aclose()
            health.close()
            probes.close()
            metrics.close()
            loaders_probe.close()

    app = Starlette(
        routes=[
            make_route(ALIVE_PATH, {"GET": probes.get_alive}),
            make_route(READY_PATH, {"GET": probes.get_ready}),
            make_route(MEMBER_READY_PATH, {"GET": readiness.get}),
            Route("/metrics", metrics.get, methods=["GET"]),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.router.default = NotFoundEndpoint()
    return RequestCounter(
        RoleRouter(app, config.roles, config.console_path),
        board.add,
        lambda address: refusals.record("A request was refused for its token", address),
        console_path=config.console_path,
    )
