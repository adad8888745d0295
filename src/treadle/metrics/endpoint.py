"""`GET /metrics`: checks who asks, and takes a snapshot of the server."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from treadle.errors import TreadleError
from treadle.http.authentication import matches_token
from treadle.http.headers import select_headers
from treadle.log.protocol import LogReader
from treadle.metrics.families import (
    CONTENT_TYPE,
    DestinationSnapshot,
    MetricsSnapshot,
    TableSnapshot,
    render_metrics,
)
from treadle.store.model import TableTotals
from treadle.store.store import Store

FRESH_SECONDS: Final = 1.0
"""Time for which an answer is kept: monitors may ask as often as they like."""

LOCAL_HOSTS: Final = ("127.0.0.1", "::1", "localhost")
PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "via")
"""Headers that a proxy adds: the client behind it is not on this machine."""

LOCAL_ONLY: Final = (
    "Metrics are given to this machine only, unless metrics_token is set and sent as "
    "Authorization: Bearer <token>.\n"
)
WRONG_TOKEN: Final = "This is not the token that metrics_token names.\n"  # noqa: S105 - a sentence
UNREADABLE: Final = "The figures cannot be read now. Try again later.\n"


@dataclass(slots=True)
class MetricsEndpoint:
    """Answers in one worker with the figures of all workers.

    Attributes:
        store: knows what became of records.
        open_reader: opens the log, which knows what waits; called at the first request.
        counts: what all workers counted.
        token: who sends it may ask; None to answer this machine only.
        host: where the server listens.
        version: of treadle.
        clock: microseconds since 1970.
        monotonic: seconds.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    counts: Callable[[], Mapping[str, int]]
    _: KW_ONLY
    token: str | None
    host: str
    version: str
    clock: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    _reader: LogReader | None = None
    _answer: bytes = b""
    _looked_at: float = -FRESH_SECONDS
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="metrics")
    )

    async def get(self, request: Request) -> Response:
        """Return the metrics, or why they are not given."""
        refusal = self._check_access(request)
        if refusal is not None:
            return refusal
        async with self._looking:
            if self.monotonic() - self._looked_at >= FRESH_SECONDS:
                try:
                    self._answer = await asyncio.get_running_loop().run_in_executor(
                        self._thread, self._render
                    )
                except TreadleError as error:
                    return PlainTextResponse(f"{UNREADABLE}{error}\n", 503, {"Retry-After": "2"})
                self._looked_at = self.monotonic()
        return Response(self._answer, media_type=CONTENT_TYPE)

    def close(self) -> None:
        """End the thread, and close the log."""
        self._thread.shutdown()
        if self._reader is not None:
            self._reader.close()

    def _check_access(self, request: Request) -> Response | None:
        if self.token is not None:
            if matches_token(select_headers(request.scope), self.token):
                return None
            challenge = {"WWW-Authenticate": "Bearer"}
            return PlainTextResponse(WRONG_TOKEN, 401, challenge)
        passed_on = any(name in request.headers for name in PROXY_HEADERS)
        if self.host in LOCAL_HOSTS and not passed_on:
            return None
        return PlainTextResponse(LOCAL_ONLY, 403)

    def _render(self) -> bytes:
        if self._reader is None:
            self._reader = self.open_reader()
        return render_metrics(self._take_snapshot(self._reader))

    def _take_snapshot(self, reader: LogReader) -> MetricsSnapshot:
        # The log before the store: marks of the log say less than the store, never more. So what a
        # load takes between the two questions is counted as waiting no more.
        backlog = {(one.source_id, one.table_name): one for one in reader.list_backlogs()}
        tallies = {(one.source_id, one.table_name): one for one in self.store.tables.list_totals()}
        names = {s.id: s.name for s in self.store.sources.list_sources() if s.deleted_at is None}
        tables: list[TableSnapshot] = []
        for key in backlog.keys() | tallies.keys():
            source_id, table_name = key
            if source_id not in names:
                continue
            waits, tally = backlog.get(key), tallies.get(key, _make_empty_totals(*key))
            waiting = entries = 0
            oldest = None
            if waits is not None and tally.position < waits.last:
                waiting, entries, oldest = waits.records, waits.entries, waits.oldest
                if waits.loaded < tally.position:
                    waiting = reader.statistics.count_records_above(*key, tally.position)
            tables.append(
                TableSnapshot(
                    names[source_id],
                    source_id,
                    table_name,
                    tally.received + waiting,
                    tally.loaded,
                    tally.superseded,
                    tally.rejected,
                    waiting,
                    entries,
                    oldest,
                    tally.damaged,
                    tally.loads,
                    tally.failures,
                    tally.error,
                    tally.stopped,
                )
            )
        space = reader.statistics.measure_space()
        return MetricsSnapshot(
            now=self.clock(),
            version=self.version,
            tables=tables,
            destinations=[
                DestinationSnapshot(row.id, row.type, row.name, row.trouble is None)
                for row in self.store.destinations.list_destinations()
                if row.deleted_at is None
            ],
            log_used=space.used_bytes,
            log_free=space.free_bytes,
            counts=self.counts(),
        )


def _make_empty_totals(source_id: int, table_name: str) -> TableTotals:
    return TableTotals(source_id, table_name, 0, 0, 0, 0, 0, 0, 0, 0, error=False, stopped=False)
