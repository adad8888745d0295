"""`GET /v2/import/status`: whether data is accepted now (import-api.md 6).

What it knows serves `/readyz` too (`readiness_endpoint`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field

import msgspec
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

LOOK_SECONDS_MAX = 0.5
"""Longest wait for a look at log and store. Who checks health often gives up after a second."""

STUCK_SECONDS = 10.0
"""A look that takes longer means that the disk does not answer."""

NOT_TAKEN = "the log does not take data now"
SILENT = "the log's disk does not answer"
LOG_UNREADABLE = "the log cannot be read now"
"""Obstacles, as anybody may be told them. Errors name paths, hosts and users, and are logged."""

STUCK = "The disk of the log does not answer."
UNREADABLE = "The state of loading cannot be read; data is accepted."

logger = logging.getLogger(__name__)


class LoadingCounts(msgspec.Struct, frozen=True):
    """What keeps accepted data from becoming rows, in numbers, as anybody may know them.

    Attributes:
        destinations_down: the loader cannot use them now.
        destinations_unchecked: no check of them has succeeded yet.
        sources_without_destination: theirs was deleted.
        tables_stopped: they are not tried again until somebody acts.
        tables_rejecting: other ones whose last load rejected all, or records for their key.
    """

    destinations_down: int = 0
    destinations_unchecked: int = 0
    sources_without_destination: int = 0
    tables_stopped: int = 0
    tables_rejecting: int = 0


@dataclass(frozen=True, slots=True)
class ServerLook:
    """What one look at the log and the store told.

    Attributes:
        obstacle: why the log takes no data; None where it does.
        trouble: what keeps accepted data from becoming rows, for anybody; None for nothing.
        counts: the same in numbers; None where they could not be read.
    """

    obstacle: str | None = None
    trouble: str | None = None
    counts: LoadingCounts | None = None


@dataclass(slots=True)
class IngestHealth:
    """Knows whether the log takes data, and what keeps it from becoming rows.

    Attributes:
        destinations: knows destinations in trouble; asked at the first request.
        tables: knows tables that somebody should look at.
        version: of treadle.
        revision: of treadle's source.
        find_shortage: returns why the log takes no data, None where it does; called in a thread.
        find_staleness: returns why no token is taken, None where they are; called by the loop.
        find_log: returns the log number of a source.
        list_logs: returns the numbers of the logs that are open.
        monotonic: seconds.
    """

    destinations: DestinationRepository
    tables: TableRepository
    _: KW_ONLY
    version: str
    revision: str
    find_shortage: Callable[[], str | None] = lambda: None
    find_staleness: Callable[[], str | None] = lambda: None
    find_log: Callable[[int], int] = lambda source_id: 0
    list_logs: Callable[[], Collection[int]] = lambda: (0,)
    monotonic: Callable[[], float] = time.monotonic
    _failures: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Log number -> what its last append met, and when."""
    _seen: ServerLook = ServerLook()
    _seen_at: float = -FRESH_SECONDS
    _began_at: float = 0.0
    _asks_store: bool = False
    """The look that goes on has the log's answer, and waits for the store's."""
    _looking: asyncio.Future[ServerLook] | None = None
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="health")
    )
    """Of its own: whatever else a worker does, it says how it is."""

    def record_failure(self, source_id: int, kind: str = NOT_TAKEN) -> None:
        """Note that the log of a source did not take data.

        Args:
            source_id: the source.
            kind: what anybody may be told of it.
        """
        self._failures[self.find_log(source_id)] = kind, self.monotonic()

    def record_success(self, source_id: int) -> None:
        """Note that the log of a source took data."""
        if self._failures:
            self._failures.pop(self.find_log(source_id), None)

    def find_failure(self, seconds: float) -> str | None:
        """Return of what kind failures of all open logs are; None where one is not known to fail.

        While one of several logs is away, the sources of the others are to be served.

        Args:
            seconds: for which a failure counts.
        """
        if not self._failures:
            return None
        since = self.monotonic() - seconds
        found = {log: text for log, (text, at) in self._failures.items() if at > since}
        return next(iter(found.values()), None) if found.keys() >= {*self.list_logs()} else None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def get_status(self, request: Request) -> Response:
        """Answer 200 while data is accepted, 503 while it is not; `reason` says what is wrong."""
        seen = await self.look()
        body = {
            "name": STATUS_NAME,
            "version": self.version,
            "revision": self.revision,
            "status": "OK" if seen.obstacle is None else "ERROR",
            "reason": seen.obstacle or seen.trouble,
        }
        return JsonResponse(body, 200 if seen.obstacle is None else 503)

    async def look(self) -> ServerLook:
        """Return how the server is, as it was at most FRESH_SECONDS ago.

        The answer comes within LOOK_SECONDS_MAX, also when a disk does not answer: then it has no
        numbers, and after STUCK_SECONDS the log counts as one that takes nothing.
        """
        if self.monotonic() - self._seen_at >= FRESH_SECONDS:
            looking = self._looking
            if looking is None:
                self._began_at = self.monotonic()
                looking = self._looking = asyncio.get_running_loop().run_in_executor(
                    self._thread, self._look_at_server
                )
                looking.add_done_callback(self._take_look)
            done, _ = await asyncio.wait((looking,), timeout=LOOK_SECONDS_MAX)
            if not done:
                # Who waits for the store says nothing of the log.
                stuck = self.monotonic() - self._began_at >= STUCK_SECONDS and not self._asks_store
                return self._judge(ServerLook(STUCK if stuck else None, UNREADABLE))
        return self._judge(self._seen)

    def _judge(self, seen: ServerLook) -> ServerLook:
        """Return a look together with what requests met."""
        # What a look told says more than the kind of a failure.
        obstacle = seen.obstacle or self.find_failure(FAILURE_SECONDS) or self.find_staleness()
        return ServerLook(obstacle, seen.trouble, seen.counts)

    def _take_look(self, looked: asyncio.Future[ServerLook]) -> None:
        self._looking = None
        if looked.cancelled():
            return
        self._seen_at = self.monotonic()
        error = looked.exception()
        if error is None:
            self._seen = looked.result()
        else:
            logger.error("The state of the server cannot be read", exc_info=error)
            self._seen = ServerLook(trouble=UNREADABLE)

    def _look_at_server(self) -> ServerLook:
        """Ask the log, then the store; each may be the one that cannot be read."""
        obstacle = trouble = counts = None
        self._asks_store = False
        try:
            obstacle = self.find_shortage()
        except TreadleError as error:
            logger.warning("Whether the log takes data cannot be read: %s", error)
            obstacle = LOG_UNREADABLE
        self._asks_store = True
        try:
            destinations = self.destinations.list_destinations()
            tables = self.tables.get_troubled_numbers()
            stranded = len(self.destinations.list_stranded_sources())
            trouble = describe_trouble(destinations, tables, stranded)
            counts = count_trouble(destinations, tables, stranded)
        except TreadleError as error:
            logger.warning("The state of loading cannot be read: %s", error)
            trouble = UNREADABLE
        return ServerLook(obstacle, trouble, counts)


