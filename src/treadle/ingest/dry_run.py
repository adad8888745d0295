"""`?dry_run=1` on push and batch: what a load of the request would do; nothing is kept.

The request is checked as ever and refused as ever. What passes is planned with the destination's
help against the tables as they are at the moment.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Scope

from treadle.destinations.forecast import Forecast, described, forecast
from treadle.destinations.patience import patiently
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import open_url
from treadle.errors import Refused, TryLater
from treadle.records.message import Batch
from treadle.store.model import DestinationRow, Pusher, Source
from treadle.web import Json

TABLES_MAX = 100
"""Tables of one request that are planned: each asks the destination anew."""

NAME = "dry_run"
ANSWERS: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}
WRONG = {"message": "dry_run is 1 or 0"}
TOO_MANY = {"message": f"A dry run takes {TABLES_MAX} tables at most"}


class Places(Protocol):
    """The part of the store that says where a source loads, and how."""

    def source(self, account_id: int | None, source_id: int) -> Source | None:
        """A source."""

    def destination_of(self, source_id: int) -> DestinationRow | None:
        """Where a source loads."""


def asked(scope: Scope) -> bool:
    """Whether a request is a dry run.

    Raises:
        Refused: 400, it says something else than 1 or 0.
    """
    query = scope.get("query_string", b"")
    if not query:
        return False
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(NAME, ["0"])
    wanted = ANSWERS.get(values[-1].lower())
    if wanted is None:
        raise Refused(400, WRONG)
    return wanted


class DryRun:
    """Plans requests, one at a time, in a thread of its own."""

    def __init__(
        self,
        store: Places,
        clock: Callable[[], int],
        *,
        open_destination: Callable[[str], Destination] = open_url,
    ) -> None:
        """Nothing is opened before it is needed.

        Args:
            store: knows where sources load.
            clock: microseconds since 1970, UTC.
            open_destination: URL -> destination.
        """
        self._store = store
        self._clock = clock
        self._open_destination = open_destination
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dry-run")

    async def answer(self, pusher: Pusher, batches: Sequence[Batch]) -> Response:
        """What a load would do, an element for each table.

        Raises:
            Refused: too many tables.
            TryLater, OperatorFault: the destination cannot be asked.
        """
        tables: dict[str, list[Batch]] = {}
        for batch in batches:
            tables.setdefault(batch.table_name, []).append(batch)
        if len(tables) > TABLES_MAX:
            raise Refused(400, TOO_MANY)
        found = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._work, pusher, list(tables.values())
        )
        body: dict[str, Any] = {"dry_run": True, "tables": [described(each) for each in found]}
        return Json(body)

    def close(self) -> None:
        """Finish what was begun."""
        self._thread.shutdown()

    def _work(self, pusher: Pusher, tables: Sequence[Sequence[Batch]]) -> list[Forecast]:
        source = self._store.source(pusher.account_id, pusher.source_id)
        row = self._store.destination_of(pusher.source_id)
        if source is None or row is None:
            raise TryLater("the source was deleted, or has no destination")
        destination = self._open_destination(row.url)
        return patiently(lambda: self._planned(destination, source, tables))

    def _planned(
        self, destination: Destination, source: Source, tables: Sequence[Sequence[Batch]]
    ) -> list[Forecast]:
        with destination.preview() as session:
            return [
                forecast(
                    session,
                    batches,
                    schema=source.name,
                    profile=destination.profile,
                    settings=source.settings,
                    now=self._clock(),
                )
                for batches in tables
            ]
