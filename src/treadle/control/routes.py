"""The paths of the Connect API: who may ask, what is read from the request, what is done.

`connect_api.json` describes them. Bodies are read and checked by hand, whatever their Content-Type
says, because the documented errors are not those of a framework (connect-api.md 1.2, 1.8).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from treadle.control import errors, requests
from treadle.control.operations import ConnectOperations
from treadle.control.pulled_sources import PulledSourceOperations
from treadle.errors import RequestRefusedError
from treadle.http.authentication import TokenAuthentication
from treadle.http.body_reader import read_body
from treadle.http.responses import JsonResponse
from treadle.store.model import Account, TokenOwner


@dataclass(frozen=True, slots=True)
class ConnectRoute:
    """A path of the Connect API, and the operation that answers it.

    Attributes:
        operation: is called with who asks and, by their names, the variable parts of the path, the
            parameters of the query (None where one is absent) and the body as `raw`.
        query: names of the parameters.
        has_body: the operation reads a body.
        changes: the operation may change something.
        import_tokens: a source's Import API access token may ask as well as an account's.
    """

    method: str
    path: str
    operation: Callable[..., object]
    query: tuple[str, ...] = ()
    has_body: bool = False
    changes: bool = False
    import_tokens: bool = False


def list_routes(
    operations: ConnectOperations, pulled: PulledSourceOperations
) -> tuple[ConnectRoute, ...]:
    """Return the routes below `/v4/`; the first one that fits a request answers it."""
    source = "/v4/sources/{source_id}"
    page = ("page",)
    return (
        ConnectRoute("GET", "/v4/source-types", operations.list_source_types),
        ConnectRoute("GET", "/v4/source-types/{source_type}", operations.get_source_type),
        ConnectRoute("GET", "/v4/sources", operations.list_sources),
        ConnectRoute("POST", "/v4/sources", operations.create_source, has_body=True, changes=True),
        ConnectRoute("GET", source, operations.get_source),
        ConnectRoute("PUT", source, operations.update_source, has_body=True, changes=True),
        ConnectRoute("DELETE", source, operations.delete_source, changes=True),
        ConnectRoute("GET", f"{source}/tokens", operations.list_tokens),
        ConnectRoute("POST", f"{source}/tokens", operations.create_token, changes=True),
        ConnectRoute(
            "DELETE", f"{source}/tokens/{{token_id}}", operations.revoke_token, changes=True
        ),
        ConnectRoute("GET", "/v4/{client_id}/loads", operations.list_loads, query=page),
        # What a source that is pushed to does not have (connect-api.md 5).
        ConnectRoute("GET", "/v4/{client_id}/extractions", pulled.list_extractions, query=page),
        ConnectRoute("GET", "/v4/{client_id}/extractions/{job_name}", pulled.get_extraction_log),
        ConnectRoute("GET", f"{source}/last-connection-check", pulled.get_last_check),
        ConnectRoute("GET", f"{source}/streams", pulled.list_streams),
        ConnectRoute("GET", f"{source}/streams/{{stream_id}}", pulled.get_stream),
        ConnectRoute("PUT", f"{source}/streams/metadata", pulled.select_streams, has_body=True),
        ConnectRoute("POST", f"{source}/sync", pulled.start_job),
        ConnectRoute("DELETE", f"{source}/sync", pulled.stop_job),
    )


@dataclass(frozen=True, slots=True)
class OperationRunner:
    """Runs operations in threads, because they block, and answers with their results.

    Attributes:
        authentication: who asks.
        changed: called on the event loop after every change and before its answer is sent.
    """

    authentication: TokenAuthentication[Account, TokenOwner]
    changed: Callable[[], None]

    def make_endpoint(self, route: ConnectRoute) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of a route.

        `changed` is called however the operation ends: a change may have been made before an
        error, and a caller that goes away does not undo it.
        """

        async def answer(request: Request) -> Response:
            asking = await self._authenticate(request, import_tokens=route.import_tokens)
            given: dict[str, Any] = dict(request.path_params)
            given |= {name: request.query_params.get(name) for name in route.query}
            if route.has_body:
                given["raw"] = await _read_raw_body(request)
            try:
                return JsonResponse(
                    await anyio.to_thread.run_sync(partial(route.operation, asking, **given))
                )
            finally:
                if route.changes:
                    self.changed()

        return answer

    async def _authenticate(self, request: Request, *, import_tokens: bool) -> Account | TokenOwner:
        asking: Account | TokenOwner | None
        if import_tokens:
            asking = await self.authentication.find_either(request.headers)
        else:
            asking = await self.authentication.find_account(request.headers)
        if asking is None:
            raise errors.not_authorized()
        return asking


async def _read_raw_body(request: Request) -> bytes:
    """Return the body, at most `requests.CONTROL_BODY_BYTES_MAX` bytes."""
    try:
        return await read_body(
            request.headers, request.receive, limit=requests.CONTROL_BODY_BYTES_MAX
        )
    except ClientDisconnect:
        return b""  # nobody reads the answer
    except RequestRefusedError as refused:
        found = refused.body
        message = str(found.get("message")) if isinstance(found, dict) else str(found)
        raise errors.unreadable_body(refused.status, message) from refused
