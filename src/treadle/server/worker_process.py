"""A worker process: answers the Import API and the Connect API on one socket."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from treadle import clock
from treadle.certificate import ServedCertificate
from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.destinations.priority import LoaderPriority
from treadle.http.forwarding import ForwardedOrigin, TrustedProxies
from treadle.http.hosts import AllowedHosts
from treadle.http.refusal_log import RefusalLog
from treadle.http.responses import COMMON_HEADERS
from treadle.http.stop_notice import StopNotice
from treadle.ingest.app import FrontRouter, IngestService
from treadle.ingest.endpoint import NotFoundEndpoint, make_route
from treadle.ingest.fastpath.connection import DRAIN_STATE, FastPathProtocol
from treadle.ingest.fastpath.connection_table import (
    CONNECTIONS_STATE,
    ConnectionLimits,
    ConnectionTable,
)
from treadle.ingest.fastpath.handler import FAST_PATH_STATE
from treadle.ingest.member_readiness import MEMBER_READY_PATH, watch_silence
from treadle.ingest.quotas import SourceQuotas
from treadle.log.joined import get_appender_id
from treadle.log.registry import find_log_shortage, open_appender, open_glance
from treadle.logging_setup import reopen_log_file
from treadle.metrics.histograms import REQUEST_SECONDS, DurationHistogram
from treadle.metrics.request_counter import (
    APPEND_FAILURES,
    COUNTER_NAMES,
    RequestCounter,
    name_counter,
    name_endpoint,
)
from treadle.server.child_channel import call_when_orphaned, report_ready, wake_child
from treadle.server.console_mount import PUSH_PATH, ConsoleMaker, ConsoleRouter
from treadle.server.control_mount import ControlMount
from treadle.server.errand_watch import wake_after_change
from treadle.server.factories import (
    WORKER_CONNECTIONS,
    WORKER_STATEMENTS,
    follow_store_clock,
    make_destination_opener,
    make_quota_table,
    name_place,
    open_store,
)
from treadle.server.file_limit import plan_backlog, raise_file_limit
from treadle.server.listener import name_address
from treadle.server.log_watch import start_following
from treadle.server.member_beat import start_beat
from treadle.server.metrics_page import make_metrics_endpoint
from treadle.server.probe_app import make_probe_app
from treadle.server.readiness import make_readiness, probe_loaders, probe_log, probe_store
from treadle.server.role_router import RoleRouter
from treadle.server.tls_handshake import TlsAcceptor
from treadle.shared_counters import SharedCounters
from treadle.store.membership import ANSWERS_NOTE
from treadle.store.store import Store
from treadle.traces.append_trace import AppendTrace
from treadle.traces.refusal_file import RefusalFile
from treadle.traces.refusal_keeper import RefusalKeeper
from treadle.traces.refusal_lines import SourceNote
from treadle.traces.series_layout import sum_answers

if TYPE_CHECKING:
    from treadle.server.control_service import ControlService

CONTROL_STATE: Final = "treadle.control"
"""Where the state of a worker's lifespan has its `ControlMount`."""

GC_THRESHOLDS = 10_000, 20, 20
"""How often a worker searches for garbage, for `gc.set_threshold`. To decode a body makes lists and
dictionaries by the hundred thousand and no cycle among them. At Python's default of 700 the search
took a third of the time of a Transit body. If it ran much less often, the memory of refused bodies
would stay too long."""

KEEP_ALIVE_SECONDS = 75
"""Clients close idle connections after 15 s or more. They do not retry a POST on a connection that
the server closed at the same moment, so the server waits longer (import-api.md 4)."""

TICK_SECONDS: Final = 1.0
"""The time between two looks at the clock, for the date of answers."""

ANSWER_SECONDS: Final = 6.0
"""Seconds that a worker that stops waits until its requests are finished and their answers read.
Then it closes the connections that are left."""

CANCEL_SECONDS: Final = 8
"""Seconds after which a worker that stops cancels requests that still run without a connection."""

STOP_SECONDS_MAX: Final = 12.0
"""Seconds after which a worker that stops ends itself, whatever its threads still do. What it
acknowledged is in the log."""

logger = logging.getLogger(__name__)


def _end_process() -> None:
    logger.error(
        "what this worker was doing did not end within %.0f s and is given up; nothing that was "
        "acknowledged is lost",
        STOP_SECONDS_MAX,
    )
    os._exit(1)


