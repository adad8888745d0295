"""`?dry_run=1` on push and batch: tells what a load of the request would do, and keeps nothing.

The request is checked and refused as without it. What passes is planned by the destination
against the tables as they are now.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Scope

from treadle.destinations.forecast import LoadForecast, forecast_document, forecast_load
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.destinations.retry import open_with_retry
from treadle.errors import RequestRefusedError, RetriableError
from treadle.http.responses import JsonResponse
from treadle.records.message_batch import MessageBatch
from treadle.store.model import Source, TokenOwner
from treadle.store.store import Store

TABLES_MAX = 100
"""Tables of one request that are planned: each asks the destination anew."""

DRY_RUN_PARAMETER = "dry_run"
DRY_RUN_VALUES: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}
INVALID_DRY_RUN = {"message": "dry_run is 1 or 0"}
TOO_MANY_TABLES = {"message": f"A dry run takes {TABLES_MAX} tables at most"}


def is_dry_run(scope: Scope) -> bool:
    """Return whether a request is a dry run.

    Raises:
        RequestRefusedError: 400, it says something else than 1 or 0.
    """
    query = scope.get("query_string", b"")
    if not query:
        return False
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(DRY_RUN_PARAMETER, ["0"])
    wanted = DRY_RUN_VALUES.get(values[-1].lower())
    if wanted is None:
        raise RequestRefusedError(400, INVALID_DRY_RUN)
    return wanted


@dataclass(frozen=True, slots=True)
class DryRunPlanner:
    """Plans requests, one at a time, in a thread of its own.

    Attributes:
        store: knows where sources load.
        clock: microseconds since 1970, UTC.
        open_destination: URL -> destination; called when it is needed.
    """

    store: Store
    clock: Callable[[], int]
    open_destination: Callable[[str], Destination] = make_destination
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="dry-run")
    )

    async def respond(self, owner: TokenOwner, batches: Sequence[MessageBatch]) -> Response:
        """Answer with what a load would do, an element for each table.

        Raises:
            RequestRefusedError: too many tables.
            RetriableError, OperatorError: the destination cannot be asked.
        """
        tables: dict[str, list[MessageBatch]] = {}
        for batch in batches:
            tables.setdefault(batch.table_name, []).append(batch)
        if len(tables) > TABLES_MAX:
            raise RequestRefusedError(400, TOO_MANY_TABLES)
        found = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._plan_tables, owner, list(tables.values())
        )
        body: dict[str, Any] = {
            "dry_run": True,
            "tables": [forecast_document(each) for each in found],
        }
        return JsonResponse(body)

    def close(self) -> None:
        """Finish the running plan, and end the thread."""
        self._thread.shutdown()

    def _plan_tables(
        self, owner: TokenOwner, tables: Sequence[Sequence[MessageBatch]]
    ) -> list[LoadForecast]:
        source = self.store.sources.get_source(owner.account_id, owner.source_id)
        row = self.store.destinations.find_destination_of_source(owner.source_id)
        if source is None or row is None:
            raise RetriableError("the source was deleted, or has no destination")
        destination = self.open_destination(row.url)
        return open_with_retry(lambda: self._plan_once(destination, source, tables))

    def _plan_once(
        self, destination: Destination, source: Source, tables: Sequence[Sequence[MessageBatch]]
    ) -> list[LoadForecast]:
        with destination.preview() as session:
            return [
                forecast_load(
                    session,
                    batches,
                    schema=source.name,
                    profile=destination.profile,
                    settings=source.settings,
                    now=self.clock(),
                )
                for batches in tables
            ]
