"""The control API as one ASGI application."""

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response

from treadle import __version__
from treadle.control import books, refusals, reports
from treadle.control.document import ABOUT, complete
from treadle.control.offline import Offline
from treadle.control.operations import Operations, now
from treadle.control.routes import Work, router
from treadle.control.settings import Settings
from treadle.errors import Refused, TryLater
from treadle.log.protocol import Reader
from treadle.store.store import Store
from treadle.web import Json

__all__ = ["Settings", "make_app"]


def make_app(
    store: Store,
    settings: Settings,
    *,
    changed: Callable[[], None],
    clock: Callable[[], int] = now,
    open_reader: Callable[[], Reader] | None = None,
) -> FastAPI:
    """The application that answers `/v4/...`, and 404 for every path it does not know.

    Args:
        store: accounts, sources, tokens and loads; its calls run in threads.
        settings: which answers are given.
        changed: called on the event loop after every change, before the answer is sent, so that
            whoever remembers tokens in this process forgets them at once.
        clock: microseconds since 1970.
        open_reader: opens the log; without it there is no ledger.
    """
    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/static",
        title="treadle control API",
        version=__version__,
        description=ABOUT,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        # Otherwise the page would ask a public validator about the document.
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.work = Work(Operations(store, settings, clock), changed)
    app.include_router(router)
    app.include_router(reports.router)
    if open_reader is not None:
        app.state.open_reader = open_reader
        app.include_router(books.router)
    app.openapi_schema = complete(app.openapi(), settings)
    app.add_middleware(Offline)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(TryLater, _later)
    app.add_exception_handler(Exception, _trouble)
    return app


def _answer(refused: Refused) -> Response:
    """A refusal as JSON; a text is a JSON string here, with its quotes (connect-api.md 1.8)."""
    return Json(refused.body, refused.status, dict(refused.headers))


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - how it was registered
    return _answer(error)


def _http(_: Request, __: Exception) -> Response:
    """Unknown path or method, the only cases the framework refuses by itself."""
    return _answer(refusals.no_route())


def _later(_: Request, __: Exception) -> Response:
    return _answer(refusals.busy())


def _trouble(_: Request, __: Exception) -> Response:
    """The framework logs the error after this answer was sent."""
    return _answer(refusals.trouble())
