"""`GET /v2/import/status`: whether data is accepted now (import-api.md 6)."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import TreadleError
from treadle.http.responses import JsonResponse
from treadle.store.destinations import DestinationRepository
from treadle.store.model import ConfiguredDestination, TroubledTables
from treadle.store.tables import TableRepository

STATUS_NAME = "pipeline.gate"

FRESH_SECONDS = 1.0
"""Time for which an answer is kept: health checks may come as often as they like."""

FAILURE_SECONDS = 10.0
"""Time for which a failed append counts when none was tried since: only an append can tell."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class IngestHealth:
    """Knows whether the log takes data, and what keeps it from becoming rows.

    Attributes:
        destinations: knows destinations in trouble; asked at the first request.
        tables: knows tables that somebody should look at.
        version: of treadle.
        revision: of treadle's source.
        monotonic: seconds.
    """

    destinations: DestinationRepository
    tables: TableRepository
    _: KW_ONLY
    version: str
    revision: str
    monotonic: Callable[[], float] = time.monotonic
    _failure: str | None = None
    _failed_at: float = 0.0
    _trouble: str | None = None
    _asked_at: float = -FRESH_SECONDS
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="health")
    )
    """Of its own: whatever else a worker does, it says how it is."""

    def record_failure(self, error: TreadleError) -> None:
        """Note that the log did not take data."""
        self._failure = str(error)
        self._failed_at = self.monotonic()

    def record_success(self) -> None:
        """Note that the log took data."""
        self._failure = None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def get_status(self, request: Request) -> Response:
        """Answer 200 while data is accepted, 503 while it is not; `reason` says what is wrong."""
        async with self._asking:
            if self.monotonic() - self._asked_at >= FRESH_SECONDS:
                await self._ask()
                self._asked_at = self.monotonic()
        reason = self._failure or self._trouble
        failing = self._failure is not None
        body = {
            "name": STATUS_NAME,
            "version": self.version,
            "revision": self.revision,
            "status": "ERROR" if failing else "OK",
            "reason": reason,
        }
        return JsonResponse(body, 503 if failing else 200)

    async def _ask(self) -> None:
        if self.monotonic() - self._failed_at >= FAILURE_SECONDS:
            self.record_success()
        try:
            self._trouble = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._find_trouble
            )
        except TreadleError as error:
            logger.warning("The state of loading cannot be read: %s", error)
            self._trouble = "The state of loading cannot be read; data is accepted."

    def _find_trouble(self) -> str | None:
        return describe_trouble(
            self.destinations.list_destinations(),
            self.tables.get_troubled_numbers(),
            len(self.destinations.list_stranded_sources()),
        )


def describe_trouble(
    destinations: Sequence[ConfiguredDestination], tables: TroubledTables, stranded: int = 0
) -> str | None:
    """Return what keeps accepted data from becoming rows; None for nothing.

    Anybody may ask for the status, so reasons and names of tables are left to the operator's own
    pages, and the names that accounts chose to them.

    Args:
        destinations: all of them.
        tables: numbers of tables that somebody should look at.
        stranded: number of sources whose destination was deleted.
    """
    present = [row for row in destinations if row.deleted_at is None]
    away = _name_destinations(row for row in present if row.trouble is not None)
    if stranded:
        away.append(
            f"no destination ({stranded} {'source has' if stranded == 1 else 'sources have'} none)"
        )
    unchecked = _name_destinations(row for row in present if row.usable_since is None)
    told = []
    if away:
        told.append(f"Data is accepted and waits for loading into: {', '.join(away)}")
    if unchecked:
        told.append(
            "Data is accepted and waits for the first check that succeeds of: "
            + ", ".join(unchecked)
        )
    counts = []
    if tables.stopped:
        which = "table is" if tables.stopped == 1 else "tables are"
        counts.append(f"{tables.stopped} {which} stopped")
    if tables.troubled:
        which = "table" if tables.troubled == 1 else "tables"
        counts.append(
            f"{tables.troubled} {which} rejected records for their key, or all of the last load"
        )
    if counts:
        told.append(f"{' and '.join(counts)}: `treadle doctor` names them")
    return "; ".join(told) or None


def _name_destinations(rows: Iterable[ConfiguredDestination]) -> list[str]:
    return [
        f"{f'destination {row.id}' if row.is_named_by_account else row.name} ({row.type})"
        for row in rows
    ]
