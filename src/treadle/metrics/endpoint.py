"""`GET /metrics`: checks who asks, and takes a snapshot of the server."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from treadle.errors import RetriableError, TreadleError
from treadle.http.authentication import matches_token, read_bearer_token
from treadle.http.headers import read_peer, select_headers
from treadle.http.hosts import AllowedHosts
from treadle.log.protocol import LogReader
from treadle.metrics.access import is_local_request
from treadle.metrics.families import (
    CONTENT_TYPE,
    DestinationSnapshot,
    HookSnapshot,
    MemberLabels,
    MetricsSnapshot,
    ProcessSnapshot,
    QuotaSnapshot,
    TableSnapshot,
    render_metrics,
    select_account,
)
from treadle.quotas import RATES, REFUSALS, SOURCE_QUOTAS, USAGE_COLUMNS, QuotaTable
from treadle.store.model import HookBacklog, Source, TableTotals
from treadle.store.store import Store

A = TypeVar("A")
T = TypeVar("T")

FRESH_SECONDS: Final = 1.0
"""Least time for which an answer is kept: monitors may ask as often as they like."""

FRESH_FACTOR: Final = 10
"""An answer is kept this many times as long as making it took. So with many tables, too, making
answers takes at most a tenth of a processor."""

LOCAL_ONLY: Final = (
    "Metrics are given to this machine only, under the name localhost and without a proxy. Others "
    "send a token as Authorization: Bearer <token>: the one of the setting metrics_token, or an "
    "account token for the figures of its account.\n"
)
WRONG_TOKEN: Final = "This is no metrics token and no account token.\n"  # noqa: S105 - a sentence
UNKNOWN_HOST: Final = (
    "Metrics are given under the address of the server and the names of the setting allowed_hosts. "
    "Ask by one of them, or add the name that you used.\n"
)
UNREADABLE: Final = "The figures cannot be read now. Try again later.\n"


@dataclass(frozen=True, slots=True)
class MetricsReader:
    """A caller that may read metrics.

    Attributes:
        account_id: the only account that is shown; None for everything.
    """

    account_id: int | None


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """Functions that read the quotas of sources and their use, for each rendering of the metrics.

    Attributes:
        get_table: returns all quotas.
        sum_usage: returns, by source, the numbers of `quotas.USAGE_COLUMNS` of all workers.
        read_waiting: returns, by source, the numbers of `quotas.WAITING_COLUMNS`.
    """

    get_table: Callable[[], QuotaTable] = QuotaTable
    sum_usage: Callable[[], Mapping[int, Sequence[int]]] = dict
    read_waiting: Callable[[], Mapping[int, Sequence[int]]] = dict

    def take_snapshots(
        self, sources: Mapping[int, Source], tables: Mapping[int, int]
    ) -> list[QuotaSnapshot]:
        """Return the figures of the sources that used something.

        Args:
            sources: by id; others are left out.
            tables: source id -> how many it has.
        """
        quotas, counted, waiting = self.get_table(), self.sum_usage(), self.read_waiting()
        found = []
        for source_id in sorted((counted.keys() | tables.keys()) & sources.keys()):
            quota = quotas.get_source_quota(source_id)
            numbers = counted.get(source_id, (0,) * len(USAGE_COLUMNS))
            waits, _, above = waiting.get(source_id, (0, 0, 0))[:3]
            limits = {name: getattr(quota, name) for name in SOURCE_QUOTAS}
            found.append(
                QuotaSnapshot(
                    sources[source_id].name,
                    source_id,
                    limits={name: most for name, most in limits.items() if most},
                    used=dict(zip(RATES, numbers, strict=False)),
                    refused=dict(zip(REFUSALS, numbers[len(RATES) :], strict=True)),
                    tables=tables.get(source_id, 0),
                    waiting_bytes=waits,
                    above_part=bool(above),
                    account_id=sources[source_id].account_id,
                )
            )
        return found


@dataclass(slots=True)
class MetricsEndpoint:
    """Answers in one worker with the figures of all workers.

    Attributes:
        store: knows what became of records.
        open_reader: opens the log, which knows what waits; called at the first request.
        counts: what all workers counted.
        durations: the counters of histograms, of all processes.
        list_processes: returns what the processes of the server use.
        read_publication: returns when the copy for readers was begun, seconds since 1970, and
            whether no newer one can be made; None where none is to be made.
        token_age: returns the seconds since the store told this worker which tokens are valid;
            None where the store is a file. While the store on a server, or the log there, is away,
            who may see everything is told what the processes count by themselves.
        usage: what sources may use, and what they used.
        token: who sends it may ask for everything, as with a metrics token of the store; None for
            none. An account token opens the figures of its account. Without a token only this
            machine is answered, and only while `token` is None.
        count_use: called on the event loop with the id of each token of the store that was used,
            and the address of the client.
        hosts: the names under which the server may be asked.
        version: of treadle.
        clock: microseconds since 1970.
        member: what tells this member from others; None where it is alone.
        shows_tables: the figures of the store and the log are given, too. In a cluster they are the
            same for all members, and those that answer the Connect API give them.
        monotonic: seconds.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    counts: Callable[[], Mapping[str, int]]
    _: KW_ONLY
    usage: QuotaUsage = QuotaUsage()
    durations: Callable[[], Mapping[str, int]] = dict
    list_processes: Callable[[], Sequence[ProcessSnapshot]] = tuple
    read_publication: Callable[[], tuple[float | None, bool] | None] = lambda: None
    token_age: Callable[[], float] | None = None
    token: str | None
    count_use: Callable[[int, str | None], None] = lambda token_id, origin: None
    hosts: AllowedHosts
    version: str
    clock: Callable[[], int]
    member: MemberLabels | None = None
    shows_tables: bool = True
    monotonic: Callable[[], float] = time.monotonic
    _reader: LogReader | None = None
    _snapshot: MetricsSnapshot | None = None
    _answers: dict[int | None, bytes] = field(default_factory=dict)
    """The rendered texts of the snapshot, by account id; None for the text of all accounts."""
    _looked_at: float = -FRESH_SECONDS
    _fresh_seconds: float = FRESH_SECONDS
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="metrics")
    )

    async def get(self, request: Request) -> Response:
        """Return the metrics that the caller may see, or why they are not given."""
        try:
            reader = await self._identify(request)
            if isinstance(reader, Response):
                return reader
            async with self._looking:
                answer = await self._run(self._render, reader.account_id)
        except TreadleError as error:
            return PlainTextResponse(f"{UNREADABLE}{error}\n", 503, {"Retry-After": "2"})
        return Response(answer, media_type=CONTENT_TYPE)

    async def _run(self, question: Callable[[A], T], asked: A) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, asked)

    def close(self) -> None:
        """End the thread, and close the log."""
        self._thread.shutdown()
        if self._reader is not None:
            self._reader.close()

    async def _identify(self, request: Request) -> MetricsReader | Response:
        """Return who asks, or the refusal."""
        if not self.hosts.allows(request.scope):
            return PlainTextResponse(UNKNOWN_HOST, 421)
        headers = select_headers(request.scope)
        if self.token is not None and matches_token(headers, self.token):
            return MetricsReader(None)
        sent = read_bearer_token(headers)
        if sent is not None:
            found = await self._run(self._find_token, sent)
            if found is not None:
                token_id, reader = found
                self.count_use(token_id, read_peer(request.scope))
                return reader
        if self.token is not None or sent is not None:
            return PlainTextResponse(WRONG_TOKEN, 401, {"WWW-Authenticate": "Bearer"})
        if is_local_request(request.scope):
            return MetricsReader(None)
        return PlainTextResponse(LOCAL_ONLY, 403)

    def _find_token(self, sent: str) -> tuple[int, MetricsReader] | None:
        """Return the id of a token of the store, and what it opens; None for any other text."""
        token_id = self.store.tokens.find_metrics_token(sent)
        if token_id is not None:
            return token_id, MetricsReader(None)
        holder = self.store.accounts.find_token_holder(sent)
        return None if holder is None else (holder.token_id, MetricsReader(holder.account.id))

    def _render(self, account_id: int | None) -> bytes:
        began = self.monotonic()
        if self._snapshot is None or began - self._looked_at >= self._fresh_seconds:
            try:
                self._snapshot = self._take_snapshot()
            except RetriableError:
                if self.token_age is None or account_id is not None:
                    raise
                self._snapshot = self._take_partial()
            self._answers.clear()
            self._looked_at = self.monotonic()
            self._fresh_seconds = max(FRESH_SECONDS, FRESH_FACTOR * (self._looked_at - began))
        answer = self._answers.get(account_id)
        if answer is None:
            seen = self._snapshot
            if account_id is not None and seen.is_partial:
                raise RetriableError("what became of records cannot be read now")
            if account_id is not None:
                seen = select_account(seen, account_id)
            answer = self._answers[account_id] = render_metrics(seen)
        return answer

    def _take_snapshot(self) -> MetricsSnapshot:
        """Return what the processes of this server counted, and the rest where it is given."""
        seen = replace(self._take_partial(), is_partial=False)
        if self.shows_tables:
            if self._reader is None:
                self._reader = self.open_reader()
            return self._add_tables(seen, self._reader)
        names = {s.id: s for s in self.store.sources.list_sources() if s.deleted_at is None}
        used = [
            replace(one, limits={}, tables=None, waiting_bytes=None)
            for one in self.usage.take_snapshots(names, {})
        ]
        return replace(seen, quotas=used, log_used=None, log_free=None)

    def _add_tables(self, seen: MetricsSnapshot, reader: LogReader) -> MetricsSnapshot:
        """Return a snapshot with the figures of store and log."""
        # The log before the store: marks of the log say less than the store, never more. So what a
        # load takes between the two questions is counted as waiting no more.
        backlog = {(one.source_id, one.table_name): one for one in reader.list_backlogs()}
        tallies = {(one.source_id, one.table_name): one for one in self.store.tables.list_totals()}
        sources = {s.id: s for s in self.store.sources.list_sources() if s.deleted_at is None}
        tables: list[TableSnapshot] = []
        # What was never loaded has no counts that a sum could miss, and comes last.
        for key in (*tallies, *sorted(backlog.keys() - tallies.keys())):
            source_id, table_name = key
            source = sources.get(source_id)
            if source is None:
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
                    source.name,
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
                    account_id=source.account_id,
                )
            )
        space = reader.statistics.measure_space()
        published_at, publish_failing = self.read_publication() or (None, None)
        return replace(
            seen,
            tables=tables,
            destinations=[
                DestinationSnapshot(
                    row.id,
                    row.type,
                    row.name,
                    row.trouble is None and row.usable_since is not None,
                    account_id=row.account_id,
                )
                for row in self.store.destinations.list_destinations()
                if row.deleted_at is None
            ],
            quotas=self.usage.take_snapshots(
                sources, Counter(source_id for source_id, _ in reader.statistics.list_tables())
            ),
            hooks=self._take_hook_snapshots(),
            log_used=space.used_bytes,
            log_free=space.free_bytes,
            published_at=published_at,
            publish_failing=publish_failing,
            share=self.store.units.count_units(),
        )

    def _take_partial(self) -> MetricsSnapshot:
        """Return the figures that neither the store nor the log is asked for."""
        return MetricsSnapshot(
            now=self.clock(),
            version=self.version,
            counts=self.counts(),
            durations=self.durations(),
            processes=self.list_processes(),
            member=self.member,
            token_age=None if self.token_age is None else self.token_age(),
            is_partial=True,
        )

    def _take_hook_snapshots(self) -> list[HookSnapshot]:
        hooks = self.store.hooks.list_hooks()
        backlogs = self.store.hooks.list_backlogs() if hooks else {}
        found = []
        for hook in hooks:
            backlog = backlogs.get(hook.id, HookBacklog())
            found.append(
                HookSnapshot(
                    hook.id,
                    hook.destination_id,
                    backlog.waiting,
                    backlog.oldest,
                    hook.delivered,
                    hook.failed,
                    hook.tries,
                    account_id=hook.account_id,
                )
            )
        return found


def _make_empty_totals(source_id: int, table_name: str) -> TableTotals:
    return TableTotals(source_id, table_name, 0, 0, 0, 0, 0, 0, 0, 0, error=False, stopped=False)
