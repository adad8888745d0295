"""Puts the console before an application, and imports it at the first request for a page."""

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette.datastructures import State
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.config import Config, is_loopback
from treadle.control.examination_operations import ExaminationRunner
from treadle.control.problem_operations import ProblemWatch
from treadle.control.query_routes import QueryRoom
from treadle.control.reject_preview import PlanDryRun
from treadle.control.routes import OperationRunner
from treadle.control.traces import TraceFiles
from treadle.control.trials import TrialSender
from treadle.http.hosts import AllowedHosts
from treadle.http.local_call import call_app
from treadle.http.stop_notice import StopNotice
from treadle.log.protocol import LogReader

if TYPE_CHECKING:
    from treadle.console.page_reach import PageReach

logger: Final = logging.getLogger(__name__)

PUSH_PATH: Final = "/v2/import/push"


class ConsoleRouter:
    """Sends requests for pages to the console, and all others to an application."""

    def __init__(
        self, app: ASGIApp, path: str, make_console: Callable[[], Awaitable[ASGIApp]]
    ) -> None:
        """Stand before an application.

        Args:
            app: answers what is not of the console.
            path: of the console.
            make_console: makes the console; awaited for the first request for a page.
        """
        self._app = app
        self._path = path
        self._below = f"{path}/"
        self._make_console = make_console
        self._console: ASGIApp | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == self._path or path.startswith(self._below):
                console = await self._get_console()
                await console(scope, receive, send)
                return
            if path == "/" and _wants_page(scope):
                # Relative: whatever a proxy puts before the path stays there.
                location = self._below.removeprefix("/")
                response = Response(status_code=303, headers={"Location": location})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _get_console(self) -> ASGIApp:
        async with self._making:
            if self._console is None:
                try:
                    self._console = await self._make_console()
                except Exception:
                    logger.exception("the console cannot be opened")
                    return PlainTextResponse("The console cannot be opened; see the log.\n", 500)
            return self._console


def _wants_page(scope: Scope) -> bool:
    """Return whether whoever asks is somebody with a browser."""
    if scope["method"] not in ("GET", "HEAD"):
        return False
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


class ConsoleMaker:
    """Makes the console of a worker, and closes it."""

    def __init__(
        self,
        config: Config,
        work: OperationRunner,
        open_reader: Callable[[], LogReader],
        pushing: ASGIApp,
        hosts: AllowedHosts,
        stop: StopNotice,
        traces: TraceFiles,
        problems: ProblemWatch,
        examinations: ExaminationRunner,
        control: State | None = None,
        *,
        query: QueryRoom,
        plan_dry_run: PlanDryRun,
        trials: TrialSender,
    ) -> None:
        """Import nothing yet.

        Args:
            config: the settings.
            work: runs changes.
            open_reader: opens the log.
            pushing: answers pushes.
            hosts: the names under which pages are served.
            stop: ends streams.
            traces: what the server remembers of itself.
            problems: finds problems; the caller closes it.
            examinations: starts examinations.
            control: state of the application of the API, whose desk and view of the log pages
                share; None for none.
            query: runs statements.
            plan_dry_run: plans what a load would do.
            trials: sends deliveries and mails on trial.
        """
        self._control = control
        self._config = config
        self._work = work
        self._open_reader = open_reader
        self._pushing = pushing
        self._hosts = hosts
        self._stop = stop
        self._traces = traces
        self._problems = problems
        self._examinations = examinations
        self._query = query
        self._plan_dry_run = plan_dry_run
        self._trials = trials
        self._close: Callable[[], None] = lambda: None

    async def make(self) -> ASGIApp:
        """Return the console. Its modules are imported in a thread: that takes 100 ms and more."""
        return await anyio.to_thread.run_sync(self._make)

    def close(self) -> None:
        """Close what the console opened, if it was made."""
        self._close()

    def _make(self) -> ASGIApp:
        from treadle import __version__
        from treadle.console.app import ConsoleApp
        from treadle.console.figures import FigureSampler
        from treadle.console.page_request import ConsolePlaces, ConsoleServices

        config, clock = self._config, self._work.operations.clock
        sampler = FigureSampler(self._work.operations.store, self._open_reader, clock)
        self._close = sampler.close
        sampler.begin()  # whoever asks for the first page asks for the overview next
        is_default_folder = config.data == Config.data.absolute()
        services = ConsoleServices(
            work=self._work,
            sampler=sampler,
            places=ConsolePlaces.parse(config.console_path, config.public_url),
            clock=clock,
            version=__version__,
            data_flag="" if is_default_folder else f" --data {shlex.quote(str(config.data))}",
            listens_locally=config.socket_path is None and is_loopback(config.host),
            push=self._push,
            traces=self._traces,
            problems=self._problems,
            examinations=self._examinations,
            reach=self._make_reach(),
            payloads=config.console_payloads,
            retention_days=config.retention_days,
            query=self._query,
            plan_dry_run=self._plan_dry_run,
            trials=self._trials,
        )
        return ConsoleApp(services, hosts=self._hosts, stop=self._stop)

    def _make_reach(self) -> "PageReach":
        from treadle.console.page_reach import PageReach

        if self._control is None:
            return PageReach()
        return PageReach(
            waiting=self._control.waiting,
            open_reader=self._open_reader,
            desk=self._control.query.asking.client,
            query=self._control.query.settings,
            plan_dry_run=self._control.plan_dry_run,
        )

    async def _push(self, token: str, body: bytes) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return await call_app(self._pushing, "POST", PUSH_PATH, headers, body)