def count_trouble(
    destinations: Sequence[ConfiguredDestination], tables: TroubledTables, stranded: int = 0
) -> LoadingCounts:
    """Return in numbers what keeps accepted data from becoming rows; see `describe_trouble`."""
    present = [row for row in destinations if row.deleted_at is None]
    return LoadingCounts(
        destinations_down=sum(
            row.trouble is not None and row.usable_since is not None for row in present
        ),
        destinations_unchecked=sum(row.usable_since is None for row in present),
        sources_without_destination=stranded,
        tables_stopped=tables.stopped,
        tables_rejecting=tables.troubled,
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
        told.append(
            f"Data is accepted and waits for loading into: {', '.join(away)}"
            + ("; `treadle status` says why" if any(row.trouble_kind for row in present) else "")
        )
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
        f"{f'destination {row.id}' if row.is_named_by_account else row.name} "
        f"({row.type}{_classify_trouble(row)})"
        for row in rows
    ]


def _classify_trouble(row: ConfiguredDestination) -> str:
    """Return of what kind the trouble is; its text may name hosts and users, so it is left out."""
    if row.trouble is None or row.trouble_kind is None:
        return ""
    if row.holder is not None:
        return ", which another program holds"
    if row.trouble_kind == "denied":
        return ", which refuses: a right, the password or the URL is wrong"
    return ", which cannot be reached now"
