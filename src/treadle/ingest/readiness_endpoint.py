"""`GET /healthz` and `GET /readyz`: whether a worker is alive, and whether data is accepted.

They need no token, cost nothing worth counting, and count for no tenant. Without a token they show
numbers only. With one they name what its holder may see elsewhere: all of the server for a metrics
token, what belongs to the account for an account token. A token that is none is no error here,
because a probe with an old token must not stop a server that works.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import TreadleError
from treadle.http.authentication import matches_token, read_bearer_token
from treadle.http.headers import read_peer, select_headers
from treadle.http.responses import JsonResponse
from treadle.http.stop_notice import StopNotice
from treadle.ingest.health_endpoint import LOOK_SECONDS_MAX, IngestHealth, ServerLook
from treadle.ingest.member_readiness import STOPPING
from treadle.store.model import ConfiguredDestination, TroubledTable
from treadle.store.store import Store
from treadle.timestamps import format_microseconds

ALIVE_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"

ALIVE: Final = {"status": "alive"}
UNCACHED: Final = {"Cache-Control": "no-store"}

TABLES_MAX: Final = 100
"""Most tables that are named in one answer."""


@dataclass(frozen=True, slots=True)
class ReadinessViewer:
    """Who may see names.

    Attributes:
        account_id: the only account that is shown; None for all.
        token_id: of the token in the store; None for the one of the settings.
    """

    account_id: int | None
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class LoadingDetails:
    """What keeps accepted data from becoming rows, by name.

    Attributes:
        destinations: those that are not loaded into now.
        tables: those that somebody should look at, at most TABLES_MAX.
        tables_not_shown: how many more there are.
    """

    destinations: Sequence[ConfiguredDestination]
    tables: Sequence[TroubledTable]
    tables_not_shown: int


@dataclass(slots=True)
class ReadinessEndpoint:
    """Answers probes.

    Attributes:
        health: knows whether data is accepted.
        store: knows tokens, destinations and tables.
        metrics_token: of the settings; None for none.
        count_use: counts a use of a token, by its id and the address of the client.
        drain: announced when the server is told to stop.
    """

    health: IngestHealth
    store: Store
    metrics_token: str | None = None
    count_use: Callable[[int, str | None], None] = lambda token_id, origin: None
    drain: StopNotice = field(default_factory=StopNotice)
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="readiness")
    )

    async def get_alive(self, request: Request) -> Response:
        """Answer 200: who answers is alive. Nothing is asked."""
        return JsonResponse(ALIVE, 200, UNCACHED)

    async def get_ready(self, request: Request) -> Response:
        """Answer 200 while the log takes data, 503 while it does not, each with what is wrong.

        A server that is about to stop is not ready either.
        """
        seen = await self.health.look()
        if self.drain.announced:
            seen = ServerLook(STOPPING, seen.trouble, seen.counts)
        viewer = await self._find_viewer(request)
        details = None
        if viewer is not None:
            if viewer.token_id is not None:
                self.count_use(viewer.token_id, read_peer(request.scope))
            details = await self._ask(lambda: read_details(self.store, viewer.account_id))
        status = 200 if seen.obstacle is None else 503
        return JsonResponse(render_readiness(seen, details), status, UNCACHED)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _find_viewer(self, request: Request) -> ReadinessViewer | None:
        headers = select_headers(request.scope)
        if self.metrics_token is not None and matches_token(headers, self.metrics_token):
            return ReadinessViewer(None)
        sent = read_bearer_token(headers)
        return None if sent is None else await self._ask(lambda: find_viewer(self.store, sent))

    def _ask(self, question: Callable[[], Any]) -> Awaitable[Any]:
        return answer_in_time(self._thread, question)


async def answer_in_time(thread: ThreadPoolExecutor, question: Callable[[], Any]) -> Any:
    """Return the answer of the store; None where it gives none in time."""
    asked = asyncio.get_running_loop().run_in_executor(thread, question)
    try:
        return await asyncio.wait_for(asked, LOOK_SECONDS_MAX)
    except (TimeoutError, TreadleError):
        return None


def find_viewer(store: Store, token: str) -> ReadinessViewer | None:
    """Return what a token of the store lets its holder see; None for any other text."""
    token_id = store.tokens.find_metrics_token(token)
    if token_id is not None:
        return ReadinessViewer(None, token_id)
    holder = store.accounts.find_token_holder(token)
    return None if holder is None else ReadinessViewer(holder.account.id, holder.token_id)


def read_details(store: Store, account_id: int | None) -> LoadingDetails:
    """Read what keeps data of an account from becoming rows; of all accounts for None."""
    found = store.tables.list_troubled(account_id, TABLES_MAX)
    count = len(found)
    if count == TABLES_MAX:
        count = store.tables.count_troubled(account_id)
    destinations = [
        row
        for row in store.destinations.list_destinations(account_id)
        if row.deleted_at is None and (row.trouble is not None or row.usable_since is None)
    ]
    return LoadingDetails(destinations, found, count - len(found))


def render_readiness(seen: ServerLook, details: LoadingDetails | None) -> dict[str, Any]:
    """Return the body of `/readyz`.

    Args:
        seen: how the server is.
        details: what the caller may see by name; None for a caller who may see no names.
    """
    told: dict[str, Any] = {
        "status": "ready" if seen.obstacle is None else "not ready",
        "reason": seen.obstacle,
        "loading": seen.counts,
    }
    if details is None:
        return told
    return told | {
        "destinations": [
            {
                "id": row.id,
                "type": row.type,
                "name": row.name,
                "state": "unchecked" if row.usable_since is None else "down",
                "since": None
                if row.trouble_since is None
                else format_microseconds(row.trouble_since),
                "reason": row.trouble,
            }
            for row in details.destinations
        ],
        "tables": [
            {
                "source": table.source,
                "table": table.table,
                "state": "stopped" if table.stopped else "rejecting",
                "since": None if table.since is None else format_microseconds(table.since),
                "reason": table.reason,
            }
            for table in details.tables
        ],
        "tables_not_shown": details.tables_not_shown,
    }
