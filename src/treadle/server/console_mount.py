"""Puts the console before an application, and imports it at the first request for a page."""

import asyncio
import gc
import logging
import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.config import Config, is_loopback
from treadle.http.hosts import AllowedHosts
from treadle.http.local_call import call_app
from treadle.http.stop_notice import StopNotice
from treadle.log.protocol import LogReader

if TYPE_CHECKING:
    from treadle.server.control_service import ControlService

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
        get_control: "Callable[[], Awaitable[ControlService]]",
        open_reader: Callable[[], LogReader],
        pushing: ASGIApp,
        hosts: AllowedHosts,
        stop: StopNotice,
    ) -> None:
        """Import nothing yet.

        Args:
            config: the settings.
            get_control: returns the control API, whose operations pages run.
            open_reader: opens the log.
            pushing: answers pushes.
            hosts: the names under which pages are served.
            stop: ends streams.
        """
        self._config = config
        self._get_control = get_control
        self._open_reader = open_reader
        self._pushing = pushing
        self._hosts = hosts
        self._stop = stop
        self._close: Callable[[], None] = lambda: None

    async def make(self) -> ASGIApp:
        """Return the console. Its modules are imported in a thread: that takes 100 ms and more."""
        control = await self._get_control()
        console = await anyio.to_thread.run_sync(self._make, control)
        gc.freeze()  # as at the start of a worker: what was made stays until the end
        return console

    def close(self) -> None:
        """Close what the console opened, if it was made."""
        self._close()

    def _make(self, control: "ControlService") -> ASGIApp:
        from treadle import __version__
        from treadle.console.app import ConsoleApp
        from treadle.console.figures import FigureSampler
        from treadle.console.page_reach import PageReach
        from treadle.console.page_request import ConsolePlaces, ConsoleServices

        config, clock = self._config, control.work.operations.clock
        sampler = FigureSampler(control.work.operations.store, self._open_reader, clock)
        self._close = sampler.close
        sampler.begin()  # whoever asks for the first page asks for the overview next
        is_default_folder = config.data == Config.data.absolute()
        services = ConsoleServices(
            work=control.work,
            sampler=sampler,
            places=ConsolePlaces.parse(config.console_path, config.public_url),
            clock=clock,
            version=__version__,
            data_flag="" if is_default_folder else f" --data {shlex.quote(str(config.data))}",
            listens_locally=config.socket_path is None and is_loopback(config.host),
            push=self._push,
            traces=control.traces,
            problems=control.problems,
            examinations=control.examinations,
            reach=PageReach(
                waiting=control.waiting,
                open_reader=self._open_reader,
                desk=control.query.asking.client,
                query=control.query.settings,
                plan_dry_run=control.plan_dry_run,
            ),
            payloads=config.console_payloads,
            retention_days=config.retention_days,
            query=control.query,
            plan_dry_run=control.plan_dry_run,
            trials=control.trials,
        )
        return ConsoleApp(services, hosts=self._hosts, stop=self._stop)

    async def _push(self, token: str, body: bytes) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return await call_app(self._pushing, "POST", PUSH_PATH, headers, body)
