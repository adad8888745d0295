"""The Connect API as one ASGI application."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from treadle import __version__
from treadle.clock import read_clock
from treadle.control import (
    catalogue_routes,
    check_routes,
    destination_routes,
    doctor_routes,
    errors,
    event_routes,
    examination_routes,
    hook_routes,
    ledger_routes,
    load_report_routes,
    option_routes,
    partner_routes,
    problem_routes,
    query_routes,
    recipient_routes,
    reject_routes,
    replay_routes,
    request_routes,
    session_routes,
    stream_routes,
    table_routes,
    token_routes,
    trace_routes,
    trail_routes,
    user_routes,
)
from treadle.control.asking import DeskAsking
from treadle.control.docs_page import DocsGuard
from treadle.control.event_hub import EventHub
from treadle.control.examination_operations import ExaminationRunner
from treadle.control.no_store import NoStoreMiddleware
from treadle.control.openapi_document import ABOUT, complete_document
from treadle.control.operations import ConnectOperations
from treadle.control.partner_operations import PartnerOperations
from treadle.control.problem_operations import ProblemWatch
from treadle.control.pulled_sources import PulledSourceOperations
from treadle.control.query_operations import QuerySettings
from treadle.control.reject_preview import PlanDryRun
from treadle.control.routes import ROUTERS, OperationRunner
from treadle.control.settings import ConnectApiSettings
from treadle.control.traces import TraceFiles
from treadle.control.trials import SILENT, TrialSender
from treadle.control.waiting_view import WaitingView
from treadle.errors import RequestRefusedError, RetriableError
from treadle.http.authentication import TokenAuthentication
from treadle.http.hosts import AllowedHosts
from treadle.http.openapi import JsonObject
from treadle.http.paths import SlashMiddleware
from treadle.http.responses import JsonResponse, encode_json, list_refusal_headers
from treadle.log.protocol import LogReader
from treadle.questions.client import DeskClient
from treadle.records.message_batch import MessageBatch
from treadle.store.model import TokenHolder
from treadle.store.store import Store
from treadle.text import digest_text

if TYPE_CHECKING:
    from treadle.destinations.forecast import LoadForecast

__all__ = ["ConnectApiSettings", "create_control_app"]


async def _plan_nothing(
    account_id: int, source_id: int, batches: Sequence[MessageBatch]
) -> "Sequence[LoadForecast]":
    raise RetriableError("nothing is planned here")


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
    traces: TraceFiles | None = None,
    problems: ProblemWatch | None = None,
    query: QuerySettings | None = None,
    desk: DeskClient | None = None,
    join_document: Callable[[JsonObject], JsonObject] = lambda document: document,
    events: EventHub | None = None,
    plan_dry_run: PlanDryRun = _plan_nothing,
    count_refusal: Callable[[bytes], None] = lambda sha256: None,
    trials: TrialSender = SILENT,
    public_path: str = "",
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
        traces: what the server remembers of itself; without it nothing is told of that.
        problems: finds problems; without it none are told of. The caller closes it.
        query: what statements may do.
        desk: answers questions to destinations; without it they are refused.
        join_document: makes the OpenAPI document that is served of that of this application.
        events: streams of what happens; None for none. The caller ends it.
        plan_dry_run: plans what would be sent again, for a preview.
        count_refusal: called on the event loop with the SHA-256 of each token that is no account
            token now; it may have been one.
        trials: sends deliveries and mails on trial; without it none is sent.
        public_path: what a proxy puts before every path; empty for nothing.
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

    async def find_holder(token: str) -> TokenHolder | None:
        holder = await run_sync(store.accounts.find_token_holder, token)
        if holder is None:
            count_refusal(digest_text(token))
        return holder

    authentication = TokenAuthentication(
        find_holder,
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
        _add_routes(app, router)
    _add_routes(app, stream_routes.router)
    _add_routes(app, destination_routes.types)
    _add_routes(app, destination_routes.router)
    _add_routes(app, load_report_routes.router)
    _add_routes(app, trail_routes.router)
    _add_routes(app, token_routes.router)
    _add_routes(app, recipient_routes.router)
    _add_routes(app, recipient_routes.own)
    app.state.trials = trials
    _add_routes(app, session_routes.router)
    _add_routes(app, user_routes.router)
    if settings.partner is not None:
        app.state.partner = PartnerOperations(
            store, settings.partner, settings.accounts_max, note_stranger
        )
        _add_routes(app, partner_routes.router)
    app.state.query = query_routes.QueryRoom(query or QuerySettings(), DeskAsking(desk))
    _add_routes(app, query_routes.router)  # before those whose paths end with a table
    _add_routes(app, doctor_routes.router)
    _add_routes(app, table_routes.router)
    _add_routes(app, hook_routes.documented)
    _add_routes(app, hook_routes.router)
    _add_routes(app, check_routes.router)
    if traces is not None:
        app.state.traces = traces
        app.state.problems = problems
        _add_routes(app, trace_routes.router)
        app.state.examinations = ExaminationRunner(store, traces, desk)
        _add_routes(app, examination_routes.router)
    if events is not None:
        app.state.events = events
        _add_routes(app, event_routes.router)
    if problems is not None:
        _add_routes(app, problem_routes.router)
    app.state.waiting = WaitingView(open_reader)
    _add_routes(app, catalogue_routes.router)
    _add_routes(app, option_routes.router)
    if open_reader is not None:
        app.state.open_reader = open_reader
        _add_routes(app, ledger_routes.router)
        if traces is not None:
            _add_routes(app, request_routes.router)
        app.state.plan_dry_run = plan_dry_run
        _add_routes(app, reject_routes.router)
        _add_routes(app, reject_routes.operations)
        _add_routes(app, replay_routes.router)
    _make_document_once(app, settings, join_document)
    app.add_middleware(
        DocsGuard, allowed_hosts=allowed_hosts, serves=serves_docs, public_path=public_path
    )
    app.add_middleware(NoStoreMiddleware)
    app.add_middleware(SlashMiddleware)  # the last one that is added is the first one asked
    app.add_exception_handler(RequestRefusedError, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RetriableError, _on_try_later)
    app.add_exception_handler(Exception, _on_error)
    return app


def _add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add the routes of a router as they are.

    `FastAPI.include_router` makes each of them a second time, with prefixes and answers to add that
    none of ours has, and took a fifth of a worker's start.
    """
    app.router.routes.extend(router.routes)


def _make_document_once(
    app: FastAPI,
    settings: ConnectApiSettings,
    join_document: Callable[[JsonObject], JsonObject],
) -> None:
    """Make the OpenAPI document when it is asked for first, and keep it.

    Few clients ask for it, and to make it takes a tenth of a second. Its bytes are kept, too:
    anybody may ask for them, and making them takes 3 ms.
    """

    @functools.cache
    def make_document() -> JsonObject:
        return join_document(complete_document(FastAPI.openapi(app), settings))

    @functools.cache
    def render() -> bytes:
        return encode_json(make_document())

    async def get_document(_: Request) -> Response:
        return Response(await run_sync(render), media_type="application/json")

    app.openapi = make_document  # type: ignore[method-assign]  # as the framework documents it
    path = app.openapi_url or ""
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
