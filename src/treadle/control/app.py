"""The Connect API as one ASGI application."""

import functools
from collections.abc import Callable

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from treadle import __version__
from treadle.clock import read_clock
from treadle.control import (
    check_routes,
    destination_routes,
    errors,
    hook_routes,
    ledger_routes,
    load_report_routes,
    partner_routes,
    recipient_routes,
    session_routes,
    stream_routes,
    table_routes,
    token_routes,
    trail_routes,
)
from treadle.control.docs_page import DocsGuard
from treadle.control.no_store import NoStoreMiddleware
from treadle.control.openapi_document import ABOUT, complete_document
from treadle.control.operations import ConnectOperations
from treadle.control.partner_operations import PartnerOperations
from treadle.control.pulled_sources import PulledSourceOperations
from treadle.control.routes import ROUTERS, OperationRunner
from treadle.control.settings import ConnectApiSettings
from treadle.errors import RequestRefusedError, RetriableError
from treadle.http.authentication import TokenAuthentication
from treadle.http.hosts import AllowedHosts
from treadle.http.paths import SlashMiddleware
from treadle.http.responses import JsonResponse, encode_json, list_refusal_headers
from treadle.log.protocol import LogReader
from treadle.store.store import Store
from treadle.text import digest_text

__all__ = ["ConnectApiSettings", "create_control_app"]


def create_control_app(
    store: Store,
    settings: ConnectApiSettings,
    *,
    changed: Callable[[], None],
    count_use: Callable[[int, str | None], None] = lambda token_id, origin: None,
    clock: Callable[[], int] = read_clock,
    open_reader: Callable[[], LogReader] | None = None,
    allowed_hosts: AllowedHosts | None = None,
    serves_docs: bool = True,
    note_stranger: Callable[[str], None] = lambda address: None,
) -> FastAPI:
    """Return the application that answers `/v4/...` and others, and 404 for unknown paths.

    Args:
        store: accounts, sources, tokens and loads; its calls run in threads.
        settings: which answers are given.
        changed: called on the event loop after every change, before the answer is sent, so that
            whoever remembers tokens in this process forgets them at once.
        count_use: called on the event loop with the id of each account token that was used, and the
            address of the client.
        clock: microseconds since 1970.
        open_reader: opens the log; without it there is no ledger.
        allowed_hosts: the names under which pages are served; None for any.
        serves_docs: whether there is that page.
        note_stranger: called on the event loop with the address of a client that has not the
            credentials of the partner.
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
    authentication = TokenAuthentication(
        lambda token: run_sync(store.accounts.find_token_holder, token),
        lambda token: run_sync(store.tokens.find_owner, digest_text(token)),
    )
    app.state.work = OperationRunner(
        ConnectOperations(store, settings, clock),
        PulledSourceOperations(store),
        authentication,
        changed,
        count_use,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(stream_routes.router)
    app.include_router(destination_routes.types)
    app.include_router(destination_routes.router)
    app.include_router(load_report_routes.router)
    app.include_router(trail_routes.router)
    app.include_router(token_routes.router)
    app.include_router(recipient_routes.router)
    app.include_router(session_routes.router)
    if settings.partner is not None:
        app.state.partner = PartnerOperations(
            store, settings.partner, settings.accounts_max, note_stranger
        )
        app.include_router(partner_routes.router)
    app.include_router(table_routes.router)
    app.include_router(hook_routes.documented)
    app.include_router(hook_routes.router)
    app.include_router(check_routes.router)
    if open_reader is not None:
        app.state.open_reader = open_reader
        app.include_router(ledger_routes.router)
    app.openapi_schema = complete_document(app.openapi(), settings)
    _render_document_once(app)
    app.add_middleware(DocsGuard, allowed_hosts=allowed_hosts, serves=serves_docs)
    app.add_middleware(NoStoreMiddleware)
    app.add_middleware(SlashMiddleware)  # the last one that is added is the first one asked
    app.add_exception_handler(RequestRefusedError, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RetriableError, _on_try_later)
    app.add_exception_handler(Exception, _on_error)
    return app


def _render_document_once(app: FastAPI) -> None:
    """Keep the OpenAPI document as bytes: anybody may ask for it, and making it takes 3 ms.

    It is made at the first request: other packages add their paths before that.
    """
    path = app.openapi_url or ""

    @functools.cache
    def render() -> bytes:
        return encode_json(app.openapi())

    async def get_document(_: Request) -> Response:
        return Response(render(), media_type="application/json")

    places = [
        at for at, route in enumerate(app.routes) if isinstance(route, Route) and route.path == path
    ]
    for at in places:
        app.router.routes[at] = Route(path, get_document, include_in_schema=False)


def _render_refusal(refused: RequestRefusedError) -> Response:
    """Return a refusal as JSON.

    A text becomes a JSON string, with its quotes (connect-api.md 1.8).
    """
    return JsonResponse(refused.body, refused.status, list_refusal_headers(refused))


def _on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefusedError)  # noqa: S101 - how it was registered
    return _render_refusal(error)


def _on_http_error(_: Request, __: Exception) -> Response:
    """Answer an unknown path or method; the framework refuses nothing else by itself."""
    return _render_refusal(errors.route_not_found())


def _on_try_later(_: Request, __: Exception) -> Response:
    return _render_refusal(errors.store_unavailable())


def _on_error(_: Request, __: Exception) -> Response:
    """Answer 500; the framework logs the error after this answer was sent."""
    refused = errors.internal_error()
    refused.headers = (("Cache-Control", "no-store"),)  # this answer passes no middleware
    return _render_refusal(refused)
