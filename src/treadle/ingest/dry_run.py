"""`?dry_run=1` on push and batch: tells what a load of the request would do, and keeps nothing.

The request is checked and refused as without it. What passes is planned by the destination
against the tables as they are now.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Scope

from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import Destination, Session
from treadle.destinations.registry import make_destination
from treadle.destinations.retry import open_with_retry
from treadle.errors import RequestRefusedError, RetriableError
from treadle.http.responses import JsonResponse
from treadle.ingest.short_turns import give_short_turns
from treadle.ingest.work_turns import WorkTurns
from treadle.records.message_batch import MessageBatch
from treadle.store.model import ConfiguredDestination, Source, TokenOwner
from treadle.store.store import Store
from treadle.tables.schema_owner import SchemaOwner

if TYPE_CHECKING:
    from treadle.destinations.forecast import LoadForecast

TABLES_MAX = 100
"""Tables of one request that are planned: each asks the destination anew."""

DRY_RUN_PARAMETER = "dry_run"
DRY_RUN_VALUES: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}
INVALID_DRY_RUN = {"message": "dry_run is 1 or 0"}
TOO_MANY_TABLES = {"message": f"A dry run takes {TABLES_MAX} tables at most"}
ONE_AT_A_TIME = {
    "status": "ERROR",
    "message": "Another dry run of this source is under way. Try again later.",
}

HOLD_SECONDS_MAX: Final = 1.0
"""Seconds that a dry run may keep a destination that only one process can open, before others."""

WAITING_MAX: Final = 4
"""Dry runs in a worker at once, of as many sources: one is planned, the others wait for it."""


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


def open_anywhere(row: ConfiguredDestination) -> Destination:
    """Return the destination of a row, which connects to any address."""
    return make_destination(row.url)


@dataclass(slots=True)
class DryRunPlanner:
    """Plans requests, one at a time, in a thread of its own.

    A dry run never holds what the loader needs: a destination that only one process can open is
    closed as soon as the loader wants it, and opened again later. A source has one dry run at a
    time, so that it cannot keep those of other sources waiting.

    Attributes:
        store: knows where sources load.
        clock: microseconds since 1970, UTC.
        open_destination: makes the destination of a row; called when it is needed.
        turns: of sources at long work of any kind.
        priority: says when the loader wants a destination; None where no loader runs.
    """

    store: Store
    clock: Callable[[], int]
    open_destination: Callable[[ConfiguredDestination], Destination]
    turns: WorkTurns
    priority: LoaderPriority | None = None
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="dry-run")
    )
    _sources: set[int] = field(default_factory=set)
    """The sources that have a dry run here now."""

    def check_free(self, owner: TokenOwner) -> None:
        """Refuse a dry run of a source that has one, before its body is read.

        Otherwise a client that tries again at once would have its bodies decoded without end.

        Raises:
            RequestRefusedError: 429.
        """
        self._check_free(owner.source_id)

    def _check_free(self, source_id: int) -> None:
        if source_id in self._sources:
            raise RequestRefusedError(429, ONE_AT_A_TIME, (("Retry-After", "1"),))

    async def respond(self, owner: TokenOwner, batches: Sequence[MessageBatch]) -> Response:
        """Answer with what a load would do, an element for each table.

        Raises:
            RequestRefusedError, RetriableError, OperatorError: see `plan`.
        """
        found = await self.plan(owner.account_id, owner.source_id, batches)
        # Imported here: planning needs Arrow, and a worker without dry runs does not.
        from treadle.destinations.forecast import forecast_document

        body: dict[str, Any] = {
            "dry_run": True,
            "tables": [forecast_document(each) for each in found],
        }
        return JsonResponse(body)

    async def plan(
        self, account_id: int, source_id: int, batches: Sequence[MessageBatch]
    ) -> "list[LoadForecast]":
        """Return what a load would do, an element for each table, in the order of their batches.

        Args:
            account_id: of the source.
            source_id: the source.
            batches: that it would send.

        Raises:
            RequestRefusedError: 400, too many tables; 429, the source has a dry run already.
            RetriableError, OperatorError: the destination cannot be asked, or too many dry runs
                wait for their turn.
        """
        tables: dict[str, list[MessageBatch]] = {}
        for batch in batches:
            tables.setdefault(batch.table_name, []).append(batch)
        if len(tables) > TABLES_MAX:
            raise RequestRefusedError(400, TOO_MANY_TABLES)
        self._check_free(source_id)
        if len(self._sources) >= WAITING_MAX:
            raise RetriableError(f"{WAITING_MAX} dry runs wait for their turn already")
        self._sources.add(source_id)
        planned = asyncio.ensure_future(
            self._plan_in_order(account_id, source_id, list(tables.values()))
        )
        # The source may have its next dry run when the thread is done with this one, not when its
        # client leaves.
        planned.add_done_callback(partial(self._forget_run, source_id))
        return await asyncio.shield(planned)

    async def _plan_in_order(
        self, account_id: int, source_id: int, tables: Sequence[Sequence[MessageBatch]]
    ) -> "list[LoadForecast]":
        async with self.turns.take_turn(source_id):
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._plan_tables, account_id, source_id, tables
            )

    def close(self) -> None:
        """Finish the running plan, and end the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _plan_tables(
        self, account_id: int, source_id: int, tables: Sequence[Sequence[MessageBatch]]
    ) -> "list[LoadForecast]":
        source = self.store.sources.get_source(account_id, source_id)
        row = self.store.destinations.find_destination_of_source(source_id)
        if source is None or row is None:
            raise RetriableError("the source was deleted, or has no destination")
        destination = self.open_destination(row)
        found: list[LoadForecast] = []
        with give_short_turns():
            while len(found) < len(tables):
                found += self._plan_in_turn(destination, source, tables[len(found) :])
        return found

    def _plan_in_turn(
        self, destination: Destination, source: Source, tables: Sequence[Sequence[MessageBatch]]
    ) -> "list[LoadForecast]":
        """Plan the first tables, one at least, until the loader wants the destination."""
        if self.priority is None or not destination.capabilities.exclusive:
            with open_with_retry(destination.preview) as session:
                return [self._plan_table(session, destination, source, one) for one in tables]
        found: list[LoadForecast] = []
        with (
            self.priority.take_turn(destination.identity) as is_wanted,
            open_with_retry(destination.preview) as session,
        ):
            until = time.monotonic() + HOLD_SECONDS_MAX
            for one in tables:
                found.append(self._plan_table(session, destination, source, one))
                if is_wanted() or time.monotonic() >= until:
                    break
        return found

    def _plan_table(
        self,
        session: Session,
        destination: Destination,
        source: Source,
        batches: Sequence[MessageBatch],
    ) -> "LoadForecast":
        from treadle.destinations.forecast import forecast_load

        return forecast_load(
            session,
            batches,
            schema=source.schema,
            profile=destination.profile,
            settings=source.settings,
            now=self.clock(),
            owner=SchemaOwner(self.store.installation_id, source.account_id, source.id),
            shown_as=source.name,
        )

    def _forget_run(self, source_id: int, done: "asyncio.Future[list[LoadForecast]]") -> None:
        self._sources.discard(source_id)
        if not done.cancelled():
            done.exception()  # nobody may wait for the answer any more, who would have seen it