class WorkerServer(uvicorn.Server):
    """Accepts TLS where there is a certificate, stops in bounded time, and idles cheaply."""

    def __init__(
        self,
        config: uvicorn.Config,
        certificate: ServedCertificate | None = None,
        end_process: Callable[[], None] = _end_process,
        stop_notice: StopNotice | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the server.

        Args:
            config: of uvicorn, which knows nothing of the certificate.
            certificate: to show; None to speak HTTP.
            end_process: called STOP_SECONDS_MAX after the stop began, if the process is still
                there; a process that does more than serve goes on.
            stop_notice: announced when the stop begins, so that answers without an end do end.
            on_end: called in a thread when all is answered. uvicorn ends the process by the signal
                that stopped it, so what comes after `run` may never be reached.
        """
        super().__init__(config)
        self._on_end = on_end
        self._stop_notice = stop_notice
        self._end_process = end_process
        self._certificate = certificate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked = asyncio.Event()
        self._acceptor: TlsAcceptor | None = None
        self._accepting: list[asyncio.Task[None]] = []

    async def main_loop(self) -> None:
        """Set the date of answers once a second, until the server is to stop.

        uvicorn's own loop wakes ten times a second, to see whether it is to stop.
        """
        self._loop = asyncio.get_running_loop()
        # The count that uvicorn gets stands for a whole second, in which the date is set.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_asked.wait(), TICK_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop because of a signal."""
        super().handle_exit(sig, frame)
        self.stop()

    def stop(self) -> None:
        """Have the server stop; any thread may call it."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop_asked.set)

    def begin_drain(self) -> None:
        """Tell load balancers that the server is about to stop; any thread may call it."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._announce_drain)

    def _announce_drain(self) -> None:
        """Let each connection end with its next answer, so that its sender goes elsewhere."""
        self._announce_stop(DRAIN_STATE)
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            connection.end_after_answer()

    def _announce_stop(self, key: str) -> None:
        notice: StopNotice | None = self.lifespan.state.get(key)
        if notice is not None:
            notice.announce()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections at sockets that listen."""
        if self._certificate is None or sockets is None:
            await super().startup(sockets)
            return
        await super().startup([])

        def make_protocol() -> FastPathProtocol:
            return FastPathProtocol(self.config, self.server_state, self.lifespan.state)

        table: ConnectionTable = self.lifespan.state[CONNECTIONS_STATE]
        self._acceptor = TlsAcceptor(self._certificate.context, make_protocol, table)
        self._accepting = [
            asyncio.create_task(self._acceptor.accept_all(listening)) for listening in sockets
        ]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does; the process ends at STOP_SECONDS_MAX if it has not before."""
        timer = threading.Timer(STOP_SECONDS_MAX, self._end_process)
        timer.daemon = True
        timer.start()
        if self._stop_notice is not None:
            self._stop_notice.announce()
        self._announce_stop(DRAIN_STATE)
        asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._abort_connections)
        control: ControlMount | None = self.lifespan.state.get(CONTROL_STATE)
        if control is not None:
            control.end_streams()  # they would go on until their connections are closed
        for task in self._accepting:
            task.cancel()
        if self._acceptor is not None:
            await self._acceptor.end_handshakes()
        await super().shutdown(sockets)
        await asyncio.to_thread(self._on_end)

    def _abort_connections(self) -> None:
        left: list[Any] = list(self.server_state.connections)
        if left:
            logger.warning(
                "%d connections are closed before their requests are answered", len(left)
            )
        for connection in left:
            connection.abort()


def run_worker(config: Config, name: str, descriptor: int) -> None:
    """Answer requests until SIGTERM, or until the supervisor is gone."""
    files = raise_file_limit()
    # Without an actor: a request makes its changes as its caller, whom the trail names.
    store = open_store(
        config, actor=None, connections=WORKER_CONNECTIONS, statements=WORKER_STATEMENTS
    )
    follow_store_clock(store)
    certificate = None
    if config.tls_cert is not None and config.tls_key is not None:
        certificate = ServedCertificate(config.tls_cert, config.tls_key)
    stop_notice = StopNotice()
    become_ready = partial(_become_ready, certificate)
    if config.roles == {MemberRole.LOADER}:
        app = make_probe_app(config, store, become_ready, name, files)
    else:
        app = make_worker_app(config, store, become_ready, name, files, wake_child, stop_notice)
    with socket.socket(fileno=descriptor) as listening:
        beat = start_beat(
            config,
            store,
            name,
            clock.read_clock(),
            name_address(config, listening),
            make_answer_note(config, name),
        )
        server = WorkerServer(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=FastPathProtocol,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                headers=list(COMMON_HEADERS),
                proxy_headers=False,  # `ForwardedOrigin` does it, for those in trusted_proxies
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=CANCEL_SECONDS,
                backlog=plan_backlog(files),
            ),
            certificate,
            stop_notice=stop_notice,
            on_end=lambda: None if beat is None else beat.close(),
        )

        def begin_drain() -> None:
            server.begin_drain()
            if beat is not None:
                beat.begin_drain()

        call_when_orphaned(server.stop, drain=begin_drain)
        server.run(sockets=[listening])
    if beat is not None:
        beat.close()
    store.close()


