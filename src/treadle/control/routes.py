"""The paths of the Connect API, and their descriptions for the OpenAPI document.

Bodies are read and checked by hand, whatever their Content-Type says, because the documented
errors are not those of a framework (connect-api.md 1.2, 1.8).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request, Security
from fastapi import Path as InPath
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import TypeAdapter, WithJsonSchema
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from typing_extensions import is_typeddict

from treadle.control import errors, requests, schemas
from treadle.control.document_schemas import refer_to_schema
from treadle.control.operations import ConnectOperations
from treadle.control.pulled_sources import PulledSourceOperations
from treadle.control.refusal_allowance import RefusalAllowance
from treadle.errors import RequestRefusedError
from treadle.http.authentication import TokenAuthentication
from treadle.http.body_reader import read_body
from treadle.http.headers import read_peer
from treadle.http.responses import JsonResponse
from treadle.store.model import Account, TokenHolder, TokenOwner
from treadle.store.trail_event import (
    LOCAL_ADDRESS,
    ActorKind,
    StoreActor,
    TargetKind,
    TrailAction,
    TrailOutcome,
    TrailTarget,
)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AccountCaller:
    """Who sends a request: an account, by one of its tokens or, in the console, of its users.

    Attributes:
        actor: whom the trail names for what the request changes.
        token_id: of the token; 0 for a user of the console, who has none.
    """

    account: Account
    actor: StoreActor
    token_id: int


@dataclass(frozen=True, slots=True)
class OperationRunner:
    """Runs operations in threads, because they block, and answers with their results.

    Attributes:
        operations: on sources, tokens and loads.
        pulled_sources: on what a source that is pushed to does not have.
        authentication: who asks.
        changed: called on the event loop after every change and before its answer is sent.
        count_use: called with the id of each account token that was used, and the address of the
            client.
        refusals: bounds the events of refused requests.
    """

    operations: ConnectOperations
    pulled_sources: PulledSourceOperations
    authentication: TokenAuthentication[TokenHolder, TokenOwner]
    changed: Callable[[], None]
    count_use: Callable[[int, str | None], None]
    refusals: RefusalAllowance = field(default_factory=RefusalAllowance)

    async def read(
        self, operation: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> Response:
        """Return the answer of an operation that changes nothing."""
        return JsonResponse(await anyio.to_thread.run_sync(partial(operation, *args, **kwargs)))

    async def change(
        self,
        caller: AccountCaller,
        action: TrailAction,
        target: TrailTarget,
        operation: Callable[Concatenate[ConnectOperations, Account, P], object],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Response:
        """Return the answer of an operation that may change something.

        `changed` is called however it ends: a change may have been made before an error, and a
        caller that goes away does not undo it.

        Args:
            caller: who asks.
            action: what is asked; the trail has it when the operation is refused.
            target: on what.
            operation: a method of `ConnectOperations`. It runs on those of the caller, whose store
                records every change.
            args: of the operation, behind the account.
            kwargs: of the operation.
        """
        try:
            return await self.read(
                self.run_change,
                caller,
                action,
                target,
                lambda bound: operation(bound, caller.account, *args, **kwargs),
            )
        finally:
            self.changed()

    def run_change(
        self,
        caller: AccountCaller,
        action: TrailAction,
        target: TrailTarget,
        run: Callable[[ConnectOperations], T],
    ) -> T:
        """Run a change in this thread, and record it in the trail if it is refused.

        Whoever calls it calls `changed` afterwards, however it ends.

        Raises:
            RequestRefusedError: it is refused.
            RetriableError: the store is not available, also for the record of a refusal.
        """
        store = self.operations.store.for_actor(caller.actor)
        try:
            return run(replace(self.operations, store=store))
        except RequestRefusedError as refused:
            left_out = self.refusals.take(caller.account.id)
            if left_out is not None:
                store.trail.record_event(
                    action,
                    target,
                    TrailOutcome.REFUSED,
                    account_id=caller.account.id,
                    detail=describe_answer(refused)
                    | ({"left_out_before": left_out} if left_out else {}),
                )
            raise


def describe_answer(refused: RequestRefusedError) -> dict[str, Any]:
    """Return what an event says of a refusal: its status, and the code in its body."""
    code = refused.body.get("error") if isinstance(refused.body, dict) else None
    return {"status": refused.status} | ({"error": code} if isinstance(code, str) else {})


def _get_runner(request: Request) -> OperationRunner:
    work: OperationRunner = request.app.state.work
    return work


Runner = Annotated[OperationRunner, Depends(_get_runner)]

ACCOUNT_TOKEN: Final = HTTPBearer(
    scheme_name="account_token",
    description="An account access token, `ac_...`. Import API tokens, `at_...`, are for pushes.",
    auto_error=False,
)


async def _authenticate(
    request: Request, work: Runner, _: Annotated[object, Security(ACCOUNT_TOKEN)]
) -> AccountCaller:
    holder = await work.authentication.find_account(request.headers)
    if holder is None:
        raise errors.not_authorized()
    address = read_peer(request.scope)
    work.count_use(holder.token_id, address)
    actor = StoreActor(ActorKind.ACCOUNT_TOKEN, str(holder.token_id), address or LOCAL_ADDRESS)
    return AccountCaller(holder.account, actor, holder.token_id)


AuthenticatedCaller = Annotated[AccountCaller, Depends(_authenticate)]


async def _get_account(caller: AuthenticatedCaller) -> Account:
    return caller.account


async def _read_raw_body(request: Request) -> bytes:
    return await read_limited_body(request, requests.CONTROL_BODY_BYTES_MAX)


async def read_limited_body(request: Request, limit: int) -> bytes:
    """Return the body, at most `limit` bytes.

    Raises:
        RequestRefusedError: 408, 413 or 415, it cannot be read.
    """
    try:
        return await read_body(request.headers, request.receive, limit=limit)
    except ClientDisconnect:
        return b""  # nobody reads the answer
    except RequestRefusedError as refused:
        found = refused.body
        message = str(found.get("message")) if isinstance(found, dict) else str(found)
        raise errors.unreadable_body(refused.status, message) from refused


AuthenticatedAccount = Annotated[Account, Depends(_get_account)]
RawBody = Annotated[bytes, Depends(_read_raw_body)]
POSITIVE_ID: Final = WithJsonSchema({"type": "integer", "minimum": 1})
SourceId = Annotated[str, InPath(description="id of the source"), POSITIVE_ID]
TokenId = Annotated[str, InPath(description="id of the Import API access token"), POSITIVE_ID]
StreamId = Annotated[str, InPath(description="id of the stream"), POSITIVE_ID]
ClientId = Annotated[
    str, InPath(description="id of the account, which must be the token's"), POSITIVE_ID
]
PageNumber = Annotated[
    str | None,
    Query(description="100 rows a page, from 1; what is no positive integer counts as 1"),
    WithJsonSchema({"type": "string", "examples": ["2"]}),
]


def describe_refusal(status: int, model: object, when: str) -> dict[int | str, dict[str, Any]]:
    """Describe a refusal for the OpenAPI document.

    Args:
        status: of the answer.
        model: of its body. An object is named by its schema alone, which `complete_document` adds
            once: the framework would make a validator of it for each status of each path, which
            took a third of a worker's start.
        when: it is given.
    """
    if isinstance(model, type) and is_typeddict(model):
        return {status: {"description": when, **refer_to_schema(model)}}
    return {status: {"model": model, "description": when}}


COMMON_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    **describe_refusal(401, schemas.UnauthorizedAnswer, "no valid account token"),
    **describe_refusal(
        404, schemas.NoRouteAnswer, "a path that is none, such as with a slash at its end"
    ),
    **describe_refusal(500, schemas.CodedAnswer, "the server's fault"),
    **describe_refusal(503, schemas.CodedAnswer, "the server cannot reach its store; try later"),
}
BODY_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    **describe_refusal(408, schemas.CodedAnswer, "the body arrived too slowly"),
    **describe_refusal(413, schemas.CodedAnswer, "the body has more than 1 MiB"),
    **describe_refusal(
        415, schemas.CodedAnswer, "unknown content encoding; gzip and zstd are known"
    ),
}


def _describe_bad(when: str) -> dict[int | str, dict[str, Any]]:
    return describe_refusal(400, schemas.CodedAnswer, when)


def _describe_not_found(when: str) -> dict[int | str, dict[str, Any]]:
    return describe_refusal(404, schemas.CodedAnswer | schemas.NoRouteAnswer, when)


def describe_body(body: type[Any]) -> dict[str, Any]:
    """Describe a JSON body for the OpenAPI document."""
    schema = TypeAdapter(body).json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def name_operation(route: APIRoute) -> str:
    """Return the name of an operation in the OpenAPI document: that of its function."""
    return route.name


def make_router(**options: Any) -> APIRouter:
    """Make a router whose routes an application takes as they are.

    Args:
        options: of `APIRouter`.
    """
    return APIRouter(generate_unique_id_function=name_operation, **options)


def _make_connect_router(tag: str) -> APIRouter:
    return make_router(prefix="/v4", responses=COMMON_RESPONSES, tags=[tag])


source_types = _make_connect_router("source types")
sources = _make_connect_router("sources")
tokens = _make_connect_router("tokens")
loads = _make_connect_router("loads")
pulled_sources = _make_connect_router("pulled sources")
ROUTERS: Final = (source_types, sources, tokens, loads, pulled_sources)


# Source types ------------------------------------------------------------------------------------


@source_types.get("/source-types", response_model=list[schemas.SourceType])
async def list_source_types(work: Runner, _: AuthenticatedAccount) -> Response:
    """The types a source can have: `import_api`."""
    return await work.read(work.operations.list_source_types)


@source_types.get(
    "/source-types/{source_type}",
    response_model=schemas.SourceType,
    responses=_describe_not_found("no such type"),
)
async def get_source_type(work: Runner, _: AuthenticatedAccount, source_type: str) -> Response:
    """What a source of a type needs."""
    return await work.read(work.operations.get_source_type, source_type)


# Sources -----------------------------------------------------------------------------------------


@sources.get("/sources", response_model=list[schemas.SourceAnswer])
async def list_sources(work: Runner, who: AuthenticatedAccount) -> Response:
    """All sources of the account, paused and deleted ones too, by ascending id."""
    return await work.read(work.operations.list_sources, who)


@sources.post(
    "/sources",
    response_model=schemas.SourceAnswer,
    responses=describe_refusal(
        400, schemas.CodedAnswer | schemas.CodedProperties, "the source cannot be created"
    )
    | describe_refusal(
        429, schemas.CodedAnswer, "the account has all the sources that its quota allows"
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.CreateSource),
)
async def create_source(work: Runner, who: AuthenticatedCaller, raw: RawBody) -> Response:
    """Create a source; its name, the schema in the destination, comes from its display name."""
    return await work.change(
        who,
        TrailAction.CREATE_SOURCE,
        TrailTarget(TargetKind.SOURCE),
        ConnectOperations.create_source,
        raw,
    )


@sources.get(
    "/sources/{source_id}",
    response_model=schemas.SourceAnswer,
    responses=_describe_not_found("no such source"),
)
async def get_source(work: Runner, who: AuthenticatedAccount, source_id: SourceId) -> Response:
    """One source, also when it is paused or deleted."""
    return await work.read(work.operations.get_source, who, source_id)


@sources.put(
    "/sources/{source_id}",
    response_model=schemas.SourceAnswer,
    responses=describe_refusal(
        400,
        schemas.CodedAnswer | schemas.CodedProperties,
        "no such source, or it cannot be changed so",
    )
    | BODY_RESPONSES,
    openapi_extra=describe_body(schemas.UpdateSource),
)
async def update_source(
    work: Runner, who: AuthenticatedCaller, source_id: SourceId, raw: RawBody
) -> Response:
    """Rename, pause or unpause a source. A paused one refuses pushes."""
    return await work.change(
        who,
        TrailAction.CHANGE_SOURCE,
        TrailTarget(TargetKind.SOURCE, source_id),
        ConnectOperations.update_source,
        source_id,
        raw,
    )


@sources.delete(
    "/sources/{source_id}",
    response_model=schemas.SourceAnswer,
    responses=_describe_bad("no such source, or deleted already"),
)
async def delete_source(work: Runner, who: AuthenticatedCaller, source_id: SourceId) -> Response:
    """Delete a source: it refuses pushes and stays readable; loaded data stays."""
    return await work.change(
        who,
        TrailAction.DELETE_SOURCE,
        TrailTarget(TargetKind.SOURCE, source_id),
        ConnectOperations.delete_source,
        source_id,
    )


# Import API access tokens ------------------------------------------------------------------------


@tokens.get(
    "/sources/{source_id}/tokens",
    response_model=list[schemas.ListedToken] | list[int],
    responses=_describe_bad("the source's type has no tokens")
    | _describe_not_found("no such source, or deleted"),
)
async def list_tokens(work: Runner, who: AuthenticatedAccount, source_id: SourceId) -> Response:
    """The active tokens of a source, newest first, without their values."""
    return await work.read(work.operations.list_tokens, who, source_id)


@tokens.post(
    "/sources/{source_id}/tokens",
    response_model=schemas.NewToken,
    responses=_describe_bad("no such source, or it has two active tokens"),
)
async def create_token(work: Runner, who: AuthenticatedCaller, source_id: SourceId) -> Response:
    """Generate a token. A source has two at most, so that one can be replaced without a gap.

    A token that was made with the source and never used gives way to a third one.
    """
    return await work.change(
        who,
        TrailAction.CREATE_IMPORT_TOKEN,
        TrailTarget(TargetKind.SOURCE, source_id),
        ConnectOperations.create_token,
        source_id,
    )


@tokens.delete(
    "/sources/{source_id}/tokens/{token_id}",
    response_model=schemas.SourceAnswer,
    responses=_describe_bad("no such source, or it has no such active token"),
)
async def revoke_token(
    work: Runner, who: AuthenticatedCaller, source_id: SourceId, token_id: TokenId
) -> Response:
    """Revoke a token at once."""
    return await work.change(
        who,
        TrailAction.REVOKE_IMPORT_TOKEN,
        TrailTarget(TargetKind.IMPORT_TOKEN, token_id),
        ConnectOperations.revoke_token,
        source_id,
        token_id,
    )


# Loads -------------------------------------------------------------------------------------------


@loads.get("/{client_id}/loads", response_model=schemas.LoadPage)
async def list_loads(
    work: Runner, who: AuthenticatedAccount, client_id: ClientId, page: PageNumber = None
) -> Response:
    """The last load of every table of the account in the past 60 days, by table name."""
    return await work.read(work.operations.list_loads, who, client_id, page)


# What a source that is pushed to does not have (connect-api.md 5) --------------------------------


@pulled_sources.get("/{client_id}/extractions", response_model=schemas.ExtractionPage)
async def list_extractions(
    work: Runner, who: AuthenticatedAccount, client_id: ClientId, page: PageNumber = None
) -> Response:
    """The last extraction of every source: none, as nothing is pulled."""
    return await work.read(work.pulled_sources.list_extractions, who, client_id, page)


@pulled_sources.get(
    "/{client_id}/extractions/{job_name}",
    status_code=404,
    responses=describe_refusal(404, schemas.NoRouteAnswer, "no such job; there is none"),
)
async def get_extraction_log(
    work: Runner, who: AuthenticatedAccount, client_id: ClientId, job_name: str
) -> Response:
    """The log of an extraction: there is none."""
    return await work.read(work.pulled_sources.get_extraction_log, who, client_id)


@pulled_sources.get(
    "/sources/{source_id}/last-connection-check",
    status_code=404,
    responses=_describe_not_found("no such source, or no check of it; there is none"),
)
async def get_last_check(work: Runner, who: AuthenticatedAccount, source_id: SourceId) -> Response:
    """The last connection check of a source: there is none."""
    return await work.read(work.pulled_sources.get_last_check, who, source_id)


@pulled_sources.post(
    "/sources/{source_id}/sync",
    status_code=400,
    responses=describe_refusal(
        400, schemas.JobErrorAnswer, "nothing is pulled, so no job is started"
    ),
)
async def start_job(work: Runner, who: AuthenticatedAccount, source_id: SourceId) -> Response:
    """Start a replication job: answers at once that there is none to start."""
    return await work.read(work.pulled_sources.start_job, who, source_id)


@pulled_sources.delete(
    "/sources/{source_id}/sync",
    response_model=schemas.DoneAnswer,
    responses=describe_refusal(400, schemas.JobErrorAnswer, "no such source"),
)
async def stop_job(work: Runner, who: AuthenticatedAccount, source_id: SourceId) -> Response:
    """Stop a replication job: none runs, so it is stopped."""
    return await work.read(work.pulled_sources.stop_job, who, source_id)