def make_answer_note(config: Config, name: str) -> Callable[[], dict[str, Any]]:
    """Make what tells other members how many requests this worker answered.

    Args:
        config: the settings.
        name: of the worker.
    """
    if config.store is None:  # nobody is told
        return dict
    counts = SharedCounters(config.counters_path, name, COUNTER_NAMES).counts
    return lambda: {ANSWERS_NOTE: sum_answers(dict(zip(COUNTER_NAMES, counts, strict=True)))}


def make_worker_app(
    config: Config,
    store: Store,
    ready: Callable[[], None],
    name: str = "worker 1",
    files: int = 1024,
    wake: Callable[[str], None] = lambda _: None,
    stop_notice: StopNotice | None = None,
) -> ASGIApp:
    """Make the ASGI application of one worker.

    Args:
        config: the settings.
        store: open; the caller closes it.
        ready: called once, when the application answers.
        name: of this worker among the others.
        files: how many files the process may have open; connections have a part of them.
        wake: has a child, named by its argument, look for what it is to do.
        stop_notice: announced when the server stops.
    """
    drain = StopNotice()
    takes_records = MemberRole.INGEST in config.roles
    has_control = MemberRole.CONTROL in config.roles
    # By the worker's name and not by a process id, so that a restarted worker counts on.
    board = SharedCounters(config.counters_path, name, COUNTER_NAMES)
    durations = DurationHistogram(
        REQUEST_SECONDS,
        SharedCounters(config.counters_path, name, REQUEST_SECONDS.counter_names),
    )
    keeper = RefusalKeeper(
        RefusalFile(config.refusals_path, name),
        store.tokens.list_known_tokens,
        store.get_revision,
        clock.read_clock,
        lambda: {
            one.id: SourceNote(one.name, one.paused_at is not None)
            for one in store.sources.list_sources()
        },
    )
    quotas = SourceQuotas(store, make_quota_table(config), folder=config.counters_path, worker=name)
    appends = AppendTrace(config.counters_path, name, clock.read_clock)

    def note_failure() -> None:
        board.add(APPEND_FAILURES)
        appends.note_failure()

    answers: dict[tuple[str, int], tuple[int, str]] = {}
    """By path and status, of which the fast path has a few: slot of the counter, and endpoint."""

    def count_answer(path: str, status: int, seconds: float) -> None:
        found = answers.get((path, status))
        if found is None:
            slot = board.get_slot(name_counter(path, status))
            found = answers[path, status] = slot, name_endpoint(path)
        board.counts[found[0]] += 1
        durations.note(found[1], seconds)

    log = open_appender(
        config, store.logs, note_failure, quotas.get_tables_max, appends.note_commit
    )
    exporter = note_push = None
    if config.otel_endpoint is not None:
        from treadle.server.telemetry import make_push_teller, start_exporter
        from treadle.telemetry.span import EntryTraces

        exporter = start_exporter(config, "worker")

        def choose_traces(source_id: int) -> EntryTraces:
            return EntryTraces(get_appender_id(log, source_id), config.otel_percent / 100)

        note_push = make_push_teller(exporter, choose_traces, clock.read_clock)
    ingest = IngestService(
        store,
        log,
        open_reader=lambda: open_glance(config, store.logs),
        count_answer=count_answer,
        keep_refusal=lambda path, status, body, source_id: keeper.keep_of_source(
            name_endpoint(path), status, body, quotas.gates[source_id].account_id, source_id
        ),
        quotas=quotas,
        priority=LoaderPriority(config.turns_path),
        open_destination=make_destination_opener(config),
        find_shortage=lambda: find_log_shortage(config, log),
        metrics_token=config.metrics_token,
        note_push=note_push,
        # A file is asked by its machine alone, and is never away without its disk.
        stale_seconds=config.token_stale_seconds if config.store is not None else 0.0,
        drain=drain,
    )
    hosts = AllowedHosts.parse(config.host, config.allowed_hosts, config.public_url)
    refusals = RefusalLog(logger, time.monotonic)

    def follow_change() -> None:
        ingest.token_cache.invalidate()
        # In a thread: it asks the store.
        asyncio.get_running_loop().run_in_executor(
            None, wake_after_change, store.errands.list_open_kinds, wake
        )

    def make_service() -> "ControlService":
        from treadle.server.control_service import ControlDoors, make_control_service

        doors = ControlDoors(
            follow_change=follow_change,
            count_use=ingest.token_cache.add_use,
            count_refusal=ingest.token_cache.count_refusal,
            note_stranger=lambda address: refusals.record(
                "An account was refused for the partner's credentials", address
            ),
            plan_dry_run=ingest.dry_run.plan,
            wake=wake,
        )
        return make_control_service(config, store, hosts, doors)

    control = ControlMount(make_service)

    def count_unread(status: int, address: str, why: str) -> None:
        board.add(name_counter("", status))
        keeper.keep_unread(status, address, why)

    connections = ConnectionTable(
        ConnectionLimits.from_open_files(files, plan_backlog(files)), refusals, count_unread
    )
    metrics = make_metrics_endpoint(
        config,
        store,
        hosts,
        ingest.token_cache.add_use,
        lambda: quotas.table,
        None if config.store is None else lambda: ingest.token_cache.age,
    )

    log_probe = probe_log(lambda: find_log_shortage(config, log))
    store_probe = probe_store(store.get_revision)
    loaders_probe = probe_loaders(store, name_place(config))
    readiness = make_readiness(
        config.roles,
        {
            MemberRole.INGEST: (
                ingest.find_obstacle,
                watch_silence("the log", log.find_silence),
                log_probe.find_obstacle,
            ),
            MemberRole.CONTROL: (store_probe.find_obstacle,),
            MemberRole.LOADER: (loaders_probe.find_obstacle,),
        },
        drain,
    )
    console = ConsoleMaker(
        config,
        control.get_service,
        lambda: open_glance(config, store.logs),
        ingest.endpoints[PUSH_PATH],
        hosts,
        stop_notice or StopNotice(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        await ingest.start()
        following = start_following(log)
        ready()
        try:
            state: dict[str, Any] = {
                CONNECTIONS_STATE: connections,
                CONTROL_STATE: control,
                DRAIN_STATE: drain,
            }
            if config.fast_path == "on" and takes_records:
                state[FAST_PATH_STATE] = ingest.fast_path
            yield state
        finally:
            following.set()
            await log.aclose()
            await ingest.aclose()
            metrics.close()
            log_probe.close()
            store_probe.close()
            loaders_probe.close()
            await control.aclose()
            await keeper.aclose()
            console.close()
            if exporter is not None:
                await asyncio.to_thread(exporter.close)

    app = Starlette(
        routes=[
            *ingest.routes,
            make_route(MEMBER_READY_PATH, {"GET": readiness.get}),
            Route("/metrics", metrics.get, methods=["GET"]),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    # Mounted, the control API would not get paths that contain a line break.
    app.router.default = control if has_control else NotFoundEndpoint()
    behind: ASGIApp = app
    if config.console == "on" and has_control:
        behind = ConsoleRouter(app, config.console_path, console.make)
    front: ASGIApp = FrontRouter(ingest, behind)
    if not takes_records or not has_control:
        front = RoleRouter(front, config.roles, config.console_path)
    answering: ASGIApp = RequestCounter(
        front,
        board.add,
        lambda address: refusals.record("A request was refused for its token", address),
        keeper.keep_answer,
        config.console_path,
        durations.note,
    )
    if not config.trusted_proxies:
        return answering
    at_socket = config.socket_path is not None
    trusted = TrustedProxies.parse(config.trusted_proxies, socket=at_socket)
    return ForwardedOrigin(answering, trusted)


def _read_files_again(certificate: ServedCertificate | None) -> None:
    reopen_log_file()
    if certificate is not None:
        certificate.reload()


def _become_ready(certificate: ServedCertificate | None) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _read_files_again, certificate)
    # The objects made so far, more than 100,000, stay until the end. To search through them in
    # every collection took a seventh of a worker's time, and requests waited meanwhile.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    report_ready()
